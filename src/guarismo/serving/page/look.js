// Look inside: what each layer of the network answers to the last drawn digit.

import * as api from "./api.js";
import { byId, glyphImage, make } from "./elements.js";
import { drawnGlyphs } from "./draw.js";
import { bars, rowsOf } from "./glyphs.js";
import { fail } from "./notices.js";
import { number, onLanguage, t } from "./words.js";

const KINDS = {
  convolution: ["Convolution", "The same small patterns are looked for everywhere: edges, corners, arcs."],
  pooling: ["Pooling", "Of each small square only the strongest answer stays: the image shrinks, and small shifts count less."],
  activation: ["Activation", "What speaks against a pattern becomes zero; what speaks for it stays."],
  dense: ["Dense layer", "Everything that was found is weighed together."],
};
const [WIDEST, HIGHEST, MOST] = [600, 330, 12]; // pixels, pixels, times
const seen = { source: null, answer: null };

export function start() {
  onLanguage(show);
}

export function open() {
  const glyphs = drawnGlyphs();
  const known = glyphs.some(({ image }) => image === seen.source);
  if (known || !glyphs.length) show();
  else choose(glyphs[0].image);
}

async function choose(source) {
  Object.assign(seen, { source, answer: null });
  show();
  try {
    const answer = await api.look(await rowsOf(source));
    if (seen.source === source) seen.answer = answer;
  } catch (error) {
    fail(error);
  }
  show();
}

function show() {
  const glyphs = drawnGlyphs();
  if (!glyphs.length) return byId("layers").replaceChildren(nothing());
  const several = glyphs.length > 1 ? chooser(glyphs) : null;
  byId("layers").replaceChildren(...[lead(), several, ...(seen.answer ? layers() : [waiting()])].filter(Boolean));
}

const waiting = () => make("p.quiet", { "aria-busy": "true" }, t("Looking …"));
const lead = () => make("p.lead", {}, t("From the image to the answer, layer by layer. Each small picture is what one channel answers: the lighter, the stronger."));
const nothing = () => make("p", {}, make("a", { href: "#draw" }, t("Write a digit first, then look here.")));

function chooser(glyphs) {
  const keys = glyphs.map(({ image, digit }, place) => {
    const words = digit === null ? t("Mark {n}: not read", { n: place + 1 }) : t("Digit {n}: {digit}", { n: place + 1, digit });
    const properties = { type: "button", "aria-label": words, "aria-pressed": String(image === seen.source), onclick: () => choose(image) };
    return make("button.pick", properties, glyphImage(image, ""));
  });
  return make("p.tools", { role: "group", "aria-label": t("Which digit to look at") }, keys);
}

function layers() {
  const { layers: every, probabilities } = seen.answer;
  const digit = probabilities.indexOf(Math.max(...probabilities));
  const inner = every.filter(({ kind }) => kind !== "probabilities");
  return [make("ol.layers", {}, first(), inner.map(layer), last(probabilities, digit))];
}

function first() {
  return make("li", {}, titled(t("The image"), t("28 × 28 points, white on black")), glyphImage(seen.source, t("What the network saw, 28 × 28")));
}

function last(probabilities, digit) {
  return make("li", {}, titled(t("The answer"), t("Ten probabilities, which add up to one")), bars(probabilities, digit));
}

function layer({ name, kind, shape, image }) {
  const [title, words] = KINDS[kind] ?? [kind, ""];
  const [high, wide, channels] = shape;
  const size = high * wide > 1 ? t("{n} channels of {high} × {wide}", { n: number(channels), high, wide }) : t("{n} numbers", { n: number(channels) });
  const alt = t("{layer}: {size}", { layer: t(title), size });
  const picture = make("img.mosaic", { src: image, alt, title: name, onload: enlarge });
  return make("li", {}, titled(t(title), size, t(words)), picture);
}

// By a whole number of times, as far as there is room.
function enlarge({ target }) {
  const room = Math.min(target.parentElement.clientWidth, WIDEST);
  const times = Math.max(1, Math.floor(Math.min(room / target.naturalWidth, HIGHEST / target.naturalHeight, MOST)));
  target.style.width = `${times * target.naturalWidth}px`;
}

function titled(title, size, words) {
  return make("div.title", {}, make("h2", {}, title), make("p.quiet", {}, size), words ? make("p", {}, words) : null);
}
