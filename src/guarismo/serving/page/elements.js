// Elements of the page, made in one call: make("button.chief", { type: "button", onclick }, "Words", other).

export function make(kind, properties = {}, ...children) {
  const [name, ...classes] = kind.split(".");
  const element = document.createElement(name || "div");
  if (classes.length) element.classList.add(...classes);
  for (const [key, value] of Object.entries(properties)) give(element, key, value);
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

function give(element, key, value) {
  if (value === null || value === undefined || value === false) return;
  if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
  else if (key in element && typeof value !== "string") element[key] = value;
  else element.setAttribute(key, value);
}

export function button(words, onclick, more = {}) {
  const { chief, ...properties } = more;
  return make(chief ? "button.chief" : "button", { type: "button", onclick, ...properties }, words);
}

export const byId = (id) => document.getElementById(id);

// A 28×28 picture as the network saw it, enlarged without smoothing.
export function glyphImage(source, words) {
  return make("img.seen", { src: source, alt: words, width: 28, height: 28 });
}
