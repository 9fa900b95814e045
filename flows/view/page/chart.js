// Two charts as SVG: the scenes over time by their cloud cover, and what they say of a pixel.
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#882255", "#999933"];

function svg(tag, attributes, ...inside) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...inside);
  return element;
}

const titled = (element, words) => { element.append(svg("title", {}, words)); return element; };

/** The scale of times (ms) on pixels from `left` to `right`, with at most `n` days to name: those of the first and the
 * last moment, and of moments between as far as their names have room. */
function timeAxis(times, left, right, n) {
  const pad = Math.max((Math.max(...times) - Math.min(...times)) * 0.03, 43200000);
  const first = Math.min(...times) - pad, last = Math.max(...times) + pad;
  const at = (time) => left + (time - first) / (last - first) * (right - left);
  const sorted = [...new Set(times)].sort((one, other) => one - other), ticks = [];
  const wish = Array.from({ length: n - 2 }, (_, number) => sorted[Math.round((number + 1) / (n - 1) * (sorted.length - 1))]);
  for (const time of [sorted[0], sorted.at(-1), ...wish]) {
    const place = Math.min(Math.max(at(time), left + 30), right - 30);
    if (!ticks.some((tick) => Math.abs(tick.place - place) < 70)) ticks.push({ day: new Date(time).toISOString().slice(0, 10), place });
  }
  return { at, ticks };
}

/** Three to six round numbers (steps of 1, 2 or 5) that hold `low` and `high` between the first and the last. */
function roundNumbers(low, high) {
  const rough = (high - low) / 4, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((each) => each * power >= rough) * power;
  const first = Math.floor(low / step + 1e-9), last = Math.ceil(high / step - 1e-9);
  return Array.from({ length: last - first + 1 }, (_, number) => Number(((first + number) * step).toPrecision(12)));
}

/** Scenes that lie on each other in a chart, as one group each. */
function grouped(scenes, x, y) {
  const groups = new Map();
  for (const scene of scenes) {
    const key = `${Math.round(x(scene) / 8)} ${Math.round(y(scene) / 8)}`;
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(scene);
  }
  return [...groups.values()];
}

/** The line of scenes, drawn into a box anew. `over` is told the scenes that are pointed at (or null), `choose` those
 * that are clicked; it returns those that are chosen from then on. */
export function drawLine(box, scenes, { over, choose, chosen }) {
  const width = Math.max(box.clientWidth, 200), height = 96, left = 42, right = width - 10, top = 10, bottom = 72;
  const { at, ticks } = timeAxis(scenes.map((scene) => Date.parse(scene.time)), left, right, Math.max(2, Math.floor(width / 130)));
  const x = (scene) => at(Date.parse(scene.time)), y = (cloud) => bottom - (cloud ?? 0) / 100 * (bottom - top);
  const line = (share) => svg("line", { class: "axis", x1: left, x2: right, y1: y(share), y2: y(share) });
  const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": "Scenes by time and cloud cover" },
    line(0), line(50), line(100),
    svg("text", { x: left - 8, y: top + 4, "text-anchor": "end" }, "100 %"), svg("text", { x: left - 8, y: bottom + 4, "text-anchor": "end" }, "0 %"),
    ...ticks.map((tick) => svg("text", { x: tick.place, y: height - 6, "text-anchor": "middle" }, tick.day)));
  const groups = grouped(scenes, x, (scene) => y(scene.cloud));
  const points = groups.map((group) => {
    const [scene] = group, known = scene.cloud !== null, more = group.length > 1 ? ` and ${group.length - 1} more` : "";
    const point = svg("circle", {
      class: "point", cx: x(scene), cy: y(scene.cloud), r: group.length > 1 ? 6 : 5, tabindex: 0, role: "button",
      fill: known && group.some((each) => each.used) ? scene.product.colour : "transparent", stroke: scene.product.colour,
      "stroke-width": 1.5, "fill-opacity": 0.8, "aria-label": `${scene.id}${more}, ${known ? `${scene.cloud.toFixed(1)} % cloud` : "cloud not known"}`,
    });
    const pick = () => {
      const now = choose(group);
      points.forEach((each, number) => each.classList.toggle("chosen", groups[number] === now));
    };
    point.addEventListener("pointerenter", () => over(group));
    point.addEventListener("pointerleave", () => over(null));
    point.addEventListener("focus", () => over(group));
    point.addEventListener("blur", () => over(null));
    point.addEventListener("click", pick);
    point.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); pick(); } });
    point.classList.toggle("chosen", Boolean(chosen) && group.some((each) => chosen.includes(each)));
    return titled(point, `${scene.time.slice(0, 10)} ${scene.id}${more}`);
  });
  chart.append(...points);
  box.replaceChildren(chart);
}

