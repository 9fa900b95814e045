"use strict";
(() => {
  const map = document.querySelector(".map");
  if (!map) return;
  const facts = JSON.parse(document.getElementById("viewer").textContent);
  const find = (selector) => document.querySelector(selector);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const sheets = all(".sheet"), over = find(".pane.over"), readout = find(".readout"), hint = find(".hint"), swipe = find(".swipe");
  const pictures = all(".pane.over img"), scene = find(".pane.base img");
  const state = { layer: 0, zoom: 1, x: 0, y: 0, swipe: 0.5, active: false };
  const layers = facts.layers.map((layer, number) => ({ ...layer, picture: pictures[number], hidden: new Set(), pixels: null }));
  let fit = { width: 1, height: 1, left: 0, top: 0 };

  // ---- where the pictures lie
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const shown = () => pictures[state.layer] || scene;
  function measure() {
    const box = map.getBoundingClientRect(), picture = shown();
    const ratio = picture.naturalWidth / picture.naturalHeight || 1.5;
    const width = Math.min(box.width, box.height * ratio);
    fit = { width, height: width / ratio, left: (box.width - width) / 2, top: (box.height - width / ratio) / 2, box };
  }
  function place() {
    const { box } = fit, width = fit.width * state.zoom, height = fit.height * state.zoom;
    state.x = width <= box.width ? (box.width - width) / 2 : clamp(state.x, box.width - width, 0);
    state.y = height <= box.height ? (box.height - height) / 2 : clamp(state.y, box.height - height, 0);
    for (const sheet of sheets) {
      sheet.style.width = fit.width + "px"; sheet.style.height = fit.height + "px";
      sheet.style.transform = `translate(${state.x}px,${state.y}px) scale(${state.zoom})`;
      sheet.classList.toggle("pixels", width * devicePixelRatio > 1.6 * shown().naturalWidth);
      sheet.classList.add("fitted");
    }
    map.classList.toggle("zoomed", state.zoom > 1);
    ruler(); clip(); shapes.draw();
  }
  function zoom(factor, x, y) {
    const before = state.zoom;
    state.zoom = clamp(before * factor, 1, 64);
    state.x = x - (x - state.x) * state.zoom / before; state.y = y - (y - state.y) * state.zoom / before;
    place();
  }
  const reset = () => { state.zoom = 1; state.x = fit.left; state.y = fit.top; place(); };
  const middle = (factor) => zoom(factor, fit.box.width / 2, fit.box.height / 2);

  // ---- shapes of tables, drawn over it all
  const shapes = drawShapes(map, facts.tables, {
    place: () => ({ box: fit.box, x: state.x, y: state.y, width: fit.width * state.zoom, height: fit.height * state.zoom }),
    hidden: (colour) => layers.some((layer) => layer.hidden.has(colour)),
    show(left, top, right, bottom) {
      measure();
      const high = Math.min(fit.box.width / ((right - left) * fit.width), fit.box.height / ((bottom - top) * fit.height));
      state.zoom = clamp(0.45 * high, 1, 24);
      state.x = fit.box.width / 2 - (left + right) / 2 * fit.width * state.zoom;
      state.y = fit.box.height / 2 - (top + bottom) / 2 * fit.height * state.zoom;
      place();
    },
  });

  // ---- scale bar
  const ruleLine = find(".scale span"), ruleText = find(".scale b");
  function ruler() {
    if (!facts.bounds) return;
    const perPixel = (facts.bounds[2] - facts.bounds[0]) * facts.metres / (fit.width * state.zoom);
    const power = 10 ** Math.floor(Math.log10(perPixel * 110));
    const metres = [5, 2, 1].map((step) => step * power).find((length) => length <= perPixel * 110) || power;
    ruleLine.style.width = metres / perPixel + "px";
    ruleText.textContent = metres >= 1000 ? metres / 1000 + " km" : +metres.toPrecision(3) + " m";
  }

  // ---- the colours of a layer, read back from its picture
  function pixelsOf(layer) {
    if (!layer.pixels) {
      const canvas = document.createElement("canvas"), picture = layer.picture;
      canvas.width = picture.naturalWidth; canvas.height = picture.naturalHeight;
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(picture, 0, 0);
      layer.pixels = context.getImageData(0, 0, canvas.width, canvas.height);
      layer.context = context;
    }
    return layer.pixels;
  }
  const hex = (data, at) => ((1 << 24) + (data[at] << 16) + (data[at + 1] << 8) + data[at + 2]).toString(16).slice(1);
  const short = (value) => (Math.abs(value) >= 1000 ? grouped(value, 0) : String(+value.toPrecision(3))).replace("-", "\u2212");
  const grouped = (value, digits) => value.toFixed(digits).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
  function meaning(layer, px, py) {
    const pixels = pixelsOf(layer), at = 4 * (py * pixels.width + px);
    if (!pixels.data[at + 3]) return ["no data", ""];
    const colour = hex(pixels.data, at);
    if (colour === facts.unseen) return ["no data", ""];
    const names = layer.classes.filter(([given]) => given === colour).map(([, name]) => name);
    if (names.length) return [names.join(" or "), "#" + colour];
    const step = facts.ramp.indexOf(colour);
    if (layer.ends && step >= 0) {
      const [low, high] = layer.ends, edge = step === 0 ? "≤ " : step === 255 ? "≥ " : "≈ ";
      return [(low === high ? "" : edge) + short(low + (high - low) * step / 255) + (layer.unit ? " " + layer.unit : ""), "#" + colour];
    }
    return ["", ""];
  }
  function tell(clientX, clientY) {
    const { box } = fit, u = (clientX - box.left - state.x) / (fit.width * state.zoom), v = (clientY - box.top - state.y) / (fit.height * state.zoom);
    readout.replaceChildren();
    if (u < 0 || v < 0 || u >= 1 || v >= 1) return;
    const layer = layers[state.layer];
    if (layer) {
      const pixels = pixelsOf(layer), [name, colour] = meaning(layer, Math.floor(u * pixels.width), Math.floor(v * pixels.height));
      if (name) {
        const strong = document.createElement("b");
        if (colour) { const dot = document.createElement("i"); dot.style.background = colour; readout.append(dot); }
        strong.textContent = name; readout.append(strong, document.createElement("br"));
      }
    }
    if (facts.bounds) {
      const [minx, miny, maxx, maxy] = facts.bounds, digits = facts.metres > 1000 ? 5 : 0;
      readout.append(`x ${grouped(minx + u * (maxx - minx), digits)}\u2002y ${grouped(maxy - v * (maxy - miny), digits)}\u2002${facts.crs}`);
    }
  }

  // ---- pointers: one pans, two pinch
  const pointers = new Map();
  let touched = null;
  map.addEventListener("pointerdown", (event) => {
    if (event.target.closest("button, .swipe")) return;
    measure(); state.active = true;
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    if (event.pointerType === "mouse" || state.zoom > 1 || pointers.size > 1) map.setPointerCapture(event.pointerId);
    map.classList.add("moving"); touched = null;
  });
  map.addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId);
    fit.box = map.getBoundingClientRect();
    tell(event.clientX, event.clientY);
    if (!last) return;
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    if (pointers.size === 1) { state.x += event.clientX - last[0]; state.y += event.clientY - last[1]; place(); return; }
    const [one, two] = [...pointers.values()], apart = Math.hypot(one[0] - two[0], one[1] - two[1]);
    if (touched) zoom(apart / touched, (one[0] + two[0]) / 2 - fit.box.left, (one[1] + two[1]) / 2 - fit.box.top);
    touched = apart;
  });
  for (const kind of ["pointerup", "pointercancel"]) map.addEventListener(kind, (event) => { pointers.delete(event.pointerId); touched = null; map.classList.remove("moving"); });
  map.addEventListener("pointerleave", () => readout.replaceChildren());
  map.addEventListener("dblclick", (event) => { if (!event.target.closest("button")) zoom(2, event.clientX - fit.box.left, event.clientY - fit.box.top); });
  document.addEventListener("pointerdown", (event) => { if (!map.contains(event.target)) state.active = false; });
  let fading = 0;
  map.addEventListener("wheel", (event) => {
    if (!state.active && !event.ctrlKey && !event.metaKey) {
      hint.classList.add("shown"); clearTimeout(fading); fading = setTimeout(() => hint.classList.remove("shown"), 1200);
      return;
    }
    event.preventDefault(); measure();
    zoom(Math.exp(-clamp(event.deltaY, -120, 120) / 260), event.clientX - fit.box.left, event.clientY - fit.box.top);
  }, { passive: false });
  map.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }, move = moves[event.key];
    if (move && event.target === map) { state.x += move[0]; state.y += move[1]; place(); }
    else if (event.key === "+" || event.key === "=") middle(1.5);
    else if (event.key === "-") middle(1 / 1.5);
    else if (event.key === "0") reset();
    else return;
    event.preventDefault();
  });
  find("[data-zoom=in]").addEventListener("click", () => middle(1.6));
  find("[data-zoom=out]").addEventListener("click", () => middle(1 / 1.6));
  find("[data-zoom=all]").addEventListener("click", reset);

  // ---- layers, opacity, classes, swipe
  function choose(number) {
    state.layer = number;
    pictures.forEach((picture, other) => { picture.hidden = other !== number; });
    all("[data-legend]").forEach((legend) => { legend.hidden = legend.dataset.legend !== String(number); });
    measure(); place();
  }
  all("[name=layer]").forEach((input) => input.addEventListener("change", () => choose(+input.value)));
  const opacity = find("#opacity");
  const dim = () => { over.style.opacity = opacity.value / 100; find("#opacity-text").textContent = opacity.value + " %"; };
  if (opacity) { opacity.addEventListener("input", dim); dim(); }
  function redraw(layer) {
    const { data, width, height } = pixelsOf(layer), kept = new ImageData(new Uint8ClampedArray(data), width, height);
    for (let at = 0; at < data.length; at += 4) if (layer.hidden.has(hex(data, at))) kept.data[at + 3] = 0;
    layer.context.putImageData(kept, 0, 0);
    layer.picture.src = layer.context.canvas.toDataURL();
  }
  all(".legend button").forEach((button) => button.addEventListener("click", () => {
    const layer = layers[+button.dataset.layer], colour = button.dataset.colour, hide = button.getAttribute("aria-pressed") === "true";
    button.setAttribute("aria-pressed", String(!hide));
    layer.hidden[hide ? "add" : "delete"](colour);
    redraw(layer); shapes.draw();
  }));
  const swiping = find("#swipe-on");
  function clip() {
    const on = swiping && swiping.checked;
    if (swipe) { swipe.hidden = !on; swipe.style.left = state.swipe * 100 + "%"; }
    over.style.clipPath = on ? `inset(0 0 0 ${state.swipe * 100}%)` : "";
  }
  if (swiping) {
    swiping.addEventListener("change", clip);
    swipe.addEventListener("pointerdown", (event) => { swipe.setPointerCapture(event.pointerId); event.stopPropagation(); });
    swipe.addEventListener("pointermove", (event) => {
      if (!swipe.hasPointerCapture(event.pointerId)) return;
      state.swipe = clamp((event.clientX - map.getBoundingClientRect().left) / fit.box.width, 0, 1); clip();
    });
    swipe.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -0.02, ArrowRight: 0.02 }[event.key];
      if (step) { state.swipe = clamp(state.swipe + step, 0, 1); clip(); event.preventDefault(); event.stopPropagation(); }
    });
  }

  all("[data-script]").forEach((element) => { element.hidden = false; });
  addEventListener("resize", () => { measure(); place(); });
  Promise.all([...pictures, scene].filter(Boolean).map((picture) => picture.decode().catch(() => {}))).then(() => { choose(0); reset(); });
})();
