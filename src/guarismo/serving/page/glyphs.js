// One card for each digit or refused mark: the 28×28 that the network saw, the answer, and ten bars. A bar is a button:
// a tap on it says what the digit really is.

import { glyphImage, make } from "./elements.js";
import { told } from "./told.js";
import { sure, t } from "./words.js";

export const UNSURE = 0.9;
const DIGITS = [...Array(10).keys()];

// Digits and refused marks of a reading, those read first, each with the same fields.
export function glyphsOf(reading) {
  return [...reading.digits, ...reading.refused.map((each) => ({ ...each, digit: null }))];
}

export const isUnsure = (glyph) => glyph.digit !== null && glyph.confidence < UNSURE;

// In words, for those who hear the page.
export function spoken(glyph) {
  if (glyph.digit === null) return t("not read: {reason}", { reason: told(glyph.reason) });
  const words = isUnsure(glyph) ? "{digit}, unsure, {share}" : "{digit}, {share}";
  return t(words, { digit: glyph.digit, share: sure(glyph.confidence, 1) });
}

// What teaching a mark as `label` has changed: `now` is the same mark, read again.
export function change(was, now, label) {
  const told = (glyph) => (glyph.digit === null ? t("not read") : `${glyph.digit}, ${sure(glyph.confidence, 1)}`);
  return t("Taught that it is {label}. Before: {was}. Now: {now}.", { label, was: told(was), now: told(now) });
}

// teach(glyph, label): what a tap on a bar does.
export function glyphCard(glyph, place, all, teach) {
  const name = t("{n} of {all}: {what}", { n: place + 1, all, what: spoken(glyph) });
  const kind = glyph.digit === null ? ".refused" : isUnsure(glyph) ? ".unsure" : "";
  return make(
    `div.glyph${kind}`,
    { role: "group", "aria-label": name },
    glyph.image ? glyphImage(glyph.image, t("What the network saw, 28 × 28")) : null,
    verdict(glyph),
    bars(glyph.probabilities ?? [], glyph.digit, (label) => teach(glyph, label)),
  );
}

function verdict(glyph) {
  if (glyph.digit === null) {
    return make("p.verdict", {}, make("b", {}, t("Not read")), make("small", {}, told(glyph.reason)));
  }
  const share = sure(glyph.confidence, 1);
  return make("p.verdict", {}, make("b.figure", {}, String(glyph.digit)), make("small", {}, sureness(glyph, share)));
}

function sureness(glyph, share) {
  if (!isUnsure(glyph)) return share;
  const other = glyph.alternatives?.[0];
  return other ? t("{share}, or {other}", { share, other: other[0] }) : share;
}

// Ten bars, each a button; without `choose` they only show.
export function bars(probabilities, digit, choose) {
  return make(".bars", {}, DIGITS.map((label) => bar(label, probabilities[label] ?? 0, label === digit, choose)));
}

function bar(label, share, chosen, choose) {
  const fill = make("i");
  fill.style.height = `${100 * share}%`;
  const parts = [make("span.column", {}, fill), make("span", {}, String(label))];
  const kind = chosen ? ".bar.chosen" : ".bar";
  if (!choose) return make(`span${kind}`, { role: "img", "aria-label": `${label}: ${sure(share, 1)}` }, parts);
  const words = t("{digit}, {share}. Teach that it is {digit}", { digit: label, share: sure(share, 1) });
  const properties = { type: "button", "aria-label": words, title: words, onclick: () => choose(label) };
  return make(`button${kind}`, properties, parts);
}

// A picture of 28×28 as rows of 0…255, as the server wants it.
export async function rowsOf(source) {
  const image = new Image();
  image.src = source;
  await image.decode();
  const canvas = make("canvas", { width: image.width, height: image.height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const { data, width, height } = context.getImageData(0, 0, canvas.width, canvas.height);
  return Array.from({ length: height }, (_, y) => Array.from({ length: width }, (_, x) => data[4 * (y * width + x)]));
}
