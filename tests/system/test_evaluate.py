"""The command `evaluate` on finished products: files in and beside a product, wrong labels, a bucket, hostile names."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tracemalloc
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
from typer.testing import CliRunner

import tilewright as tw
from tests.support.finished import CLASSES, finished, some_map
from tests.support.layers import write_layers
from tests.support.output_places import open_place
from tests.system.test_compare import digest
from tilewright.catalogs.publish.validate import validate_item
from tilewright.flows.cli.main import app
from tilewright.flows.run.existing import ExistingProduct
from tilewright.flows.run.prepare import clear_output
from tilewright.tasks.audit.evaluate.scores import wilson
from tilewright.tasks.inventory.finished import unfinished
from tilewright.tasks.storage.ledger import read_plan
from tilewright.tasks.storage.storage import open_storage

HOSTILE = "<script>alert(1)</script>\n\x1b[31m\u202e&\"' {{ 7*7 }}"
CORNER = (400_000.0, 5_400_000.0)  # of the pixel (-540_000, 40_000)
LAYERS = ("class", "confidence")


def labels(folder: Path, values: np.ndarray, *, n: int = 120, name: str = "labels.geojson", **columns: Any) -> Path:
    """Points that say what a map says, but for every fifth one."""
    rng = np.random.default_rng(1)
    rows, cols = (each[:: max(1, len(each) // n)] for each in np.nonzero(values != 255))
    said = values[rows, cols].astype(int)
    said[::5] = (said[::5] + 1) % 3
    x, y = CORNER[0] + (cols + rng.random(len(cols))) * 10, CORNER[1] - (rows + rng.random(len(rows))) * 10
    points = shapely.points(x, y)
    columns = columns or {"class": [CLASSES[each]["name"] for each in said]}
    frame = geopandas.GeoDataFrame({"id": range(len(said)), **columns}, geometry=points, crs="EPSG:32633")
    frame.to_crs(4326).to_file(folder / name)
    return folder / name


def command(*words: object) -> Any:
    return CliRunner().invoke(app, ["evaluate", *map(str, words)])


def test_scores_come_into_the_product_which_stays_finished(whole, tmp_path):
    values = np.minimum(some_map(1), 100)
    values[some_map(1) == 255] = 255
    product = finished(whole, tmp_path / "product", values, layers=LAYERS)
    said = command(product, labels(tmp_path, values))
    assert said.exit_code == 0, said.output
    assert "agree with the map" in said.output
    assert unfinished(open_storage(str(product))) == ()
    item = json.loads((product / "item.json").read_text())
    for key, name in (("evaluation", "evaluation.json"), ("evaluation-page", "evaluation.html")):
        assert item["assets"][key]["href"] == f"./{name}"
        assert item["assets"][key]["file:size"] == (product / name).stat().st_size
        assert name in json.loads((product / ".tilewright" / "files.json").read_text())["files"]
    first = json.loads((product / "evaluation.json").read_text())
    assert 0.7 < first["overall_accuracy"] < 0.85
    # A second time, with other labels: the files are replaced.
    said = command(product, labels(tmp_path, values, n=40), "--json")
    assert said.exit_code == 0, said.output
    assert json.loads((product / "evaluation.json").read_text())["n"] < first["n"]
    assert json.loads(said.output)["n"] == json.loads((product / "evaluation.json").read_text())["n"]
    # What somebody keeps there under such a name is not overwritten.
    other = finished(whole, tmp_path / "other", values, layers=LAYERS)
    (other / "evaluation.html").write_text("mine")
    said = command(other, labels(tmp_path, values))
    assert (said.exit_code, (other / "evaluation.html").read_text()) == (2, "mine")


def test_the_item_says_how_good_the_product_is(whole, tmp_path):
    values = np.minimum(some_map(1), 100)
    values[some_map(1) == 255] = 255
    heights = np.where(values == 255, np.nan, values).astype(np.float32)
    product = finished(whole, tmp_path / "product", values, layers=("class",), numbers={"height": heights})
    plain = json.loads((product / "item.json").read_text())
    assert "tw:evaluation" not in plain["properties"]
    for n in (120, 40):
        # A second time, with other labels: the scores are replaced.
        assert command(product, labels(tmp_path, values, n=n)).exit_code == 0
        item, told = (json.loads((product / name).read_text()) for name in ("item.json", "evaluation.json"))
        scores = item["properties"]["tw:evaluation"]
        assert (scores["labels"], scores["file"]) == ("labels.geojson", item["assets"]["evaluation"]["href"][2:])
        (layer,) = scores["layers"]
        low, high = wilson(round(told["overall_accuracy"] * told["n"]), told["n"])
        assert layer["interval"] == pytest.approx([low, high])
        assert (layer["layer"], layer["n"], layer["design"]) == ("class", told["n"], None)
        assert layer["overall_accuracy"] == told["overall_accuracy"]
        rows = [{"name": name, **told["per_class"][name]} for name in told["classes"]]
        wanted = ("name", "precision", "recall", "f1")
        assert layer["classes"] == [{key: row[key] for key in wanted} for row in rows]
        validate_item(item)
        assert {**item["properties"], "updated": 0, "tw:evaluation": 0} == {
            **plain["properties"],
            "updated": 0,
            "tw:evaluation": 0,
        }
        assert pq.read_table(product / "items.parquet").to_pylist()[0]["tw:evaluation"]["layers"][0]["n"] == told["n"]
        assert unfinished(open_storage(str(product))) == ()
    # The same labels once more change nothing.
    before = (product / "item.json").read_bytes()
    assert command(product, labels(tmp_path, values, n=40)).exit_code == 0
    assert (product / "item.json").read_bytes() == before
    # Of two layers, one of them of values.
    two = labels(tmp_path, values, n=60, name="two.geojson", **{"class": 0, "height": 1.5})
    assert command(product, two).exit_code == 0
    item = json.loads((product / "item.json").read_text())
    of_class, of_height = item["properties"]["tw:evaluation"]["layers"]
    assert (of_class["kind"], of_height["kind"], of_height["n"]) == ("class", "value", of_class["n"])
    assert of_height["rmse"] > 0
    validate_item(item)


def test_what_an_update_takes_away_with_the_product_that_it_told_of_is_named(whole, tmp_path):
    values = some_map(1)
    product = finished(whole, tmp_path / "product", values, layers=LAYERS)
    assert command(product, labels(tmp_path, values)).exit_code == 0
    storage = open_storage(str(product))
    plan = ExistingProduct(uri=storage.uri, plain=read_plan(storage) or {}, complete=True).plan()
    assert clear_output(storage, plan, replace=False, renew=True) == ["evaluation.json"]
    assert not (product / "evaluation.html").exists()


def test_nothing_goes_into_the_product_with_to(whole, tmp_path):
    values = some_map(1)
    product = finished(whole, tmp_path / "product", values, layers=LAYERS)
    before = digest(product)
    said = command(product, labels(tmp_path, values), "--to", tmp_path / "out")
    assert said.exit_code == 0, said.output
    made = sorted(each.name for each in (tmp_path / "out").iterdir())
    assert made == ["evaluation.html", "evaluation.json", "pairs.csv"]
    assert digest(product) == before
    assert command(product, labels(tmp_path, values), "--to", product / "in").exit_code == 2
    assert tw.evaluate(product, labels(tmp_path, values)) == json.loads((tmp_path / "out/evaluation.json").read_text())
    assert digest(product) == before


def test_a_product_in_a_bucket_is_evaluated_in_place(whole, tmp_path, moto, monkeypatch):
    storage = open_place("bucket", tmp_path, monkeypatch, moto)
    local = finished(whole, tmp_path / "product", some_map(1), layers=LAYERS)
    for path in sorted(local.rglob("*")):
        if path.is_file():
            storage.write(str(path.relative_to(local)), path.read_bytes())
    given = labels(tmp_path, some_map(1))
    here = tw.evaluate(local, given)
    said = command(storage.uri, given)
    assert said.exit_code == 0, said.output
    assert unfinished(storage) == ()
    there = storage.read_json("evaluation.json")
    assert {**there, "product": 0} == {**here, "product": 0}
    assert storage.read_json("item.json")["assets"]["evaluation-page"]["href"] == "./evaluation.html"


def wrong(folder: Path) -> dict[str, tuple[tuple[object, ...], str]]:
    """Labels and words that are refused, and what is said of each."""
    at = shapely.points([CORNER[0] + 55, CORNER[0] + 155], [CORNER[1] - 55, CORNER[1] - 155])

    def file(name: str, geometries: Any, columns: dict[str, Any], crs: Any = "EPSG:32633") -> Path:
        frame = geopandas.GeoDataFrame(columns, geometry=list(geometries), crs=crs)
        frame.to_parquet(folder / name) if name.endswith("parquet") else frame.to_file(folder / name)
        return folder / name

    good = file("good.parquet", at, {"class": ["land", "water"], "n": [0.5, 1.5]})
    far = geopandas.GeoSeries(at, crs="EPSG:32633").to_crs(4326)
    (folder / "empty.csv").write_text("lon,lat,class\n")
    (folder / "nothing.csv").write_text("")
    (folder / "text.tif").write_text("no raster")
    (folder / "swapped.csv").write_text("lon,lat,class\n48.74,13.65,land\n")
    facts = {"driver": "GTiff", "height": 2, "width": 2, "dtype": "uint8"}
    place = rasterio.transform.from_origin(*CORNER, 10, 10)
    with rasterio.open(folder / "nocrs.tif", "w", count=1, transform=place, **facts) as raster:
        raster.write(np.zeros((1, 2, 2), np.uint8))
    with rasterio.open(folder / "bands.tif", "w", count=2, crs="EPSG:32633", transform=place, **facts) as raster:
        raster.write(np.zeros((2, 2, 2), np.uint8))
    with rasterio.open(folder / "unknown.tif", "w", count=1, crs="EPSG:32633", transform=place, **facts) as raster:
        raster.write(np.full((1, 2, 2), 77, np.uint8))
    south = rasterio.transform.from_origin(CORNER[0], -CORNER[1], 10, 10)
    with rasterio.open(folder / "south.tif", "w", count=1, crs="EPSG:32633", transform=south, **facts) as raster:
        raster.write(np.zeros((1, 2, 2), np.uint8))
    lines = [shapely.LineString([each.coords[0], (0, 0)]) for each in at]
    tie = shapely.Polygon([(400_000, 5_400_000), (400_050, 5_399_950), (400_050, 5_400_000), (400_000, 5_399_950)])
    return {
        "no CRS": ((file("a.parquet", at, {"class": [0, 1]}, None),), "does not say its CRS"),
        "other hemisphere": (
            (file("b.geojson", [shapely.Point(p.x, -p.y) for p in far], {"class": [0, 1]}, 4326),),
            "No label of b.geojson lies on the product",
        ),
        "swapped": ((folder / "swapped.csv",), "look swapped"),
        "empty": ((folder / "empty.csv",), "holds no label"),
        "no bytes": ((folder / "nothing.csv",), "cannot be read as CSV"),
        "no rows": ((file("c.parquet", [], {"class": []}),), "holds no label"),
        "no geometries": ((file("d.parquet", [None, None], {"class": [0, 1]}),), "holds no label in its 2 rows"),
        "lines": ((file("e.parquet", lines, {"class": [0, 1]}),), "Row 1 of e.parquet is a LineString"),
        "both kinds": ((file("f.parquet", [at[0], at[1].buffer(9)], {"class": [0, 1]}),), "points and polygons"),
        "a tie": ((file("g.parquet", [tie], {"class": [0]}),), "no valid polygon"),
        "unknown": (
            (file("h.parquet", at, {"class": ["watr", "lnd"]}),),
            "'watr', 'lnd' (did you mean 'water'?). Its classes are land, water, forest",
        ),
        "numbers as names": ((file("i.parquet", at, {"class": ["1", "2"]}),), "names are texts, stored values whole"),
        "not filled in": ((file("j.parquet", at, {"class": [None, None]}),), "No row has a label"),
        "no column": ((file("k.parquet", at, {"n": [0, 1]}),), "Say with --column which column of k.parquet"),
        "another column": ((good, "--column", "clas"), "has no column 'clas': it has class, n"),
        "another layer": ((good, "--layer", "clas"), "--layer 'clas' is no layer"),
        "another group": ((good, "--by", "clas"), "is no column of good.parquet (did you mean 'class'?)"),
        "no dates": ((good, "--by", "season"), "needs a column of dates"),
        "no mapping": ((good, "--map", "water"), "expected a class and the labels"),
        "a mapping of nothing": ((good, "--map", "sea=ocean"), "neither 'sea' nor 'ocean' is a class"),
        "a mapping of two": ((good, "--map", "land=ice", "--map", "water=ice"), "takes 'ice' for 'land' and for"),
        "lists": ((file("m.parquet", at, {"class": [[1], [2]]}),), "give one of texts or numbers"),
        "written over": ((folder / "out" / "pairs.csv",), "would be written over"),
        "an overlap of layers": ((good, "--iou", "0.5"), "--iou is about tables of objects"),
        "no overlap": ((good, "--iou", "0"), "above 0 and at most 1"),
        "texts as values": (
            (file("l.parquet", at, {"class": ["a", "b"]}), "--layer", "confidence"),
            "give numbers",
        ),
        "no raster": ((folder / "text.tif",), "cannot be read as a GeoTIFF"),
        "a raster without CRS": ((folder / "nocrs.tif",), "does not say its CRS"),
        "several bands": ((folder / "bands.tif",), "has 2 bands"),
        "unknown raster": ((folder / "unknown.tif",), "'77'"),
        "a raster elsewhere": ((folder / "south.tif",), "No label of south.tif lies on the product"),
        "a column of a raster": ((folder / "unknown.tif", "--column", "a"), "has no columns"),
        "a group of a raster": ((folder / "unknown.tif", "--by", "a"), "has no columns"),
        "nowhere": ((folder / "nowhere.parquet",), "cannot be read"),
        "nowhere of rasters": ((folder / "nowhere.tif",), "cannot be read"),
        "another kind": ((folder / "text.xlsx",), "cannot be read"),
    }


def test_wrong_labels_are_refused_in_one_sentence(tmp_path):
    values = some_map(1)
    layers = {"class": values, "confidence": np.minimum(values, 100)}
    product = write_layers(tmp_path / "p", layers, classes={"class": [each["name"] for each in CLASSES]})
    before = digest(product)
    for name, (words, told) in wrong(tmp_path).items():
        said = command(product, *words, "--to", tmp_path / "out")
        assert said.exit_code == 2, (name, said.output)
        assert told in " ".join(said.output.split()), (name, said.output)
        # A raster is looked through before it is known to hold no class.
        lines = [line for line in said.output.splitlines() if not line.endswith(" Holding the map against labels ...")]
        assert len(lines) == 1, (name, said.output)
        assert lines[0].startswith("tilewright: "), name
        assert not (tmp_path / "out").exists(), name
    assert digest(product) == before
    (tmp_path / "bare").mkdir()
    for words in ((tmp_path / "none",), (tmp_path / "bare",)):
        said = command(*words, tmp_path / "good.parquet")
        assert (said.exit_code, "no finished product" in said.output) == (2, True)


class _Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self.links += [value for key, value in attrs if key in {"src", "href"} and value]


def test_the_page_loads_nothing_and_hostile_names_stay_text(whole, tmp_path):
    values = some_map(1)
    classes = [{**each, "name": f"{each['name']}{HOSTILE}"} for each in CLASSES]
    product = finished(whole, tmp_path / "product", values, layers=LAYERS, classes=classes, name=HOSTILE)
    names = [HOSTILE if n % 7 == 0 else classes[n % 3]["name"] for n in range(500)]
    rows, cols = np.nonzero(values != 255)
    points = shapely.points(CORNER[0] + cols[::60][:500] * 10 + 5, CORNER[1] - rows[::60][:500] * 10 - 5)
    names = names[: len(points)]
    frame = geopandas.GeoDataFrame({"class": names, "by": names}, geometry=points, crs=32633)
    frame.to_parquet(tmp_path / "l.parquet")
    said = command(product, tmp_path / "l.parquet", "--by", "by", "--to", tmp_path / "out")
    assert said.exit_code == 0, said.output
    assert "\x1b" not in said.output
    page = (tmp_path / "out" / "evaluation.html").read_text("utf-8")
    seen = _Seen()
    seen.feed(page)
    assert "script" not in seen.tags
    assert all(link.startswith(("data:image/", "./evaluation.json", "./pairs.csv")) for link in seen.links)
    assert "\u202e" not in page
    assert "{{" not in page.replace("{{ 7*7 }}", "")
    assert not re.search(r"https?://(?!www\.w3\.org)", page)


def test_a_raster_of_labels_takes_memory_of_tiles_alone(tmp_path):
    side = 3000
    rng = np.random.default_rng(1)
    tile = rng.integers(0, 3, (500, side), dtype=np.uint8)
    layers = {"class": (np.uint8, (side, side), lambda: iter([tile] * 6))}
    product = write_layers(tmp_path / "p", layers, classes={"class": ["a", "b", "c"]})
    facts = {"driver": "GTiff", "height": side, "width": side, "count": 1, "dtype": "uint8", "crs": "EPSG:32633"}
    place = rasterio.transform.from_origin(*CORNER, 10, 10)
    with rasterio.open(tmp_path / "l.tif", "w", transform=place, tiled=True, **facts) as file:
        for top in range(0, side, 500):
            file.write(tile, 1, window=rasterio.windows.Window(0, top, side, 500))
    tracemalloc.start()
    told = tw.evaluate(product, tmp_path / "l.tif")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (told["n"], told["overall_accuracy"]) == (side * side, 1)
    assert peak < 100 * 2**20


def test_the_command_runs_in_a_process_of_its_own(whole, tmp_path):
    values = some_map(1)
    product = finished(whole, tmp_path / "product", values, layers=LAYERS)
    words = [sys.executable, "-m", "tilewright.flows.cli", "evaluate", str(product), str(labels(tmp_path, values))]
    said = subprocess.run(words, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
