// Words and numbers in the reader's language. A text's key is the text itself in English; es.json and pt.json hold the
// others. An element with data-t is translated by what it says, one with data-t-label by its label.

export const LANGUAGES = ["en", "es", "pt"];
const KEPT = "guarismo.language";
const catalogues = { en: {} };
const listeners = [];
let code = "en";

export const language = () => code;
export const onLanguage = (listener) => listeners.push(listener);

// The language that was chosen here before, or the first of the browser's that there is.
export function preferred() {
  const wanted = [localStorage.getItem(KEPT), ...navigator.languages].map((each) => (each ?? "").slice(0, 2).toLowerCase());
  return wanted.find((each) => LANGUAGES.includes(each)) ?? "en";
}

export async function speak(wanted, remember = false) {
  catalogues[wanted] ??= await fetch(`page/${wanted}.json`).then((answer) => answer.json(), () => ({}));
  code = wanted;
  if (remember) localStorage.setItem(KEPT, wanted);
  document.documentElement.lang = code;
  translateElements();
  listeners.forEach((listener) => listener());
}

function translateElements() {
  for (const element of document.querySelectorAll("[data-t]")) {
    element.dataset.t ||= element.textContent;
    element.textContent = t(element.dataset.t);
  }
  for (const element of document.querySelectorAll("[data-t-label]")) {
    element.setAttribute("aria-label", t(element.dataset.tLabel));
  }
}

// The text in the language, its {fields} filled: t("{n} of {all}", { n: 3, all: 5 }).
export function t(text, values = {}) {
  return (catalogues[code][text] ?? text).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

// One of two texts, by number: plural(n, "{n} mark", "{n} marks").
export function plural(n, one, many, values = {}) {
  return t(new Intl.PluralRules(code).select(n) === "one" ? one : many, { n: number(n), ...values });
}

export const number = (value, digits = 0) =>
  new Intl.NumberFormat(code, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);

export function percent(share, digits = 0) {
  const style = { style: "percent", minimumFractionDigits: digits, maximumFractionDigits: digits };
  return new Intl.NumberFormat(code, style).format(share);
}

// How sure a network is: never 100 %.
export const sure = (share, digits = 0) => percent(Math.min(share, 1 - 10 ** -(digits + 2)), digits);

export function duration(seconds) {
  if (seconds < 60) return `${number(seconds, seconds < 10 ? 1 : 0)} s`;
  return `${number(Math.floor(seconds / 60))} min ${number(Math.round(seconds % 60))} s`;
}

export const list = (parts) => new Intl.ListFormat(code, { type: "conjunction" }).format(parts);
