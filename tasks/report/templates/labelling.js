"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { places, classes, layer, named, columns, side } = data;
  const find = (id) => document.getElementById(id);
  const shots = document.querySelector(".shots"), keys = document.querySelector(".keys2"), bar = document.querySelector(".bar");
  const told = new Map(classes.map((each) => [each.name, each.told]));
  const labels = {}, seen = {};
  let at = 0, stored = true, saved = true;

  // Each place is kept under a key of its own, so that two tabs of this page never write over each other's labels.
  const unkept = new Set();
  const keyOf = (id) => `${data.key}:${id}`;

  function take(id, text) {
    let kept = null;
    try { kept = JSON.parse(text || "null"); } catch { /* What cannot be understood is no label. */ }
    if (kept && told.has(kept.label)) labels[id] = kept.label; else delete labels[id];
    if (kept && kept.seen) seen[id] = true;
  }

  function keep(id) {
    if (id !== undefined) unkept.add(id);
    try {
      localStorage.setItem(`${data.key}:at`, String(at));
      for (const each of unkept) {
        localStorage.setItem(keyOf(each), JSON.stringify({ label: labels[each] ?? null, seen: Boolean(seen[each]) }));
        unkept.delete(each);
      }
      stored = true;
    } catch { stored = false; }
  }

  function element(tag, name, text) {
    const made = document.createElement(tag);
    if (name) made.className = name;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function shot(uri, caption) {
    const figure = element("figure"), frame = element("div", uri ? "shot" : "shot none", uri ? undefined : "No scene could be read here.");
    if (uri) {
      const sheet = element("div", "sheet2"), image = element("img"), mark = element("div", "mark");
      image.src = uri;
      image.alt = "";
      const share = 100 / side, middle = ((side - 1) / 2) * share;
      Object.assign(mark.style, { left: middle + "%", top: middle + "%", width: share + "%", height: share + "%" });
      sheet.append(image, mark);
      frame.append(sheet);
    }
    figure.append(frame, element("figcaption", "", caption));
    return figure;
  }

  function show() {
    const place = places[at], id = place.row.id, done = places.filter((each) => labels[each.row.id] !== undefined).length;
    shots.replaceChildren(...data.dates.map((date, number) => shot(place.chips[number], date)));
    find("number").textContent = `Place ${at + 1} of ${places.length}`;
    find("where").textContent = `${place.lat.toFixed(6)}, ${place.lon.toFixed(6)} lat, lon`;
    [...keys.children].forEach((button, number) => button.setAttribute("aria-pressed", String(labels[id] === classes[number].name)));
    const peek = find("peek").checked;
    if (peek && !seen[id] && labels[id] === undefined) {
      seen[id] = true;
      keep(id);
    }
    find("mapped").textContent = peek ? `The map says ${place.mapped}. Labels given while it is shown are marked in map_shown.` : "";
    bar.firstElementChild.style.width = (100 * done) / places.length + "%";
    bar.setAttribute("aria-valuenow", String(done));
    find("kept").textContent = stored
      ? `${done} of ${places.length} labelled, kept in this browser as you go.`
      : `${done} of ${places.length} labelled. This browser keeps nothing: save the labels before you close the page.`;
    find("kept").classList.toggle("warned", !stored);
    find("unkept").hidden = stored;
  }

  const within = (number) => Math.min(Math.max(0, number), places.length - 1);

  function go(step) {
    at = within(at + step);
    keep();
    show();
  }

  function unlabelled() {
    for (let step = 1; step <= places.length; step++) {
      const next = (at + step) % places.length;
      if (labels[places[next].row.id] === undefined) return next - at;
    }
    return 0;
  }

  function label(number) {
    if (number >= classes.length) return;
    const id = places[at].row.id;
    labels[id] = classes[number].name;
    saved = false;
    keep(id);
    go(1);
  }

  function clear() {
    const id = places[at].row.id;
    delete labels[id];
    saved = false;
    keep(id);
    show();
  }

  function download(text, type, ending) {
    const link = element("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = `labels${ending}`;
    link.click();
    saved = true;
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  function row(place) {
    const name = labels[place.row.id] ?? null;
    return { ...place.row, [layer]: told.get(name) ?? null, ...(named ? { [named]: name } : {}), map_shown: Boolean(seen[place.row.id]) };
  }

  function geojson() {
    const features = places.map((place) => ({
      type: "Feature", properties: row(place), geometry: { type: "Point", coordinates: [place.lon, place.lat] },
    }));
    return JSON.stringify({ type: "FeatureCollection", features }, null, 1);
  }

  // A spreadsheet would compute a text that begins like a formula.
  const harmless = (text) => (/^[=+\-@\t\r]/.test(text) ? "'" + text : text);
  const quoted = (text) => `"${harmless(text.replace(/[\r\n]+/g, " ")).replaceAll('"', '""')}"`;
  const cell = (value) => (value === null ? "" : typeof value === "string" ? quoted(value) : String(value));

  function csv() {
    const names = [...columns, layer, ...(named ? [named] : []), "map_shown"];
    const lines = places.map((place) => [...names.map((name) => cell(row(place)[name])), place.lon, place.lat].join(","));
    return "\ufeff" + [[...names.map(cell), "lon", "lat"].join(","), ...lines].join("\r\n") + "\r\n";
  }

  const actions = {
    back: () => go(-1), next: () => go(1), open: () => go(unlabelled()), clear,
    geojson: () => download(geojson(), "application/geo+json", ".geojson"), csv: () => download(csv(), "text/csv", ".csv"),
  };
  document.querySelectorAll("[data-do]").forEach((button) => button.addEventListener("click", () => actions[button.dataset.do]()));
  find("peek").addEventListener("change", show);

  classes.forEach((each, number) => {
    const button = element("button"), swatch = element("i");
    button.type = "button";
    swatch.style.setProperty("--c", each.colour);
    button.append(swatch, number < 9 ? element("kbd", "", String(number + 1)) : element("b"), element("span", "", each.name));
    button.addEventListener("click", () => label(number));
    keys.append(button);
  });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    // A key that is held down labels one place.
    if (/^[1-9]$/.test(event.key)) { if (!event.repeat) label(Number(event.key) - 1); }
    else if (event.key === "ArrowLeft") go(-1);
    else if (event.key === "ArrowRight") go(1);
    else if (event.key === "Backspace" || event.key === "Delete") clear();
    else if (event.key === "z") shots.classList.toggle("near");
    else return;
    event.preventDefault();
  });

  addEventListener("storage", (event) => {
    const place = places.find((each) => keyOf(each.row.id) === event.key);
    if (!place || unkept.has(place.row.id)) return;
    take(place.row.id, event.newValue);
    show();
  });
  addEventListener("beforeunload", (event) => { if (!stored && !saved) event.preventDefault(); });

  try {
    at = within(localStorage.getItem(`${data.key}:at`) | 0);
    for (const { row: { id } } of places) take(id, localStorage.getItem(keyOf(id)));
  } catch { stored = false; }
  keep();
  show();
})();
