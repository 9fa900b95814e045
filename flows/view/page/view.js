// The page of `tilewright view`: what is asked of the server, and who shows it. Texts of products become text alone.
import { drawLine } from "./chart.js";
import { makeMap } from "./map.js";
import { Panel } from "./panel.js";

const COLOURS = ["#0f7c96", "#c2571a", "#6a4fa3", "#2f8f4e", "#b03060", "#7a6a1e"];

async function ask(path) {
  const answer = await fetch(path, { credentials: "omit" });
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

function said(message) {
  const box = document.getElementById("message");
  box.textContent = message;
  box.hidden = !message;
}

async function start() {
  const products = await ask("products.json");
  products.forEach((product, number) => {
    product.number = number;
    product.colour = COLOURS[number % COLOURS.length];
  });
  document.title = `${products.map((product) => product.name).join(", ")} · Tilewright`;
  const map = makeMap(products, { said });
  const panel = new Panel(products, map, { ask, said });
  map.onClick((lon, lat) => panel.showPlace(lon, lat));
  showScenes(products, map);
}

async function showScenes(products, map) {
  const found = [];
  for (const product of products) {
    try {
      const { scenes, n_all: all } = await ask(`scenes/${product.number}.json`);
      found.push(...scenes.map((scene) => ({ ...scene, product })));
      if (all > scenes.length) said(`${product.name}: the first ${scenes.length} of ${all} scenes are shown.`);
    } catch (error) {
      said(`${product.name}: its scenes are not shown. ${error.message}`);
    }
  }
  if (!found.length) return;
  const line = document.getElementById("line");
  line.hidden = false;
  map.resized();
  const words = document.getElementById("scene"), all = document.getElementById("footprints-on");
  let chosen = null;
  const tell = (group) => {
    words.textContent = group ? groupWords(group, products.length > 1) : `${found.length} by time and cloud cover`;
    map.showFootprints(all.checked ? found : [], group ?? []);
  };
  const draw = () => drawLine(document.getElementById("chart"), found, {
    over: (group) => tell(group ?? chosen),
    choose: (group) => { chosen = chosen === group ? null : group; tell(chosen); return chosen; },
    chosen,
  });
  all.addEventListener("change", () => tell(chosen));
  new ResizeObserver(draw).observe(document.getElementById("chart"));
  tell(null);
}

function groupWords(group, several) {
  const [scene] = group, more = group.length > 1 ? ` and ${group.length - 1} more` : "";
  const cloud = scene.cloud === null ? "cloud not known" : `${scene.cloud.toFixed(1)} % cloud`;
  const day = scene.time.slice(0, 16).replace("T", " "), names = [...new Set(group.map((each) => each.product.name))];
  return `${day} UTC · ${cloud} · ${scene.id}${more}${several ? ` · ${names.join(", ")}` : ""}`;
}

start().catch((error) => said(`The page cannot be shown: ${error.message}`));