/** What the passes of an input say of a pixel, as a figure with a chart and all its numbers in a table. */
export function drawSeries(input, product, make) {
  const { passes, bands, unit } = input;
  const lacks = [input.n_left_out && `the last ${passes.length} of ${passes.length + input.n_left_out} passes`, input.n_failed && `${input.n_failed} reads failed`].filter(Boolean).join(", ");
  const title = `${product ? `${product} · ` : ""}${input.input}: ${unit === "1" ? "stored values" : unit}${lacks ? ` (${lacks})` : ""}`;
  const figure = make("figure", {}, make("figcaption", { text: passes.length ? title : `${title}: no scene sees this pixel` }));
  const values = passes.flatMap((pass) => pass.values).filter((value) => value !== null);
  if (!values.length) return figure;
  figure.append(seriesChart(passes, bands, values), keys(bands, passes, make), seriesTable(passes, bands, make));
  return figure;
}

function seriesChart(passes, bands, values) {
  const width = 304, height = 150, left = 40, right = width - 8, top = 8, bottom = height - 24;
  const { at, ticks } = timeAxis(passes.map((pass) => Date.parse(pass.time)), left, right, 3);
  const least = Math.min(0, ...values), marks = roundNumbers(least, Math.max(...values, least + 1e-6));
  const low = marks[0], high = marks.at(-1);
  const y = (value) => bottom - (value - low) / (high - low) * (bottom - top);
  const mark = (value) => [svg("line", { class: "axis", x1: left, x2: right, y1: y(value), y2: y(value) }), svg("text", { x: left - 5, y: y(value) + 4, "text-anchor": "end" }, String(value).length > 6 ? value.toExponential() : value)];
  const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Time series" }, ...marks.flatMap(mark),
    ...ticks.map((tick) => svg("text", { x: tick.place, y: height - 6, "text-anchor": "middle" }, tick.day)));
  bands.forEach((band, number) => {
    const colour = COLOURS[number % COLOURS.length];
    const seen = passes.filter((pass) => pass.values[number] !== null);
    const kept = seen.filter((pass) => pass.kept !== false);
    const path = kept.map((pass, place) => `${place ? "L" : "M"}${at(Date.parse(pass.time))} ${y(pass.values[number])}`).join("");
    if (path) chart.append(svg("path", { d: path, fill: "none", stroke: colour, "stroke-width": 1.4 }));
    for (const pass of seen) {
      const dot = svg("circle", { cx: at(Date.parse(pass.time)), cy: y(pass.values[number]), r: 3.2, stroke: colour, "stroke-width": 1.2, fill: pass.kept === false ? "transparent" : colour });
      chart.append(titled(dot, `${pass.time.slice(0, 10)} ${band} ${pass.values[number]}${pass.kept === false ? ", dropped by the mask" : ""}`));
    }
  });
  return chart;
}

function keys(bands, passes, make) {
  const key = (band, number) => {
    const dot = make("i", {});
    dot.style.background = COLOURS[number % COLOURS.length];
    return make("span", {}, dot, band);
  };
  const dropped = passes.some((pass) => pass.kept === false) && make("span", { className: "muted", text: "hollow: dropped by the mask" });
  return make("div", { className: "keys" }, ...bands.map(key), dropped);
}

function seriesTable(passes, bands, make) {
  const head = make("tr", {}, make("th", { text: "day" }), ...bands.map((band) => make("th", { text: band })), make("th", { text: "cloud %" }));
  const rows = passes.map((pass) => make("tr", { className: pass.kept === false ? "dropped" : "" }, make("td", { text: pass.time.slice(0, 10) }),
    ...pass.values.map((value) => make("td", { text: value === null ? "–" : String(Number(value.toPrecision(5))) })), make("td", { text: pass.cloud === null ? "–" : pass.cloud.toFixed(1) })));
  return make("details", {}, make("summary", { text: "Numbers" }), make("div", { className: "scroll" }, make("table", {}, head, ...rows)));
}
