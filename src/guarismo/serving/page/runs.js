// Runs: those of the server's folder, with their figures and reports. A click on a heading sorts.

import * as api from "./api.js";
import { byId, make } from "./elements.js";
import { fail } from "./notices.js";
import { duration, language, number, onLanguage, percent, t } from "./words.js";

const COLUMNS = [
  ["Run", "name"],
  ["Model", "model"],
  ["Data", "data"],
  ["Validation accuracy", "validation_accuracy", (share) => percent(share, 2)],
  ["Test accuracy", "test_accuracy", (share) => percent(share, 2)],
  ["Parameters", "parameters", (n) => number(n)],
  ["Training time", "seconds", duration],
];
const state = { runs: null, by: "name", up: true };

export function start() {
  onLanguage(show);
}

export async function open() {
  try {
    state.runs = (await api.runs()).runs;
  } catch (error) {
    fail(error);
  }
  show();
}

function show() {
  byId("run-list").replaceChildren(...(state.runs ? [state.runs.length ? table() : nothing()] : []));
}

function nothing() {
  return make("p", {}, t("There is no run yet. Train one:"), " ", make("code", {}, "guarismo train digits"));
}

function table() {
  const heads = COLUMNS.map(([title, key, form]) => head(title, key, Boolean(form)));
  const rows = sorted().map((run) => make("tr", {}, COLUMNS.map((column, place) => cell(run, column, place)), reportCell(run)));
  const last = make("th", { scope: "col" }, t("Report"));
  return make(
    ".scroll",
    { tabIndex: 0, role: "region", "aria-label": t("Runs") },
    make("table", {}, make("thead", {}, make("tr", {}, heads, last)), make("tbody", {}, rows)),
  );
}

function head(title, key, numeric) {
  const sort = state.by === key ? (state.up ? "ascending" : "descending") : null;
  const turn = make("button", { type: "button", onclick: () => sortBy(key, numeric) }, t(title));
  return make(numeric ? "th.n" : "th", { scope: "col", "aria-sort": sort }, turn);
}

function sortBy(key, numeric) {
  const up = state.by === key ? !state.up : !numeric;
  Object.assign(state, { by: key, up });
  show();
  document.querySelector("th[aria-sort] button").focus();
}

function sorted() {
  const { by, up } = state;
  const order = new Intl.Collator(language(), { numeric: true });
  const compare = (a, b) => (typeof a === "number" ? a - b : order.compare(a, b));
  const rank = (a, b) => (a === null || b === null ? (a === null) - (b === null) : compare(a, b) * (up ? 1 : -1));
  return [...state.runs].sort((one, other) => rank(one[by] ?? null, other[by] ?? null));
}

function cell(run, [, key, form], place) {
  const value = run[key] ?? null;
  const text = value === null ? "–" : form ? form(value) : value;
  return place ? make(form ? "td.n" : "td", {}, text) : make("th", { scope: "row" }, make("bdi", {}, text));
}

function reportCell(run) {
  if (!run.report) return make("td", {}, "–");
  const words = t("Report of {run}", { run: run.name });
  return make("td", {}, make("a", { href: run.report, "aria-label": words }, t("Report")));
}
