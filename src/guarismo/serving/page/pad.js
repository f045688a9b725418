// A sheet to write on with pen, finger, mouse or the arrow keys. Strokes are points in widths of the sheet, so that they
// stand at any size; the picture that is sent is drawn anew from them, dark on white, whatever the screen shows.

import { button, make } from "./elements.js";
import { t } from "./words.js";

const HIGH = 0.75; // of the width
const PEN = 0.024; // of the width
const SENT = 480; // pixels that the width of the sheet has in the picture that is sent
const LEAST = 96; // pixels of a picture's side: smaller ones are taken for one digit
const STEP = 0.02; // of the width: how far an arrow key goes
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

// changed(over): after each movement of the pen, `over` where a stroke has ended or gone.
export function createPad(place, changed) {
  const pad = { strokes: [], version: 0, current: null, cursor: null, held: new Set(), changed };
  pad.canvas = make("canvas", { tabIndex: 0, role: "application" });
  pad.hint = make("p.hint", { "aria-hidden": "true" });
  pad.undoes = button("", () => undo(pad));
  pad.clears = button("", () => clear(pad));
  pad.tools = make("p.tools", {}, pad.undoes, pad.clears);
  pad.keys = make("p.keys.quiet", { id: `${place.dataset.pad}-keys` });
  pad.canvas.setAttribute("aria-describedby", pad.keys.id);
  place.append(make(".sheet", {}, pad.canvas, pad.hint), pad.tools, pad.keys);
  listenToPointer(pad);
  listenToKeys(pad);
  new ResizeObserver(() => show(pad)).observe(pad.canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => show(pad));
  return pad;
}

export function nameParts(pad, label, hint) {
  pad.canvas.setAttribute("aria-label", label);
  pad.hint.textContent = hint;
  pad.undoes.textContent = t("Undo stroke");
  pad.clears.textContent = t("Clear");
  pad.keys.textContent = t("By keyboard: arrow keys move the pen, the space bar sets it down and lifts it, Backspace undoes, Delete clears.");
  show(pad);
}

export const isEmpty = (pad) => !pad.strokes.length;

export function clear(pad) {
  pad.strokes = [];
  altered(pad);
}

function undo(pad) {
  pad.strokes.pop();
  altered(pad);
}

function altered(pad) {
  pad.version += 1;
  pad.current = null;
  show(pad);
  pad.changed(true);
}

// Strokes

function begin(pad, point) {
  pad.current = [point];
  pad.strokes.push(pad.current);
  follow(pad);
}

function follow(pad, ...points) {
  pad.current.push(...points);
  pad.version += 1;
  show(pad);
  pad.changed(false);
}

function end(pad) {
  pad.current = null;
  pad.changed(true);
}

function listenToPointer(pad) {
  const { canvas } = pad;
  let writing = null;
  const points = (event) => {
    const box = canvas.getBoundingClientRect();
    const all = event.getCoalescedEvents?.() ?? [];
    return (all.length ? all : [event]).map((each) => [(each.clientX - box.x) / box.width, (each.clientY - box.y) / box.width]);
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (writing !== null || event.button > 0) return;
    event.preventDefault();
    canvas.focus({ preventScroll: true, focusVisible: false });
    canvas.setPointerCapture(event.pointerId);
    writing = event.pointerId;
    pad.cursor = null;
    begin(pad, points(event)[0]);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerId === writing) follow(pad, ...points(event));
  });
  const lift = (event) => {
    if (event.pointerId !== writing) return;
    writing = null;
    if (pad.current) end(pad);
  };
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
}

function listenToKeys(pad) {
  pad.canvas.addEventListener("keydown", (event) => {
    const act = actionOf(pad, event);
    if (!act) return;
    event.preventDefault();
    act();
  });
  pad.canvas.addEventListener("keyup", (event) => pad.held.delete(event.key));
  pad.canvas.addEventListener("blur", () => {
    pad.held.clear();
    pad.cursor = null;
    if (pad.current) end(pad);
    show(pad);
  });
}

