"use strict";
// Draws the shapes of tables over the map and joins them with their rows: a click on either marks both.
const drawShapes = (map, tables, view) => {
  const canvas = map.querySelector(".lines");
  if (!canvas || !tables.length) return { draw() {} };
  const context = canvas.getContext("2d"), all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const told = document.createElement("div");
  told.className = "chip shape-told"; told.setAttribute("aria-live", "polite"); map.append(told);
  const least = 4; // pixels on the screen below which a shape is no more than a speck
  const shapes = tables.flatMap((table, number) => table.shapes.map(([id, kind, area, path, ...box]) => {
    const [colour, name] = table.kinds[kind];
    return { table: number, size: table.size, id, colour, name, area, path, drawn: null, box, wide: Math.max(box[2] - box[0], box[3] - box[1]) };
  }));
  const byId = new Map(shapes.map((shape) => [`${shape.table} ${shape.id}`, shape]));
  const shown = new Set(tables.keys());
  let chosen = null, waiting = 0;

  const outline = (shape) => shape.drawn || (shape.drawn = new Path2D(shape.path));
  const dark = (colour) => [0, 2, 4].reduce((sum, at, band) => sum + parseInt(colour.slice(at, at + 2), 16) * [0.3, 0.59, 0.11][band], 0) < 110;
  const visible = (shape, here) => shown.has(shape.table) && !view.hidden(shape.colour) && onScreen(shape, here);
  function scales(shape, here) { return [here.width / shape.size[1], here.height / shape.size[0]]; }
  function onScreen(shape, here) {
    const [sx, sy] = scales(shape, here), [left, top, right, bottom] = shape.box;
    return here.x + right * sx >= 0 && here.x + left * sx <= here.box.width && here.y + bottom * sy >= 0 && here.y + top * sy <= here.box.height;
  }
  function paint() {
    waiting = 0;
    const here = view.place();
    if (!here.box) return;
    const dense = devicePixelRatio || 1, width = Math.round(here.box.width * dense), height = Math.round(here.box.height * dense);
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    context.setTransform(1, 0, 0, 1, 0, 0); context.clearRect(0, 0, width, height);
    const drawn = shapes.filter((shape) => shape !== chosen && shape.path && visible(shape, here) && shape.wide * scales(shape, here)[0] >= least);
    context.lineJoin = "round";
    // All halos first: no halo lies on the line of a neighbour.
    for (const [wide, halo] of [[3, true], [1.25, false]]) {
      for (const shape of drawn) {
        const [sx, sy] = scales(shape, here);
        context.setTransform(sx * dense, 0, 0, sy * dense, here.x * dense, here.y * dense);
        context.lineWidth = wide / sx;
        context.strokeStyle = halo ? (dark(shape.colour) ? "rgba(255,255,255,.62)" : "rgba(12,16,20,.5)") : "#" + shape.colour;
        context.stroke(outline(shape));
      }
    }
    if (chosen) mark(chosen, here, dense);
  }
  function mark(shape, here, dense) {
    const [sx, sy] = scales(shape, here), [left, top, right, bottom] = shape.box;
    context.setTransform(sx * dense, 0, 0, sy * dense, here.x * dense, here.y * dense);
    if (shape.path) {
      context.fillStyle = "rgba(255,210,0,.22)"; context.fill(outline(shape), "evenodd");
      for (const [wide, colour] of [[5, "rgba(12,16,20,.8)"], [2.5, "#ffd200"]]) { context.lineWidth = wide / sx; context.strokeStyle = colour; context.stroke(outline(shape)); }
    }
    context.setTransform(dense, 0, 0, dense, 0, 0);
    const radius = Math.max((right - left) * sx, (bottom - top) * sy) / 2;
    if (radius > 14) return;
    for (const [wide, colour] of [[4, "rgba(12,16,20,.8)"], [2, "#ffd200"]]) {
      context.lineWidth = wide; context.strokeStyle = colour; context.beginPath();
      context.arc(here.x + (left + right) / 2 * sx, here.y + (top + bottom) / 2 * sy, radius + 9, 0, 7); context.stroke();
    }
  }
  const draw = () => { if (!waiting) waiting = requestAnimationFrame(paint); };

  // ---- what is marked
  const inUnits = (value, units) => {
    const [size, unit] = units.find(([least]) => Math.abs(value) >= least * 0.9995) || units[units.length - 1];
    return (value / size >= 1000 ? String(Math.round(value / size)).replace(/\B(?=(\d{3})+$)/g, "\u202f") : +(value / size).toPrecision(3)) + "\u00a0" + unit;
  };
  function choose(table, id, zoomed) {
    chosen = byId.get(`${table} ${id}`) || null;
    told.replaceChildren();
    for (const section of all(".shapes")) for (const row of all("tbody tr", section)) {
      const own = chosen !== null && section.dataset.table === String(table) && row.dataset.row === String(id);
      row.classList.toggle("chosen", own);
      row.querySelector(".pick").setAttribute("aria-pressed", String(own));
      if (own && !zoomed) { const list = row.closest(".long"); list.scrollTop = row.offsetTop - list.clientHeight / 2; }
    }
    if (chosen) {
      const words = [`No.\u00a0${chosen.id}`, chosen.name, chosen.area === null ? "" : inUnits(chosen.area, [[1e6, "km²"], [1e4, "ha"], [1, "m²"]])];
      told.textContent = words.filter(Boolean).join(" · ");
    }
    if (chosen && zoomed) {
      const [left, top, right, bottom] = chosen.box, [high, wide] = chosen.size, least = 8;
      view.show(left / wide, top / high, Math.max(right, left + least) / wide, Math.max(bottom, top + least) / high);
      map.scrollIntoView({ block: "nearest" });
    }
    draw();
  }
  function at(clientX, clientY) {
    const here = view.place(), found = shapes.filter((shape) => shape.path && visible(shape, here)).sort((one, other) => one.wide - other.wide);
    context.setTransform(1, 0, 0, 1, 0, 0);
    return found.find((shape) => {
      const [sx, sy] = scales(shape, here), x = (clientX - here.box.left - here.x) / sx, y = (clientY - here.box.top - here.y) / sy;
      const [left, top, right, bottom] = shape.box;
      return x >= left && x <= right && y >= top && y <= bottom && context.isPointInPath(outline(shape), x, y, "evenodd");
    });
  }

  // ---- clicks that were no drags, rows, order
  let pressed = null;
  map.addEventListener("pointerdown", (event) => { pressed = event.target.closest("button, .swipe") ? null : [event.clientX, event.clientY]; });
  map.addEventListener("pointerup", (event) => {
    if (!pressed || Math.hypot(event.clientX - pressed[0], event.clientY - pressed[1]) > 4) return;
    const found = at(event.clientX, event.clientY);
    choose(found ? found.table : -1, found ? found.id : -1, false);
  });
  map.addEventListener("keydown", (event) => { if (event.key === "Escape") choose(-1, -1, false); });
  for (const section of all(".shapes")) {
    const body = section.querySelector("tbody");
    if (!body) continue;
    body.addEventListener("click", (event) => {
      const row = event.target.closest("tr");
      if (row && !String(getSelection())) choose(+section.dataset.table, row.dataset.row, true);
    });
    all(".sort", section).forEach((button) => button.addEventListener("click", () => {
      const head = button.closest("th"), column = +button.dataset.column, falls = head.getAttribute("aria-sort") === "descending";
      const text = !head.classList.contains("num"), first = head.getAttribute("aria-sort") === "none" && text;
      const up = falls || first;
      for (const other of all("th", section)) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = (row) => text ? row.cells[column].textContent : row.cells[column].dataset.v === "" ? -Infinity : +row.cells[column].dataset.v;
      const order = [...body.rows].map((row) => [key(row), row]).sort(([one], [other]) => (text ? one.localeCompare(other) : one - other || 0) * (up ? 1 : -1));
      body.append(...order.map(([, row]) => row));
    }));
  }
  all("[data-outlines]").forEach((input) => input.addEventListener("change", () => {
    shown[input.checked ? "add" : "delete"](+input.dataset.outlines); draw();
  }));
  return { draw };
};
