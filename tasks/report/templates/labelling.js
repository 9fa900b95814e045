"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { places, classes, layer, columns, side } = data;
  const find = (id) => document.getElementById(id);
  const shots = document.querySelector(".shots"), keys = document.querySelector(".keys2"), bar = document.querySelector(".bar");
  let labels = {}, seen = {}, at = 0, stored = true;

  try {
    const kept = JSON.parse(localStorage.getItem(data.key) || "null");
    const names = new Set(classes.map((each) => each.name));
    for (const [id, name] of Object.entries((kept && kept.labels) || {})) if (names.has(name)) labels[id] = name;
    seen = (kept && kept.seen) || {};
    at = Math.min(Math.max(0, (kept && kept.at) | 0), places.length - 1);
  } catch { stored = false; }

  function keep() {
    try { localStorage.setItem(data.key, JSON.stringify({ labels, seen, at })); stored = true; } catch { stored = false; }
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
    const place = places[at], id = place.row.id, done = Object.keys(labels).length;
    shots.replaceChildren(...data.dates.map((date, number) => shot(place.chips[number], date)));
    find("number").textContent = `Place ${at + 1} of ${places.length}`;
    find("where").textContent = `${place.lat.toFixed(6)}, ${place.lon.toFixed(6)} lat, lon`;
    [...keys.children].forEach((button, number) => button.setAttribute("aria-pressed", String(labels[id] === classes[number].name)));
    const peek = find("peek").checked;
    if (peek && !seen[id] && labels[id] === undefined) seen[id] = true;
    find("mapped").textContent = peek ? `The map says ${place.mapped}. Labels given while it is shown are marked in map_shown.` : "";
    bar.firstElementChild.style.width = (100 * done) / places.length + "%";
    bar.setAttribute("aria-valuenow", String(done));
    find("kept").textContent = stored
      ? `${done} of ${places.length} labelled, kept in this browser as you go.`
      : `${done} of ${places.length} labelled. This browser keeps nothing: save the labels before you close the page.`;
    find("kept").classList.toggle("warned", !stored);
  }

  function go(step) {
    at = Math.min(Math.max(0, at + step), places.length - 1);
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
    labels[places[at].row.id] = classes[number].name;
    go(1);
  }

  function clear() {
    delete labels[places[at].row.id];
    keep();
    show();
  }

  function download(text, type, ending) {
    const link = element("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = `labels${ending}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  const row = (place) => ({ ...place.row, [layer]: labels[place.row.id] ?? null, map_shown: Boolean(seen[place.row.id]) });

  function geojson() {
    const features = places.map((place) => ({
      type: "Feature", properties: row(place), geometry: { type: "Point", coordinates: [place.lon, place.lat] },
    }));
    return JSON.stringify({ type: "FeatureCollection", features }, null, 1);
  }

  // A spreadsheet would compute a text that begins like a formula.
  const harmless = (text) => (/^[=+\-@\t\r]/.test(text) ? "'" + text : text);
  const cell = (value) => value === null ? "" : typeof value === "string" ? `"${harmless(value).replaceAll('"', '""')}"` : String(value);

  function csv() {
    const names = [...columns, layer, "map_shown"];
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
    if (/^[1-9]$/.test(event.key)) label(Number(event.key) - 1);
    else if (event.key === "ArrowLeft") go(-1);
    else if (event.key === "ArrowRight") go(1);
    else if (event.key === "Backspace" || event.key === "Delete") clear();
    else if (event.key === "z") shots.classList.toggle("near");
    else return;
    event.preventDefault();
  });

  show();
})();
