// Charts say the values of the point nearest to the pointer; arrow keys walk along the points.
for (const chart of document.querySelectorAll(".stops")) {
  const stops = JSON.parse(chart.dataset.stops);
  if (!stops.length) continue;
  const drawn = chart.querySelector("svg"), said = chart.parentElement.querySelector(".said");
  const svg = (name, traits) => {
    const made = document.createElementNS(drawn.namespaceURI, name);
    for (const trait in traits) made.setAttribute(trait, traits[trait]);
    return made;
  };
  const mark = svg("svg", { class: "pointer", viewBox: drawn.getAttribute("viewBox"), "aria-hidden": "true" });
  chart.append(mark);
  const [, , width, height] = drawn.getAttribute("viewBox").split(" ").map(Number);
  let now = stops.length - 1;
  const show = (place) => {
    now = Math.max(0, Math.min(stops.length - 1, place));
    const { at, words } = stops[now];
    mark.replaceChildren(
      svg("line", { x1: at[0][0], x2: at[0][0], y1: 0, y2: height, stroke: "currentColor", "stroke-opacity": 0.35 }),
      ...at.map(([x, y]) => svg("circle", { cx: x, cy: y, r: 4.5, fill: "none", stroke: "currentColor", "stroke-width": 1.5 })),
    );
    said.textContent = words;
    chart.setAttribute("aria-valuenow", now + 1);
    chart.setAttribute("aria-valuetext", words);
  };
  const traits = { role: "slider", tabindex: 0, "aria-valuemin": 1, "aria-valuemax": stops.length, "aria-valuenow": stops.length, "aria-valuetext": stops[now].words };
  for (const trait in traits) chart.setAttribute(trait, traits[trait]);
  chart.addEventListener("pointermove", (event) => {
    const box = chart.getBoundingClientRect(), x = ((event.clientX - box.left) / box.width) * width;
    const far = stops.map(({ at }) => Math.abs(at[0][0] - x));
    show(far.indexOf(Math.min(...far)));
  });
  chart.addEventListener("pointerdown", (event) => chart.dispatchEvent(new PointerEvent("pointermove", event)));
  chart.addEventListener("focus", () => show(now));
  chart.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: now + 1, ArrowUp: now + 1, ArrowLeft: now - 1, ArrowDown: now - 1, Home: 0, End: stops.length - 1 };
    if (!(event.key in steps)) return;
    event.preventDefault();
    show(steps[event.key]);
  });
}
