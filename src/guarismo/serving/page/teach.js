// Teach: the page asks for digits, the samples wait here until they are learnt together, and the lesson is told.

import { Failure, read } from "./api.js";
import { button, byId, glyphImage, make } from "./elements.js";
import { glyphsOf } from "./glyphs.js";
import { busyWords, forget, isLearning, keep, learntWords, lesson, onHand, prepare, rehearsedWords, taught, teach, undo } from "./hand.js";
import { fail, say, settle } from "./notices.js";
import { clear, createPad, isEmpty, nameParts, picture } from "./pad.js";
import { number, onLanguage, plural, t } from "./words.js";

const ORDER = [4, 1, 7, 9, 2, 5, 3, 8, 6, 0]; // those that hands differ in first
let pad;
let asked = ORDER[0];
let samples = []; // not yet learnt: { image, label, was }
let adding = false;

export function start() {
  pad = createPad(document.querySelector("[data-pad=teach]"), () => showTools());
  pad.adds = button("", add, { chief: true });
  pad.tools.prepend(pad.adds);
  pad.canvas.addEventListener("keydown", (event) => event.key === "Enter" && add());
  onHand(show);
  onLanguage(() => {
    show();
    namePad();
  });
}

function namePad() {
  nameParts(pad, t("Sheet to write {digit} on", { digit: asked }), t("Write {digit} here", { digit: asked }));
  pad.adds.textContent = t("Add");
  showTools();
}

function showTools() {
  pad.adds.disabled = isEmpty(pad) || adding;
}

// Samples

async function add() {
  if (isEmpty(pad) || adding) return;
  adding = true;
  showTools();
  try {
    const glyph = mainGlyph(await read(picture(pad), { drawn: 1, detail: "glyphs" }));
    if (glyph) taken(glyph);
    else fail(new Failure("Nothing was found that could be a digit. Please write larger."));
  } catch (error) {
    fail(error);
  }
  adding = false;
  showTools();
}

// What was written is one digit, whatever it was taken for: the glyph with the largest box.
function mainGlyph(reading) {
  const size = ({ box }) => box[2] * box[3];
  return glyphsOf(reading).sort((one, other) => size(other) - size(one))[0];
}

function taken(glyph) {
  settle();
  prepare();
  samples.push({ image: glyph.image, label: asked, was: glyph.digit });
  say(glyph.digit === null ? t("Added. It was not read.") : t("Added. It was read as {was}.", { was: glyph.digit }));
  asked = ORDER[(ORDER.indexOf(asked) + 1) % ORDER.length];
  clear(pad);
  show();
  namePad();
}

function choose(digit) {
  asked = digit;
  show();
  namePad();
  pad.canvas.focus();
}

function drop(place) {
  samples.splice(place, 1);
  show();
}

async function learn() {
  const chosen = samples;
  samples = [];
  if (!(await teach(chosen.map(({ image, label }) => ({ image, label }))))) samples = [...chosen, ...samples];
  show();
}

// What is shown

function show() {
  byId("asked").replaceChildren(...around(t("Write the digit {digit}"), make("b.figure", {}, String(asked))));
  byId("lesson").replaceChildren(...[chooser(), waiting(), ...learntParts()].filter(Boolean));
}

// A sentence with an element in place of its {digit}.
function around(text, element) {
  const [before, after] = text.split("{digit}");
  return [before, element, after];
}

function chooser() {
  const counts = lesson()?.counts ?? {};
  const keys = [...ORDER].sort((a, b) => a - b).map((digit) => {
    const n = (counts[digit] ?? 0) + samples.filter(({ label }) => label === digit).length;
    const words = plural(n, "{digit}, {n} sample", "{digit}, {n} samples", { digit });
    const properties = { type: "button", "aria-label": words, "aria-pressed": String(digit === asked), onclick: () => choose(digit) };
    return make("button.key", properties, make("b", {}, String(digit)), make("small", {}, number(n)));
  });
  return make(".keys-row", { role: "group", "aria-label": t("Which digit to write") }, keys);
}

function waiting() {
  if (!samples.length) return null;
  const tiles = samples.map(({ image, label, was }, place) => tile(image, label, was, place));
  const words = plural(samples.length, "Learn this digit", "Learn these {n} digits");
  return make(".part", {}, make("ul.samples", {}, tiles), make("p.tools", {}, button(words, learn, { chief: true, disabled: isLearning() })));
}

function tile(image, label, was, place) {
  const right = was === label;
  const words = was === null ? t("{label}, not read", { label }) : right ? t("{label}, read right", { label }) : t("{label}, read as {was}", { label, was });
  const away = button("×", () => drop(place), { "aria-label": t("Leave out: {what}", { what: words }) });
  return make(right ? "li" : "li.wrong", {}, glyphImage(image, ""), away, make("small", {}, words));
}

function learntParts() {
  const { samples: n, learnt, before, after } = lesson() ?? {};
  if (isLearning()) return [make("p.quiet", { "aria-busy": "true" }, busyWords())];
  if (!n) return samples.length ? [] : [make("p.empty.quiet", {}, t("What you add is shown here, with what it was read as."))];
  const scores = learnt ? [score(t("Before"), before), score(t("Now"), after)] : [];
  return [
    make("h2", {}, t("The lesson")),
    make("p", {}, learntWords()),
    learnt && make("dl.scores", {}, scores.flat()),
    learnt && make("p.quiet", {}, rehearsedWords()),
    make("ul.samples", {}, taught().map(learntTile)),
    make("p.tools", {}, button(t("Undo the last lesson"), undo), learnt && button(t("Keep as a run"), keep), button(t("Forget"), forget)),
  ].filter(Boolean);
}

function learntTile({ image, label, was, now }) {
  const right = was === undefined || now === label;
  const words = was === undefined ? String(label) : was === now ? t("{label}, read as {was}", { label, was }) : t("{label}, read as {was}, now as {now}", { label, was, now });
  return make(right ? "li" : "li.wrong", {}, glyphImage(image, ""), make("small", {}, right && was === now && was !== undefined ? t("{label}, read right", { label }) : words));
}

function score(name, { right, of }) {
  const fill = make("i");
  fill.style.width = `${(100 * right) / of}%`;
  return [make("dt", {}, name), make("dd", {}, make("span.level", {}, fill), t("{right} of {of}", { right: number(right), of: number(of) }))];
}
