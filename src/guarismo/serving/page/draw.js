// Draw: answers while the pen moves. One question is under way at a time; the end of a stroke does not wait for it.

import { read } from "./api.js";
import { byId, make } from "./elements.js";
import { change, glyphCard, glyphsOf, isUnsure, spoken } from "./glyphs.js";
import { handId, lesson, lost, onHand, teach } from "./hand.js";
import { fail, say, settle } from "./notices.js";
import { createPad, isEmpty, nameParts, picture } from "./pad.js";
import { list, number, onLanguage, t } from "./words.js";

let pad;
let reading = null;
let took = 0;
let asking = null;
let asked = 0; // the sheet's version
let stale = false;
let final = false;
let began = 0;
let readWith = null;
let taught = null;
let note = "";

export const drawnGlyphs = () => (reading ? glyphsOf(reading) : []);

export function start() {
  pad = createPad(document.querySelector("[data-pad=draw]"), changed);
  onHand(() => readWith !== lesson() && question(true));
  onLanguage(() => {
    nameParts(pad, t("Sheet to write digits on"), t("Write here"));
    show();
  });
}

function changed(over) {
  note = "";
  settle();
  question(over);
}

function question(over) {
  if (over) began = performance.now();
  if (isEmpty(pad)) return forget();
  if (asking && (!over || isUnderWay())) {
    stale ||= !over;
    final ||= over;
    return;
  }
  asking?.abort();
  ask(over);
}

// Whether the question that is under way is about what stands on the sheet now.
const isUnderWay = () => asked === pad.version && readWith === lesson();

function forget() {
  asking?.abort();
  asking = reading = null;
  show();
}

async function ask(over) {
  const mine = (asking = new AbortController());
  stale = false;
  final = over;
  asked = pad.version;
  readWith = lesson();
  const how = { drawn: 1, detail: "glyphs", hand: handId() };
  const answer = await read(picture(pad), how, mine.signal).catch((error) => error);
  if (asking !== mine) return;
  asking = null;
  if (answer instanceof Error) failed(answer);
  else answered(answer, final);
  if (stale) ask(false);
}

function answered(answer, over) {
  reading = answer;
  took = over ? performance.now() - began : 0;
  if (taught && over) noteChange();
  show();
  if (!over) return;
  performance.measure("answer", { start: began });
  say(note || sentence());
}

function failed(error) {
  if (error.status === 404 && handId()) lost();
  else fail(error);
}

function sentence() {
  const words = drawnGlyphs().map(spoken);
  return reading.text ? `${t("I read {text}.", { text: reading.text })} ${list(words)}` : list(words);
}

function show() {
  const glyphs = drawnGlyphs();
  const cards = glyphs.map((glyph, place) => glyphCard(glyph, place, glyphs.length, correct));
  byId("draw-answer").replaceChildren(...(glyphs.length ? [heading(), ...hints(), make(".glyphs", {}, cards)] : [nothing()]));
}

function heading() {
  const kind = !reading.text ? "p.read.none" : reading.digits.some(isUnsure) ? "p.read.unsure" : "p.read";
  const time = took ? make("p.time.quiet", {}, t("Answered in {n} ms", { n: number(took) })) : null;
  return make(".heading", {}, make(kind, {}, reading.text ? reading.lines.join("\n") : t("No digit")), time);
}

function hints() {
  return [note ? make("p.note", {}, note) : make("p.quiet", {}, t("Wrong? Tap the digit that it is."))];
}

function nothing() {
  return make("p.empty.quiet", {}, t("The answer comes here while you write: each digit, how sure it is, and what the network saw."));
}

async function correct(glyph, label) {
  taught = { glyph, label };
  if (!(await teach([{ image: glyph.image, label }]))) taught = null;
}

function noteChange() {
  const now = drawnGlyphs().find(({ image }) => image === taught.glyph.image);
  note = now ? change(taught.glyph, now, taught.label) : "";
  taught = null;
}
