// What is said aloud, and what went wrong.

import { Failure } from "./api.js";
import { byId } from "./elements.js";
import { told } from "./told.js";
import { onLanguage } from "./words.js";

let fault = null;

// For a screen reader; the page shows the same elsewhere.
export function say(words) {
  byId("said").textContent = words;
}

// Shows a Failure; any other error is a fault of this page, and goes on to the console.
export function fail(error) {
  if (!(error instanceof Failure)) throw error;
  fault = error;
  show();
}

export function settle() {
  fault = null;
  show();
}

function show() {
  const place = byId("fault");
  place.hidden = !fault;
  place.textContent = fault ? told(fault.message) : "";
}

onLanguage(show);
