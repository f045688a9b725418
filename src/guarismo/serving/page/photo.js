// Photo: chosen, dropped, pasted or taken; its boxes, what was read and refused, and every stage of the reading.

import { read } from "./api.js";
import { button, byId, glyphImage, make } from "./elements.js";
import { change, glyphCard, glyphsOf, isUnsure, spoken } from "./glyphs.js";
import { handId, lesson, lost, onHand, teach } from "./hand.js";
import { fail, say, settle } from "./notices.js";
import { told } from "./told.js";
import { duration, onLanguage, plural, sure, t } from "./words.js";

const MOST_REFUSED = 20;
const BOXES = 5; // stages from the photo to one box for each digit
const SEEN = [
  "6  What the network sees",
  "Each digit alone, white on black, its longer side 20 pixels, its centre of mass in the middle of 28 × 28: as MNIST was made, and so as the network has learned to read.",
];
const photo = { file: null, url: "", page: 1, reading: null, glyphs: [], chosen: 0, asking: null, shown: true, lesson: null, taught: null, note: "" };

export function start() {
  byId("choose").addEventListener("click", () => byId("file").click());
  byId("camera").addEventListener("click", () => byId("shot").click());
  for (const id of ["file", "shot"]) byId(id).addEventListener("change", ({ target }) => picked(target));
  listenToDrops(byId("photo"), byId("drop"));
  addEventListener("paste", (event) => take(event.clipboardData.files[0], event));
  onHand(() => photo.file && photo.lesson !== lesson() && ask());
  onLanguage(show);
}

function picked(input) {
  take(input.files[0]);
  input.value = "";
}

function listenToDrops(view, mark) {
  const over = (event) => {
    event.preventDefault();
    mark.classList.toggle("over", event.type === "dragover");
  };
  view.addEventListener("dragover", over);
  view.addEventListener("dragleave", over);
  view.addEventListener("drop", (event) => {
    over(event);
    take(event.dataTransfer.files[0]);
  });
}

function take(file, event) {
  if (!file) return;
  event?.preventDefault();
  location.hash = "#photo";
  settle();
  URL.revokeObjectURL(photo.url);
  Object.assign(photo, { file, url: URL.createObjectURL(file), page: 1, reading: null, chosen: 0, shown: true, note: "" });
  ask();
}

async function ask() {
  photo.asking?.abort();
  photo.lesson = lesson();
  const mine = (photo.asking = new AbortController());
  show();
  const how = { detail: "stages", page: photo.page > 1 ? photo.page : 0, hand: handId() };
  const answer = await read(photo.file, how, mine.signal).catch((error) => error);
  if (photo.asking !== mine) return;
  if (answer instanceof Error) failed(answer);
  else answered(answer);
}

function answered(reading) {
  const refused = [...reading.refused].sort((a, b) => area(b) - area(a)).slice(0, MOST_REFUSED);
  const more = reading.refused.length - refused.length;
  Object.assign(photo, { reading, more, glyphs: glyphsOf({ ...reading, refused }), asking: null });
  if (photo.taught) noteChange();
  show();
  say(photo.note || `${heard()} ${plural(reading.refused.length, "{n} mark refused", "{n} marks refused")}`);
}

const area = ({ box }) => box[2] * box[3];

const heard = () => (photo.reading.text ? t("I read {text}.", { text: photo.reading.text }) : t("No digit"));

function failed(error) {
  Object.assign(photo, { asking: null, reading: null, taught: null });
  show();
  if (error.status === 404 && handId()) lost();
  else fail(error);
}

// What is shown

function show() {
  byId("photo-answer").replaceChildren(...(photo.asking && !photo.reading ? [waiting()] : parts()));
}

const waiting = () => make("p.quiet", { "aria-busy": "true" }, t("Reading …"));

function parts() {
  if (!photo.reading) return [];
  return [make(".desk.photo", {}, make("div", {}, pager(), boxed()), make(".answer", {}, ...answer())), stages()];
}

function pager() {
  const { pages } = photo.reading;
  if (!(pages > 1)) return null;
  const turn = (by) => button(by < 0 ? t("Page before") : t("Next page"), () => leaf(by), { disabled: !inside(photo.page + by) });
  return make("p.tools", {}, turn(-1), make("span", {}, t("Page {n} of {all}", { n: photo.page, all: pages })), turn(1));
}

const inside = (page) => page >= 1 && page <= photo.reading.pages;

