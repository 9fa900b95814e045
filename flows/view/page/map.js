// The map: a tile layer for each layer that is shown, outlines, footprints, and the line between two layers.
const { L } = window;

const MOST_ZOOM = 20;

export function makeMap(products, { said }) {
  const map = L.map("map", { maxZoom: MOST_ZOOM, zoomControl: false });
  map.attributionControl.setPrefix(false);
  for (const credit of new Set(products.map((product) => product.facts.attribution).filter(Boolean))) {
    map.attributionControl.addAttribution(escaped(credit));
  }
  L.control.zoom({ position: "topright" }).addTo(map);
  L.control.scale({ imperial: false }).addTo(map);
  return new ProductMap(map, products, said);
}

class ProductMap {
  constructor(map, products, said) {
    this.map = map;
    this.said = said;
    this.tiles = new Map();
    this.outlines = new Map();
    this.swipe = null;
    this.share = 0.5;
    this.canvas = L.canvas({ padding: 0.3 });
    this.footprints = L.featureGroup().addTo(map);
    this.middle = null;
    this.fit(products.flatMap((product) => product.layers.map((layer) => layer.area)));
    this.#prepareDivider();
    map.on("move zoom resize viewreset", () => this.#clip());
  }

  /** Show all of these areas (west, south, east, north); those beyond 180 degrees lie beside each other. */
  fit(areas) {
    if (!areas.length) { this.middle ??= 0; this.map.setView([0, 0], 2); return; }
    this.middle ??= (areas[0][0] + areas[0][2]) / 2;
    const corners = areas.flatMap(([west, south, east, north]) => {
      const turn = 360 * Math.round((this.middle - (west + east) / 2) / 360);
      return [[south, west + turn], [north, east + turn]];
    });
    this.map.fitBounds(L.latLngBounds(corners), { padding: [24, 24], maxZoom: 17, animate: false });
  }

  resized() { this.map.invalidateSize({ animate: false, pan: true }); }

  onClick(told) {
    this.map.on("click", (event) => {
      if (!this.mark) this.mark = L.circleMarker(event.latlng, { radius: 6, color: "#fff", weight: 2, fillColor: "#111", fillOpacity: 0.9, interactive: false });
      this.mark.setLatLng(event.latlng).addTo(this.map);
      told(event.latlng.lng, event.latlng.lat);
    });
  }

  unmark() { this.mark?.remove(); }

  /** Draw these layers ({key, product, layer, opacity}), the first on top; `swipe` names the keys left and right. */
  show(layers, swipe) {
    const wanted = new Set(layers.map((each) => each.key));
    for (const [key, tile] of this.tiles) if (!wanted.has(key)) tile.remove();
    layers.forEach((each, place) => {
      if (!this.tiles.has(each.key)) this.tiles.set(each.key, this.#tile(each));
      const tile = this.tiles.get(each.key);
      tile.setZIndex(layers.length - place).setOpacity(each.opacity).addTo(this.map);
    });
    this.swipe = swipe;
    document.getElementById("divider").hidden = !swipe;
    this.#clip();
  }

  #tile({ product, layer }) {
    const [west, south, east, north] = layer.area;
    const turn = 360 * Math.round((this.middle - (west + east) / 2) / 360);
    // Leaflet holds tiles to bounds after it has turned them back between -180 and 180 degrees.
    const within = west + turn >= -180 && east + turn <= 180;
    const tile = L.tileLayer(`tiles/${product.number}/${layer.number}/{z}/{x}/{y}.png`, {
      ...(within ? { bounds: L.latLngBounds([south, west], [north, east]) } : {}), maxZoom: MOST_ZOOM, keepBuffer: 1,
    });
    let wrong = 0;
    tile.on("tileerror", () => { wrong += 1; if (wrong === 1) this.said(`Some tiles of ${layer.name} cannot be drawn: its file cannot be read.`); });
    return tile;
  }

  #clip() {
    const size = this.map.getSize(), corner = this.map.containerPointToLayerPoint([0, 0]);
    const end = this.map.containerPointToLayerPoint(size), at = corner.x + size.x * this.share;
    for (const [key, tile] of this.tiles) {
      const box = tile.getContainer?.();
      if (!box) continue;
      const side = !this.swipe ? null : key === this.swipe.left ? [corner.x, at] : key === this.swipe.right ? [at, end.x] : null;
      box.style.clip = side ? `rect(${corner.y}px, ${side[1]}px, ${end.y}px, ${side[0]}px)` : "";
    }
    const divider = document.getElementById("divider");
    divider.style.left = `${100 * this.share}%`;
    divider.setAttribute("aria-valuenow", String(Math.round(100 * this.share)));
  }

