// Starts the views and shows the one that the address names.

import * as draw from "./draw.js";
import { byId } from "./elements.js";
import * as look from "./look.js";
import { settle } from "./notices.js";
import * as photo from "./photo.js";
import * as runs from "./runs.js";
import * as teach from "./teach.js";
import { onLanguage, preferred, speak, t } from "./words.js";

const VIEWS = { draw, photo, teach, look, runs };

function chosen() {
  const name = location.hash.slice(1);
  return name in VIEWS ? name : "draw";
}

function show() {
  const name = chosen();
  for (const each of Object.keys(VIEWS)) byId(each).hidden = each !== name;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  settle();
  title();
  VIEWS[name].open?.();
}

function title() {
  document.title = `${t(document.querySelector("nav a[aria-current]").dataset.t)} · Guarismo`;
}

function turned() {
  if (!(location.hash.slice(1) in VIEWS)) return;
  show();
  scrollTo(0, 0);
  byId("main").focus({ preventScroll: true });
}

async function start() {
  for (const view of Object.values(VIEWS)) view.start();
  const code = preferred();
  byId("language").value = code;
  byId("language").addEventListener("change", (event) => speak(event.target.value, true));
  await speak(code);
  show();
  onLanguage(title);
  addEventListener("hashchange", turned);
}

start();
