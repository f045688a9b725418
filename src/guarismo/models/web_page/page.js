// The page: strokes or a picture → the small image → the network's answer, in the reader's language.

import { difference, openNetwork } from "./network.js";
import { border, centred, fitted, inkOf, planes } from "./pixels.js";
import { LANGUAGES, preferred, remember, speaker } from "./words.js";

const AGREEMENT = 1e-4;
const GLYPH = 80, PEN = 0.13;  // a drawing is drawn anew, so high, with a pen of MNIST's width whatever its size
const BROAD = 0.06;  // the pen on the pad, as a share of its shorter side
const LEAST = 0.06;  // of the pad: anything smaller is a slip of the hand
const MOST = 256;  // longer side of a chosen picture, in pixels
const ROWS = 10;

const at = (id) => document.getElementById(id);
const pad = at("pad");
const state = { strokes: [], picture: null, problem: null, due: false };
let words = speaker(preferred()), network = null;

// The network

for (const [code, name] of Object.entries(LANGUAGES)) {
  at("language").append(new Option(name, code, false, code === words.code));
}
at("language").addEventListener("change", (event) => {
  words = speaker(event.target.value);
  remember(words.code);
  speak();
});
speak();
try {
  network = await openNetwork(import.meta.url);
  if (difference(network) <= AGREEMENT) at("notice").hidden = true;
  else warn("differs");
  at("table").hidden = false;
  listen();
  speak();
} catch (error) {
  warn("missing", { reason: error.message });
}

function warn(word, values = {}) {
  Object.assign(at("notice").dataset, { word, values: JSON.stringify(values) });
  at("notice").className = "wrong";
  at("notice").textContent = words.say(word, values);
}

// Drawing

function listen() {
  pad.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    pad.setPointerCapture(event.pointerId);
    Object.assign(state, { picture: null, problem: null });
    state.strokes.push([placeOf(event)]);
    later();
  });
  pad.addEventListener("pointermove", (event) => {
    if (!pad.hasPointerCapture(event.pointerId) || !state.strokes.length) return;
    const events = event.getCoalescedEvents?.() ?? [];
    state.strokes.at(-1).push(...(events.length ? events : [event]).map(placeOf));
    later();
  });
  at("clear").addEventListener("click", () => forget([]));
  at("undo").addEventListener("click", () => forget(state.picture ? state.strokes : state.strokes.slice(0, -1)));
  at("file").addEventListener("change", (event) => take(event.target));
  at("invert").addEventListener("change", later);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", later);
  new ResizeObserver(later).observe(pad);
}

function placeOf(event) {
  const box = pad.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
}

function forget(strokes) {
  Object.assign(state, { strokes, picture: null, problem: null });
  later();
}

// At most once for each picture of the screen.
function later() {
  if (state.due) return;
  state.due = true;
  requestAnimationFrame(() => {
    state.due = false;
    show();
  });
}

function drawStrokes(context, width, place) {
  Object.assign(context, { lineWidth: width, lineCap: "round", lineJoin: "round" });
  for (const stroke of state.strokes) {
    context.beginPath();
    context.moveTo(...place(stroke[0]));
    for (const point of stroke) context.lineTo(...place(point));
    context.stroke();
  }
}

function drawPad() {
  const [wide, high] = [pad.clientWidth, pad.clientHeight].map((side) => Math.round(side * devicePixelRatio) || 1);
  if (pad.width !== wide || pad.height !== high) Object.assign(pad, { width: wide, height: high });
  const context = pad.getContext("2d");
  context.clearRect(0, 0, wide, high);
  context.strokeStyle = getComputedStyle(pad).color;
  if (state.picture) {
    const { bitmap } = state.picture, scale = Math.min(wide / bitmap.width, high / bitmap.height);
    const [width, height] = [bitmap.width * scale, bitmap.height * scale];
    context.drawImage(bitmap, (wide - width) / 2, (high - height) / 2, width, height);
  } else drawStrokes(context, BROAD * Math.min(wide, high), ([x, y]) => [x * wide, y * high]);
}

// What the network sees

function imageOf() {
  const { size, handwritten } = network.about;
  if (state.picture) return handwritten ? inkImage() : pictureImage();
  if (!drawnSize()) return null;
  return handwritten ? centred(glyph()) : fitted(...drawnPlanes(), size, false);
}

function drawnSize() {
  const points = state.strokes.flat(), [across, down] = [0, 1].map((axis) => points.map((point) => point[axis]));
  const sides = [across, down].map((values) => Math.max(...values) - Math.min(...values));
  const long = points.length ? Math.max(...sides) : 0;
  return long < LEAST ? null : { long, left: Math.min(...across), top: Math.min(...down), sides };
}

// The strokes, drawn anew so that the longer side with its pen has GLYPH pixels.
function glyph() {
  const { long, left, top } = drawnSize(), pen = PEN * GLYPH, scale = (GLYPH - pen) / long, edge = pen / 2 + 2;
  const size = { width: GLYPH + 4, height: GLYPH + 4 };
  return { ...size, data: inked(size, pen, ([x, y]) => [(x - left) * scale + edge, (y - top) * scale + edge]) };
}

function inked({ width, height }, pen, place) {
  const context = sketch(width, height);
  context.fillRect(0, 0, width, height);
  context.strokeStyle = "#fff";
  drawStrokes(context, pen, place);
  return context.getImageData(0, 0, width, height).data.filter((_, k) => k % 4 === 0);
}

function sketch(width, height) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  return canvas.getContext("2d", { willReadFrequently: true });
}