function leaf(by) {
  settle();
  Object.assign(photo, { page: photo.page + by, reading: null, chosen: 0, note: "" });
  ask();
}

function boxed() {
  const image = make("img", { alt: t("The photo: {text}", { text: heard() }) });
  image.addEventListener("error", () => standIn(image), { once: true });
  image.src = photo.shown ? photo.url : photo.reading.stages[0].image;
  return make("figure.boxed", {}, image, ...photo.glyphs.map(box));
}

// HEIC and PDF, which few browsers show: the first stage is the photo as it was decoded.
function standIn(image) {
  photo.shown = false;
  image.src = photo.reading.stages[0].image;
}

function box(glyph, place) {
  const [width, height] = photo.reading.size;
  const [x, y, w, h] = glyph.box;
  const kind = glyph.digit === null ? ".refused" : isUnsure(glyph) ? ".unsure" : "";
  const properties = { type: "button", "aria-label": spoken(glyph), title: spoken(glyph), "aria-pressed": String(place === photo.chosen) };
  const made = make(`button.box${kind}`, { ...properties, onclick: () => choose(place) }, label(glyph, w / width));
  const at = { left: x / width, top: y / height, width: w / width, height: h / height };
  for (const [side, share] of Object.entries(at)) made.style[side] = `${100 * share}%`;
  return made;
}

// The digit, and how sure it is where the box has room for that.
function label(glyph, share) {
  if (glyph.digit === null) return null;
  const told = share > 0.07 || isUnsure(glyph) ? make(share > 0.14 ? "small.roomy" : "small", {}, ` ${sure(glyph.confidence)}`) : null;
  return make("span", { "aria-hidden": "true" }, String(glyph.digit), told);
}

function choose(place) {
  Object.assign(photo, { chosen: place, note: "" });
  show();
  document.querySelectorAll(".box")[place].focus();
}

function answer() {
  const { reading, glyphs, chosen } = photo;
  const lines = make(reading.text ? "p.read.lines" : "p.read.none", {}, reading.lines.join("\n") || t("No digit"));
  const count = [plural(reading.digits.length, "{n} digit read", "{n} digits read"), duration(reading.seconds)].join(" · ");
  const card = glyphs[chosen] && make(".glyphs", {}, glyphCard(glyphs[chosen], chosen, glyphs.length, correct));
  const hint = card && make("p.quiet", {}, `${t("Tap a box to look at it.")} ${t("Wrong? Tap the digit that it is.")}`);
  const note = photo.note && make("p.note", {}, photo.note);
  return [lines, make("p.quiet", {}, count), note, card, hint, refusals()].filter(Boolean);
}

function refusals() {
  const refused = photo.glyphs.map((glyph, place) => [glyph, place]).filter(([glyph]) => glyph.digit === null);
  if (!refused.length) return null;
  const rows = refused.map(([glyph, place]) => make("li", {}, button(told(glyph.reason), () => choose(place))));
  const more = photo.more > 0 ? make("p.quiet", {}, plural(photo.more, "And {n} more.", "And {n} more.")) : null;
  const count = plural(photo.reading.refused.length, "{n} mark refused", "{n} marks refused");
  return make("details.refusals", {}, make("summary", {}, count), make("ul.choices", {}, rows), more);
}

// The server's pictures up to the boxes; what the network saw is shown from the images themselves.
function stages() {
  const figures = photo.reading.stages.slice(0, BOXES).map(({ name, words, image }) => stage(name, words, make("img.stage", { src: image, alt: "" })));
  const [name, words] = SEEN;
  const seen = make("ul.seen-list", {}, photo.glyphs.map(({ image, digit }) => make("li", {}, glyphImage(image, digit === null ? t("not read") : String(digit)))));
  return make(".part", {}, make("h2", {}, t("Every stage of the reading")), make(".stages", {}, figures, stage(name, words, seen)));
}

function stage(name, words, picture) {
  return make("figure", {}, picture, make("figcaption", {}, make("b", {}, told(name)), told(words)));
}

async function correct(glyph, label) {
  photo.taught = { glyph, label };
  if (!(await teach([{ image: glyph.image, label }]))) photo.taught = null;
}

function noteChange() {
  const { glyph, label } = photo.taught;
  photo.taught = null;
  const now = photo.glyphs.findIndex(({ image }) => image === glyph.image);
  if (now < 0) return;
  photo.note = change(glyph, photo.glyphs[now], label);
  photo.chosen = now;
}