  #prepareDivider() {
    const divider = document.getElementById("divider");
    const to = (share) => { this.share = Math.min(Math.max(share, 0), 1); this.#clip(); };
    const moved = (event) => { const box = divider.parentElement.getBoundingClientRect(); to((event.clientX - box.left) / box.width); };
    divider.addEventListener("pointerdown", (event) => { divider.setPointerCapture(event.pointerId); event.preventDefault(); divider.focus(); });
    divider.addEventListener("pointermove", (event) => { if (divider.hasPointerCapture(event.pointerId)) moved(event); });
    divider.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -0.02, ArrowRight: 0.02, Home: -1, End: 1 }[event.key];
      if (step) { to(this.share + step); event.preventDefault(); }
    });
  }

  /** Draw a GeoJSON FeatureCollection in a colour; `chosen` is told the properties of a shape that is clicked. */
  addOutlines(key, shapes, colour, chosen) {
    const style = { color: colour, weight: 1.6, fill: true, fillOpacity: 0 };
    const drawn = L.geoJSON(moved(shapes, this.middle), {
      renderer: this.canvas, style, pointToLayer: (_, at) => L.circleMarker(at, { ...style, radius: 4, renderer: this.canvas }),
      onEachFeature: (feature, layer) => layer.on("click", () => chosen(feature.properties)),
    });
    this.outlines.set(key, drawn.addTo(this.map));
    return drawn;
  }

  removeOutlines(key) { this.outlines.get(key)?.remove(); this.outlines.delete(key); }

  /** `told` is called when the map has come to rest at another place. */
  onMoved(told) {
    let waiting = 0;
    this.map.on("moveend", () => { clearTimeout(waiting); waiting = setTimeout(told, 250); });
  }

  /** The part of the world that is seen, as a query. */
  seen() {
    const bounds = this.map.getBounds(), turn = 360 * Math.round(this.map.getCenter().lng / 360);
    return `west=${bounds.getWest() - turn}&south=${Math.max(bounds.getSouth(), -85)}&east=${bounds.getEast() - turn}&north=${Math.min(bounds.getNorth(), 85)}`;
  }

  hasOutlines(key) { return this.outlines.has(key); }

  toggleOutlines(key, on) { const drawn = this.outlines.get(key); if (on) drawn.addTo(this.map); else drawn.remove(); }

  showFootprints(scenes, chosen) {
    this.footprints.clearLayers();
    const one = (scene, style) => {
      if (!scene.footprint) return;
      const shape = moved({ type: "FeatureCollection", features: [{ type: "Feature", properties: {}, geometry: scene.footprint }] }, this.middle);
      L.geoJSON(shape, { interactive: false, style: { color: scene.product.colour, ...style } }).addTo(this.footprints);
    };
    const once = (group) => [...new Map(group.map((scene) => [scene.id, scene])).values()];
    once(scenes).slice(0, 300).forEach((scene) => one(scene, { weight: 1, fill: false }));
    once(chosen).forEach((scene) => one(scene, { weight: 2.5, fillOpacity: 0.04 }));
  }
}

/** Shapes a whole turn aside, on the side of 180 degrees on which the map is. */
function moved(shapes, middle) {
  const turned = (places, turn) => typeof places[0] === "number" ? [places[0] + turn, places[1]] : places.map((each) => turned(each, turn));
  const first = (places) => typeof places[0] === "number" ? places[0] : first(places[0]);
  const part = (places) => turned(places, 360 * Math.round((middle - first(places)) / 360));
  const geometry = (shape) => {
    if (!shape.coordinates?.length) return shape;
    const parts = shape.type.startsWith("Multi") ? shape.coordinates.map(part) : part(shape.coordinates);
    return { ...shape, coordinates: parts };
  };
  return { ...shapes, features: shapes.features.map((each) => ({ ...each, geometry: geometry(each.geometry) })) };
}

/** Leaflet takes an attribution as HTML. */
function escaped(text) {
  const box = document.createElement("span");
  box.textContent = text;
  return box.innerHTML;
}
