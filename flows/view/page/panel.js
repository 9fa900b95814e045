// The panel: products with their layers, legends and tables, the swipe, and the values at a place.
import { drawSeries } from "./chart.js";

export function make(tag, words = {}, ...inside) {
  const { className, text, ...attributes } = words, element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined && text !== null) element.textContent = String(text);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...inside.filter(Boolean));
  return element;
}

const byId = (id) => document.getElementById(id);

export class Panel {
  constructor(products, map, { ask, said }) {
    Object.assign(this, { products, map, ask, said, place: null });
    // Products of one name, as those of several dates are, by their periods.
    for (const each of products) {
      const namesakes = products.filter((other) => other.name === each.name);
      const periods = new Set(namesakes.map((other) => other.facts.period));
      each.title = namesakes.length < 2 ? each.name : `${each.name} · ${periods.size === namesakes.length ? each.facts.period : each.facts.place}`;
    }
    this.layers = products.flatMap((product) => product.layers.map((layer, number) => {
      layer.number = number;
      return { key: `${product.number}/${number}`, product, layer, shown: product.number === 0 && number === 0, opacity: 1 };
    }));
    byId("products").append(...products.map((product) => this.#product(product)));
    this.#prepareSwipe();
    this.#preparePlace();
    this.#draw();
  }

  #product(product) {
    const several = this.products.length > 1, facts = product.facts;
    const dot = make("i", { className: "dot" });
    dot.style.background = product.colour;
    const there = make("button", { type: "button", className: "there", text: "Zoom to", "aria-label": `Zoom to ${product.name}` });
    there.addEventListener("click", (event) => { event.preventDefault(); this.map.fit(product.layers.map((layer) => layer.area)); });
    const head = make("summary", {}, make("h1", {}, several && dot, make("span", { text: product.name }), product.layers.length && there),
      make("p", { className: "facts", text: [facts.model, facts.period].filter(Boolean).join(" · ") }),
      make("p", { className: "facts", text: facts.place }));
    const box = make("details", { className: "product" }, head,
      product.layers.length && make("h3", { text: "Layers" }),
      ...this.layers.filter((each) => each.product === product).map((each) => this.#layer(each)),
      product.series && this.#ground(product),
      product.tables.length && make("h3", { text: "Outlines" }),
      ...product.tables.map((name, number) => this.#table(product, name, number)),
      ...product.notes.map((note) => make("p", { className: "warn", text: note })));
    box.open = this.products.length <= 4;
    return box;
  }

  #layer(each) {
    const { layer } = each;
    const check = make("input", { type: "checkbox", "data-layer": each.key });
    check.checked = each.shown;
    const slider = make("input", { type: "range", min: 0, max: 100, step: 5, value: 100, "aria-label": `Opacity of ${layer.name}` });
    slider.value = String(100 * each.opacity);
    const told = make("output", { text: "100 %" });
    const more = make("div", { className: "more" }, make("div", { className: "opacity" }, make("span", { text: "Opacity" }), slider, told), legend(layer));
    each.more = more;
    check.addEventListener("change", () => { each.shown = check.checked; this.#draw(); });
    slider.addEventListener("input", () => { each.opacity = slider.value / 100; told.textContent = `${slider.value} %`; this.#draw(); });
    const row = make("label", { className: "check" }, check, make("span", { text: layer.name.replaceAll("_", " ") }), layer.unit && make("small", { text: layer.unit }));
    if (layer.description) row.title = layer.description;
    return make("div", { className: "layer" }, row, more);
  }

  // The scenes beneath all layers: read when they are first wanted.
  #ground(product) {
    const check = make("input", { type: "checkbox", "data-ground": String(product.number) });
    const note = make("p", { className: "muted", role: "status" });
    let each = null;
    const load = async () => {
      note.textContent = "Reading the scenes …";
      check.disabled = true;
      try {
        const layer = { ...await this.ask(`ground/${product.number}.json`), number: "ground" };
        each = { key: `${product.number}/ground`, product, layer, shown: true, opacity: 1, more: note };
        this.layers.push(each);
        for (const id of ["left", "right"]) byId(id).append(make("option", { value: each.key, text: this.#named(each) }));
        byId("compare").hidden = this.layers.length < 2;
        note.textContent = layer.description;
      } catch (error) { note.textContent = error.message; check.checked = false; }
      check.disabled = false;
    };
    check.addEventListener("change", async () => {
      if (!each) await load();
      if (each) { each.shown = check.checked; this.#draw(); }
    });
    return make("div", { className: "layer" }, make("label", { className: "check" }, check, make("span", { text: "scenes in true colour, beneath" })), note);
  }

  #named(each) { return this.products.length > 1 ? `${each.product.title} · ${each.layer.name}` : each.layer.name; }

  #table(product, name, number) {
    const check = make("input", { type: "checkbox", "data-table": `${product.number}/${number}` }), key = `${product.number}/${number}`;
    const note = make("p", { className: "muted", role: "status" });
    let asked = 0, all = 0;
    const draw = (shapes) => {
      this.map.removeOutlines(key);
      const drawn = this.map.addOutlines(key, shapes, product.colour, (properties) => this.#chooseRow(name, properties));
      this.map.toggleOutlines(key, check.checked);
      return drawn;
    };
    const load = async () => {
      note.textContent = "Loading …";
      try {
        const shapes = await this.ask(`tables/${key}.json`);
        const drawn = draw(shapes);
        all = shapes.n_rows;
        note.textContent = shapes.n_drawn < all ? `The largest ${shapes.n_drawn} of ${all} are drawn: closer up those in sight.` : `${all} shapes`;
        if (!product.layers.length && shapes.features.length) this.map.map.fitBounds(drawn.getBounds(), { maxZoom: 17 });
        if (shapes.n_drawn < all) this.map.onMoved(inSight);
      } catch (error) { note.textContent = error.message; check.checked = false; }
    };
    // Of a table that is larger than what is drawn, those in sight are drawn wherever the map goes.
    const inSight = async () => {
      if (!check.checked) return;
      const number = asked += 1;
      try {
        const shapes = await this.ask(`tables/${key}.json?${this.map.seen()}`);
        if (number !== asked || !check.checked) return;
        draw(shapes);
        note.textContent = `The largest ${shapes.n_drawn} in sight are drawn, of ${all}.`;
      } catch (error) { note.textContent = error.message; }
    };
    check.addEventListener("change", () => {
      if (!this.map.hasOutlines(key)) load();
      else { this.map.toggleOutlines(key, check.checked); if (check.checked && note.textContent.includes("in sight")) inSight(); }
    });
    // Of a product without layers its shapes are all there is to see.
    if (!product.layers.length && number === 0) queueMicrotask(() => check.click());
    return make("div", { className: "layer" }, make("label", { className: "check" }, check, make("span", { text: name.replaceAll("_", " ") })), note);
  }

  #chooseRow(name, properties) {
    this.row = { name, properties };
  }

  #prepareSwipe() {
    const on = byId("swipe-on"), choices = [byId("left"), byId("right")];
    byId("compare").hidden = this.layers.length < 2;
    for (const select of choices) {
      select.append(...this.layers.map((each) => make("option", { value: each.key, text: this.#named(each) })));
      select.addEventListener("change", () => this.#draw());
    }
    const firsts = this.layers.filter((each) => each.layer.number === 0);
    const pair = firsts.length > 1 ? firsts : this.layers;
    if (pair.length > 1) { choices[0].value = pair[0].key; choices[1].value = pair[1].key; }
    on.addEventListener("change", () => { byId("swipe-choice").hidden = !on.checked; this.#draw(); });
  }

  #draw() {
    const swipe = byId("swipe-on").checked ? { left: byId("left").value, right: byId("right").value } : null;
    const shown = swipe ? this.layers.filter((each) => each.key === swipe.left || each.key === swipe.right) : this.layers.filter((each) => each.shown);
    for (const each of this.layers) each.more.hidden = !shown.includes(each);
    this.map.show(shown, swipe && swipe.left !== swipe.right ? swipe : null);
  }

  #preparePlace() {
    byId("close").addEventListener("click", () => { byId("place").hidden = true; this.place = null; this.map.unmark(); });
    byId("series-wanted").hidden = !this.products.some((product) => product.series);
    byId("series-on").addEventListener("change", () => this.#showSeries());
  }

  async showPlace(lon, lat) {
    const place = { lon, lat };
    this.place = place;
    const row = this.row;
    this.row = null;
    byId("place").hidden = false;
    byId("where").textContent = degrees(lon, lat);
    byId("series").replaceChildren();
    try {
      const found = await this.ask(`values.json?lon=${lon}&lat=${lat}`);
      if (this.place !== place) return;
      byId("values").replaceChildren(...[row && rowTable(row), ...found.map((values, number) => values.length && valueTable(this.products[number], values, found.length > 1))].filter(Boolean));
      byId("panel").scrollTo?.({ top: 0 });
      if (matchMedia("(max-width: 760px)").matches) byId("place").scrollIntoView({ block: "nearest" });
      await this.#showSeries();
    } catch (error) { byId("values").textContent = error.message; }
  }

  async #showSeries() {
    const place = this.place, box = byId("series");
    box.replaceChildren();
    if (!place || !byId("series-on").checked) return;
    for (const product of this.products.filter((each) => each.series)) {
      const note = make("p", { className: "muted", text: `Reading the scenes of ${product.title} …` });
      box.append(note);
      try {
        const inputs = await this.ask(`series/${product.number}.json?lon=${place.lon}&lat=${place.lat}`);
        if (this.place !== place) return;
        note.replaceWith(...inputs.map((input) => drawSeries(input, this.products.length > 1 ? product.title : "", make)));
      } catch (error) { note.textContent = `${product.title}: ${error.message}`; }
    }
  }
}

function legend(layer) {
  if (layer.ramp.length && layer.ends) {
    const bar = make("div", { className: "ramp" }), [low, high] = layer.ends;
    bar.style.background = `linear-gradient(90deg, ${layer.ramp.join(", ")})`;
    return make("div", {}, bar, make("div", { className: "ends" }, make("span", { text: figure(low) }), make("span", { text: `${figure(high)} ${layer.unit}`.trim() })));
  }
  const swatch = (colour, name) => {
    const box = make("i", { className: colour ? "swatch" : "swatch none" });
    if (colour) box.style.background = colour;
    return make("li", {}, box, make("span", { text: name }));
  };
  if (layer.kind === "id") return make("p", { className: "muted", text: "Neighbouring objects have different colours." });
  if (layer.kind === "image") return null;
  return make("ul", { className: "legend" }, ...layer.classes.map((each) => swatch(each.colour, each.name)), swatch("", "no data"));
}

function valueTable(product, values, several) {
  const table = make("table", {});
  if (several) table.append(make("caption", { text: product.title }));
  for (const each of values) table.append(make("tr", { "data-layer": `${product.number}/${each.layer}` }, make("td", { text: each.name.replaceAll("_", " ") }), valueCell(each)));
  return table;
}

function valueCell(each) {
  const absent = { nodata: "no data", outside: "outside", unreadable: "cannot be read" }[each.state];
  if (absent) return make("td", { className: "absent", text: absent });
  const cell = make("td", {}), where = each.pixel ? `row ${each.pixel[0]}, column ${each.pixel[1]} of its file` : "";
  if (where) cell.title = where;
  if (each.colour) {
    const box = make("i", { className: "swatch" });
    box.style.background = each.colour;
    cell.append(box);
  }
  cell.append(each.class ? `${each.class} (${each.text})` : [each.text, each.unit].filter(Boolean).join(" "));
  return cell;
}

function rowTable({ name, properties }) {
  const table = make("table", {}, make("caption", { text: name.replaceAll("_", " ") }));
  for (const [key, value] of Object.entries(properties)) if (value !== null) table.append(make("tr", {}, make("td", { text: key.replaceAll("_", " ") }), make("td", { text: typeof value === "number" ? figure(value) : value })));
  return table;
}

function degrees(lon, lat) {
  const turned = ((lon + 180) % 360 + 360) % 360 - 180;
  return `${Math.abs(lat).toFixed(5)}° ${lat < 0 ? "S" : "N"}, ${Math.abs(turned).toFixed(5)}° ${turned < 0 ? "W" : "E"}`;
}

export function figure(value) {
  if (Number.isInteger(value) && Math.abs(value) < 1e9) return String(value);
  const size = Math.abs(value);
  return size && (size < 1e-3 || size >= 1e6) ? value.toExponential(2) : String(Number(value.toPrecision(size >= 1000 ? 7 : 4)));
}