// The whole pad, light on dark or dark on light as the training images are.
function drawnPlanes() {
  const [height, width] = network.about.size.map((side) => 4 * side), light = network.about.ground[0] > 127;
  const ink = inked({ width, height }, BROAD * Math.min(width, height), ([x, y]) => [x * width, y * height]);
  const plane = Float64Array.from(ink, (value) => (light ? 255 - value : value));
  return [{ width, height }, network.about.ground.map(() => plane)];
}

async function take(input) {
  const [file] = input.files;
  input.value = "";
  if (!file) return;
  try {
    const bitmap = await createImageBitmap(file), scale = Math.min(1, MOST / Math.max(bitmap.width, bitmap.height));
    const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
    const size = { width, height }, context = sketch(width, height);
    Object.assign(context, { imageSmoothingQuality: "high" }).drawImage(bitmap, 0, 0, width, height);
    const colours = planes(context.getImageData(0, 0, width, height), network.about.size[2]);
    Object.assign(state, { strokes: [], picture: { bitmap, size, colours }, problem: null });
    at("invert").checked = colours.length === 1 && otherGround(size, colours[0]);
    later();
  } catch {
    forget([]);
    state.problem = "unreadable";
  }
}

// Whether the picture's border is nearer to the opposite of what the training images have around them.
function otherGround(size, grey) {
  const [ground] = network.about.ground, own = border(size, grey);
  return Math.abs(own - ground) > Math.abs(255 - own - ground);
}

function inkImage() {
  const { size, colours } = state.picture;
  return centred(inkOf(size, colours[0]));
}

function pictureImage() {
  const { size, colours } = state.picture;
  return fitted(size, colours, network.about.size, at("invert").checked);
}

// The answer

function show() {
  drawPad();
  at("inverting").hidden = !state.picture || network.about.handwritten;
  const image = imageOf();
  drawSeen(image);
  if (!image) return showNothing();
  const before = performance.now();
  const probabilities = network.answer(image);
  showAnswer(probabilities, performance.now() - before);
}

function drawSeen(image) {
  const [height, width, channels] = network.about.size, seen = at("seen");
  const pixels = new ImageData(width, height);
  for (let k = 0; k < width * height; k++) {
    for (let c = 0; c < 3; c++) {
      const own = Math.min(c, channels - 1);
      pixels.data[4 * k + c] = image ? image[k * channels + own] : network.about.ground[own];
    }
    pixels.data[4 * k + 3] = 255;
  }
  if (seen.width !== width || seen.height !== height) Object.assign(seen, { width, height });
  seen.getContext("2d").putImageData(pixels, 0, 0);
}

function showNothing() {
  at("winner").textContent = "";
  at("certainty").textContent = words.say(state.problem ?? (state.picture ? "empty" : "nothing"));
  showBars(network.about.classes.map(() => 0));
}

function showAnswer(probabilities, time) {
  const best = probabilities.indexOf(Math.max(...probabilities)), name = network.about.classes[best];
  at("winner").textContent = name;
  at("winner").classList.toggle("word", name.length > 2);
  const told = { share: words.percent(probabilities[best]), time: words.tenths(time) };
  at("certainty").textContent = words.say("certain", told);
  showBars(probabilities);
}

// Ten classes in their order; of more the ten likeliest.
function showBars(probabilities) {
  let order = [...probabilities.keys()];
  const best = Math.max(...probabilities);
  if (order.length > ROWS) order = order.sort((one, other) => probabilities[other] - probabilities[one]).slice(0, ROWS);
  const list = at("bars");
  while (list.children.length < order.length) list.append(newRow());
  order.forEach((place, k) => {
    const row = list.children[k], share = probabilities[place];
    row.classList.toggle("first", best > 0 && share === best);
    row.querySelector(".name").textContent = network.about.classes[place];
    row.querySelector(".bar").style.width = `${100 * share}%`;
    row.querySelector(".share").textContent = words.percent(share);
  });
}

function newRow() {
  const row = document.createElement("li");
  const part = (className) => Object.assign(document.createElement("span"), { className });
  row.append(...["name", "track", "share"].map(part));
  row.querySelector(".track").append(part("bar"));
  return row;
}

// The language

function speak() {
  const plain = network?.about.handwritten ?? true, [height, width] = network?.about.size ?? [0, 0];
  const own = (word) => words.say(plain || !["title", "lead", "limits"].includes(word) ? word : `${word}Other`);
  document.documentElement.lang = words.code;
  document.title = `${own("title")} · Guarismo`;
  for (const node of document.querySelectorAll("[data-word]")) {
    const values = node.dataset.values;
    node.textContent = values ? words.say(node.dataset.word, JSON.parse(values)) : own(node.dataset.word);
  }
  for (const node of document.querySelectorAll("[data-label]")) {
    node.setAttribute("aria-label", words.say(node.dataset.label, { width, height }));
  }
  if (!network) return;
  tellAbout(network.about);
  show();
}

function tellAbout(about) {
  pad.style.aspectRatio = `${about.size[1]} / ${about.size[0]}`;
  const measured = Object.entries(about.accuracy).map(([part, share]) => [part, words.percent(share, 2)]);
  const { model, data } = about;
  const facts = { model, data, parameters: words.count(about.parameters), ...Object.fromEntries(measured) };
  const word = facts.test ? "aboutTested" : "about";
  at("about").textContent = words.say(word, facts);
  const longest = Math.max(...about.classes.map((name) => name.length));
  at("bars").style.setProperty("--names", `${Math.min(8, 0.6 * longest + 0.6)}rem`);
}
