// The hand that is being taught: its samples lie with the server, its name in this tab. All views read with it.

import * as api from "./api.js";
import { button, byId, make } from "./elements.js";
import { rowsOf } from "./glyphs.js";
import { fail, say } from "./notices.js";
import { told } from "./told.js";
import { onLanguage, percent, plural, t } from "./words.js";

const KEPT = "guarismo.hand";
const NONE = { id: null, samples: 0, taught: [], lesson: null, kept: null };
const hand = { ...NONE, ...JSON.parse(sessionStorage.getItem(KEPT) ?? "{}"), busy: false };
const listeners = [];
let beginning = null;

export const handId = () => (hand.samples ? hand.id : null);
export const lesson = () => hand.lesson;
export const isLearning = () => hand.busy;
export const onHand = (listener) => listeners.push(listener);

// What was taught, in order: { image, label } and, where it was learnt, as what it was read before and is now.
export function taught() {
  const answers = hand.lesson?.answers ?? [];
  return hand.taught.flat().map((sample, place) => ({ ...sample, was: answers[place]?.[0], now: answers[place]?.[1] }));
}

// Begins a hand, so that the server gets ready for it while the first digits are still being written.
export const prepare = () => begun().catch(() => {}); // the lesson will tell

const begun = () => (beginning ??= begin());

async function begin() {
  try {
    hand.id ??= (await api.newHand()).hand;
  } finally {
    beginning = null;
  }
}

// samples: [{ image: data URI of 28×28, label }]. True where they were taken.
export function teach(samples) {
  return working(async () => {
    const rows = await Promise.all(samples.map(async ({ image, label }) => ({ image: await rowsOf(image), label })));
    await begun();
    learnt(await api.addSamples(hand.id, rows), [...hand.taught, samples]);
  });
}

export const undo = () => working(async () => learnt(await api.undoSamples(hand.id), hand.taught.slice(0, -1)));

export const keep = () =>
  working(async () => {
    hand.kept = (await api.keepHand(hand.id)).run;
    say(t("Kept as {run}.", { run: hand.kept }));
  });

export const forget = () =>
  working(async () => {
    await api.forgetHand(hand.id).catch(ignoreGone);
    letGo();
  });

function ignoreGone(error) {
  if (error.status !== 404) throw error;
}

function learnt(answer, taught) {
  Object.assign(hand, { samples: answer.samples, taught, lesson: answer, kept: null });
  say(learntWords());
}

function letGo() {
  Object.assign(hand, NONE);
}

async function working(work) {
  if (hand.busy) return false;
  hand.busy = true;
  announce();
  try {
    await work();
    return true;
  } catch (error) {
    if (error.status === 404) lost();
    else fail(error);
    return false;
  } finally {
    hand.busy = false;
    announce();
  }
}

// The server keeps hands in memory only, and not for ever.
export function lost() {
  letGo();
  fail(new api.Failure("The server has forgotten your hand: it was started anew, or the hand is too old. Please teach it again."));
  announce();
}

function announce() {
  sessionStorage.setItem(KEPT, JSON.stringify(hand));
  show();
  listeners.forEach((listener) => listener());
}

// What the lesson brought, in a sentence.
export function learntWords() {
  const { learnt: done, message, before, after } = hand.lesson ?? {};
  if (!hand.samples) return t("It reads as it came.");
  if (!done) return told(message);
  if (before.right === after.right) return t("Left out in turn, it reads {right} of your {of} digits, as before.", after);
  return t("Left out in turn, it read {was} of your {of} digits before, and reads {right} now.", { ...after, was: before.right });
}

export function rehearsedWords() {
  const { learnt: done, before, after } = hand.lesson ?? {};
  if (!done) return "";
  const shares = { before: percent(before.mnist, 2), after: percent(after.mnist, 2) };
  return t("Of other people's digits it reads {after}; before, {before}.", shares);
}

// The strip above all views

function show() {
  const strip = byId("hand");
  strip.hidden = !hand.busy && !hand.samples;
  strip.replaceChildren(make("p", {}, hand.busy ? busyWords() : taughtWords()), tools());
}

export const busyWords = () => (hand.samples ? t("It is learning …") : t("It is learning … The first lesson takes some seconds."));

function taughtWords() {
  const words = plural(hand.samples, "{n} digit of your hand taught.", "{n} digits of your hand taught.");
  return hand.lesson?.learnt ? `${words} ${t("It reads with them.")}` : `${words} ${told(hand.lesson?.message ?? "")}`;
}

function tools() {
  const off = { disabled: hand.busy };
  const kept = hand.kept ? make("span.quiet", {}, t("Kept as {run}.", { run: hand.kept })) : null;
  return make("p.tools", {}, [
    button(t("Undo"), undo, off),
    hand.lesson?.learnt && !hand.kept ? button(t("Keep as a run"), keep, off) : kept,
    button(t("Forget"), forget, off),
  ]);
}

onLanguage(show);