function actionOf(pad, event) {
  if ((event.ctrlKey || event.metaKey) && event.key === "z") return () => undo(pad);
  if (event.ctrlKey || event.metaKey || event.altKey) return null;
  if (event.key in ARROWS) return () => go(pad, event.key);
  if (event.key === " ") return () => (pad.current ? end(pad) : begin(pad, [...cursorOf(pad)]));
  return { Backspace: () => undo(pad), Delete: () => clear(pad) }[event.key] ?? null;
}

const cursorOf = (pad) => (pad.cursor ??= [0.5, HIGH / 2]);

function go(pad, key) {
  pad.held.add(key);
  const cursor = cursorOf(pad);
  for (const held of pad.held) {
    cursor[0] = Math.min(1, Math.max(0, cursor[0] + STEP * ARROWS[held][0]));
    cursor[1] = Math.min(HIGH, Math.max(0, cursor[1] + STEP * ARROWS[held][1]));
  }
  if (pad.current) follow(pad, [...cursor]);
  else show(pad);
}

// Pictures

function show(pad) {
  const { canvas } = pad;
  const width = canvas.clientWidth * devicePixelRatio;
  if (!width) return;
  if (canvas.width !== Math.round(width)) [canvas.width, canvas.height] = [Math.round(width), Math.round(width * HIGH)];
  const context = canvas.getContext("2d");
  const colours = getComputedStyle(canvas);
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.strokeStyle = colours.color;
  put(context, pad.strokes, canvas.width);
  if (pad.cursor) putCursor(context, pad, colours.getPropertyValue("--accent"));
  pad.hint.hidden = !isEmpty(pad);
  pad.undoes.disabled = pad.clears.disabled = isEmpty(pad);
}

function put(context, strokes, width) {
  Object.assign(context, { lineWidth: PEN * width, lineCap: "round", lineJoin: "round" });
  for (const stroke of strokes) {
    const at = stroke.map(([x, y]) => [x * width, y * width]);
    context.beginPath();
    context.moveTo(...at[0]);
    for (let k = 1; k < at.length - 1; k++) {
      context.quadraticCurveTo(...at[k], (at[k][0] + at[k + 1][0]) / 2, (at[k][1] + at[k + 1][1]) / 2);
    }
    context.lineTo(...at.at(-1));
    context.stroke();
  }
}

function putCursor(context, pad, colour) {
  const [x, y] = pad.cursor.map((each) => each * pad.canvas.width);
  context.beginPath();
  context.arc(x, y, (PEN * pad.canvas.width) / 1.4, 0, 2 * Math.PI);
  Object.assign(context, { strokeStyle: colour, fillStyle: colour, lineWidth: 2 * devicePixelRatio });
  if (pad.current) context.fill();
  else context.stroke();
}

// The writing as it is sent: a small PNG, dark on white, with some paper round it. Made at once, not when the browser
// finds time for it, as canvas.toBlob does.
export function picture(pad) {
  const [left, top, right, low] = bounds(pad.strokes);
  const edge = Math.max(24, 0.25 * SENT * Math.max(right - left, low - top));
  const size = (length) => Math.max(LEAST, Math.ceil(SENT * length + 2 * edge));
  const canvas = make("canvas", { width: size(right - left), height: size(low - top) });
  const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.translate((canvas.width - SENT * (left + right)) / 2, (canvas.height - SENT * (top + low)) / 2);
  context.strokeStyle = "#000";
  put(context, pad.strokes, SENT);
  return png(canvas);
}

function png(canvas) {
  const text = atob(canvas.toDataURL("image/png").split(",")[1]);
  return new Blob([Uint8Array.from(text, (letter) => letter.charCodeAt(0))], { type: "image/png" });
}

function bounds(strokes) {
  const points = strokes.flat();
  const [xs, ys] = [0, 1].map((axis) => points.map((point) => point[axis]));
  return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
}
