"""`tilewright evaluate --trust`: its layer and figures by hand, the same in every cut, published, cut off, refused."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from rio_cogeo.cogeo import cog_validate
from typer.testing import CliRunner

import tilewright as tw
from tests.support.layers import write_layers
from tests.support.output_places import open_place
from tests.support.products import read
from tilewright.catalogs.publish.validate import validate_collection, validate_item
from tilewright.flows.ask import added_files
from tilewright.flows.cli.main import app
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.grid.grid import Grid
from tilewright.tasks.grid.ground import pixel_km2
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.inventory.finished import unfinished
from tilewright.tasks.storage.errors import StorageError
from tilewright.tasks.storage.storage import open_storage

pytestmark = pytest.mark.usefixtures("small_pictures")

NAMES = ("land", "open water", "forest")
CORNER = (400_000.0, 5_400_000.0)
SHAPE = (300, 420)
FILES = ("trusted.tif", "trusted.tif.aux.xml", "trusted.qml")
STEPS = ("write_product_record", "file_multihash", "publish_item", "table_with", "check_written")


def command(*words: object) -> Any:
    return CliRunner().invoke(app, ["evaluate", *map(str, words)])


def model(*, probabilities: bool = True, dtype: str = "uint8") -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """True classes, and the layers of a model that is twice as sure as it is right, with holes of nodata."""
    rng = np.random.default_rng(11)
    logits = rng.normal(0, 1.8, (3, *SHAPE))
    shares = np.exp(logits) / np.exp(logits).sum(axis=0)
    truth = np.minimum((rng.random(SHAPE)[None] > shares.cumsum(axis=0)).sum(axis=0), 2)
    sure = np.exp(2 * logits) / np.exp(2 * logits).sum(axis=0)
    hole = rng.random(SHAPE) < 0.05
    told = np.rint(sure * 100).astype(np.uint8) if dtype == "uint8" else sure.astype(dtype)
    nodata = 255 if dtype == "uint8" else np.nan
    layers = {"class": sure.argmax(axis=0).astype(np.uint8), "confidence": told.max(axis=0)}
    if probabilities:
        words = [f"probability_{name.replace(' ', '_')}" for name in NAMES]
        layers |= dict(zip(words, told, strict=True))
    return truth, {name: np.where(hole, 255 if name == "class" else nodata, each).astype(each.dtype)
                   for name, each in layers.items()}  # fmt: skip


def points(folder: Path, truth: np.ndarray, n: int = 500, *, name: str = "labels.parquet", **columns: Any) -> Path:
    rng = np.random.default_rng(12)
    rows, cols = rng.integers(0, SHAPE[0], n), rng.integers(0, SHAPE[1], n)
    places = shapely.points(CORNER[0] + (cols + 0.5) * 10, CORNER[1] - (rows + 0.5) * 10)
    said = [NAMES[each] for each in truth[rows, cols]]
    geopandas.GeoDataFrame({"class": said, **columns}, geometry=places, crs="EPSG:32633").to_parquet(folder / name)
    return folder / name


def by_hand(layers: dict[str, np.ndarray], told: dict[str, Any]) -> np.ndarray:
    """The layer `trusted`, from the thresholds in the figures."""
    mapped = layers["class"].astype(int)
    full = told["full"]
    if told["of"] == "probabilities":
        scores = np.stack([layers[f"probability_{name.replace(' ', '_')}"].astype(np.float64) for name in NAMES])
    else:
        sure = layers["confidence"].astype(np.float64)
        scores = np.stack([np.where(mapped == k, sure, full - sure) for k in range(3)])
    limits = [told["classes"][name]["threshold"] for name in NAMES]
    possible = np.stack([np.zeros(SHAPE, bool) if t is None else scores[k] >= t for k, t in enumerate(limits)])
    own = np.take_along_axis(possible, np.minimum(mapped, 2)[None], axis=0)[0]
    least = np.array([math.inf if (t := told["classes"][name]["least_score"]) is None else t for name in NAMES])
    own &= np.take_along_axis(scores, np.minimum(mapped, 2)[None], axis=0)[0] >= least[np.minimum(mapped, 2)]
    found = np.where(own & (possible.sum(axis=0) == 1), 1, 0)
    found[mapped == 255] = 255
    return found.astype(np.uint8)


@pytest.mark.parametrize("probabilities", [True, False])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("n", [500, 40])
def test_the_layer_is_what_the_figures_say(tmp_path, probabilities, dtype, n):
    truth, layers = model(probabilities=probabilities, dtype=dtype)
    product = write_layers(tmp_path / "product", layers, classes={"class": NAMES})
    said = command(product, points(tmp_path, truth, n), "--trust", "0.9", "--to", tmp_path / "out")
    assert said.exit_code == 0, said.output
    document = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    told = document["trust"]
    assert told["of"] == ("probabilities" if probabilities else "confidence")
    assert told["labels_needed"] == 9
    with rasterio.open(tmp_path / "out" / "trusted.tif") as raster:
        found = raster.read(1)
        assert (raster.nodata, raster.crs.to_epsg(), raster.transform.c) == (255, 32633, CORNER[0])
        assert json.loads(raster.tags()["TILEWRIGHT_THRESHOLDS"]) == {
            name: row["threshold"] for name, row in told["classes"].items()
        }
        assert raster.colormap(1)[1] != raster.colormap(1)[0]
    assert cog_validate(tmp_path / "out" / "trusted.tif", strict=True, quiet=True)[0]
    np.testing.assert_array_equal(found, by_hand(layers, told))
    assert (found == 1).sum() < (found != 255).sum()
    for k, name in enumerate(NAMES):
        mapped = layers["class"] == k
        assert told["classes"][name]["trusted_share"] == pytest.approx((found[mapped] == 1).mean())
    assert told["trusted_share"] == pytest.approx((found == 1).sum() / (found != 255).sum())
    assert told["trusted_km2"] == pytest.approx((found == 1).sum() * 1e-4, rel=5e-3)
    page = (tmp_path / "out" / "evaluation.html").read_text()
    assert "Where to trust it" in page
    assert "trusted.tif" in page
    if n == 500:
        assert (found == 1).sum() > 0.1 * found.size
        assert (truth[found == 1] == layers["class"][found == 1]).mean() > 0.88
        assert document["temperature"]["after"]["ece"] < document["temperature"]["before"]["ece"]
        assert 1.4 < document["temperature"]["temperature"] < 2.8
        assert "Temperature scaling" in page
        # What is promised of the labels holds of the truth of the whole map, within what one draw may miss.
        for k, name in enumerate(NAMES):
            wrong = (found[truth == k] == 1) & (layers["class"][truth == k] != k)
            assert wrong.mean() <= 1 - told["classes"][name]["coverage_low"]


def test_the_same_labels_in_another_order_and_product_in_another_cut_give_the_same_bytes(tmp_path):
    truth, layers = model()
    labels = points(tmp_path, truth)
    (tmp_path / "other").mkdir()
    shuffled = tmp_path / "other" / labels.name
    geopandas.read_parquet(labels).sample(frac=1, random_state=1).to_parquet(shuffled)
    told, sums = [], []
    for number, (chunk, block) in enumerate([(64, 64), (128, 256), (512, 512), (100, 100)]):
        product = write_layers(tmp_path / f"p{number}", layers, classes={"class": NAMES}, chunk=chunk, block=block)
        given = labels if number % 2 else shuffled
        out = tmp_path / f"o{number}"
        assert command(product, given, "--trust", "0.9", "--to", out).exit_code == 0
        document = json.loads((out / "evaluation.json").read_text())
        told.append((document["trust"], document["temperature"], document["summary"]))
        sums.append([hashlib.sha256((out / name).read_bytes()).hexdigest() for name in FILES])
    assert all(each == told[0] for each in told)
    assert all(each == sums[0] for each in sums)


def test_a_cut_of_a_grid_with_unequal_pixels_gives_the_same_areas(tmp_path):
    truth, layers = model()
    told = []
    corner, size = (10.0, 60.0), 0.01
    rng = np.random.default_rng(2)
    rows, cols = rng.integers(0, SHAPE[0], 400), rng.integers(0, SHAPE[1], 400)
    lines = [
        f"{corner[0] + (col + 0.5) * size},{corner[1] - (row + 0.5) * size},{NAMES[truth[row, col]]}"
        for row, col in zip(rows, cols, strict=True)
    ]
    (tmp_path / "labels.csv").write_text("\n".join(["lon,lat,class", *lines]))
    for number, chunk in enumerate((64, 128, 512)):
        product = write_layers(
            tmp_path / f"p{number}", layers, classes={"class": NAMES}, chunk=chunk, block=chunk, crs="EPSG:4326",
            resolution=size, corner=corner,
        )  # fmt: skip
        told.append(tw.evaluate(product, tmp_path / "labels.csv", trust=0.8)["trust"])
    assert told[0] == told[1] == told[2]
    assert told[0]["layer"] is None, "nothing was written"
    # Pixels of the north are smaller.
    grid = Grid(crs="EPSG:4326", resolution=size, extent=PixelBox.at(-6_000, 1_000, shape=SHAPE))
    km2 = np.broadcast_to(pixel_km2(grid, grid.extent), SHAPE)
    found = by_hand(layers, told[0]) == 1
    for k, name in enumerate(NAMES):
        assert told[0]["classes"][name]["trusted_km2"] == pytest.approx(km2[found & (layers["class"] == k)].sum())
    assert told[0]["trusted_share"] == pytest.approx(km2[found].sum() / km2[layers["class"] != 255].sum())


def test_too_few_labels_of_a_class_are_said_and_nothing_is_promised_of_it(tmp_path):
    truth, layers = model()
    product = write_layers(tmp_path / "product", layers, classes={"class": NAMES})
    frame = geopandas.read_parquet(points(tmp_path, truth))
    few = frame[frame["class"] == "forest"].index[8:]
    frame.drop(few).to_parquet(tmp_path / "few.parquet")
    said = command(product, tmp_path / "few.parquet", "--trust", "0.9", "--to", tmp_path / "out")
    assert said.exit_code == 0, said.output
    words = " ".join(said.output.split())
    n = min(8, (frame["class"] == "forest").sum())
    assert "Nothing is promised of forest: 9 labels of a class are needed" in words
    told = json.loads((tmp_path / "out" / "evaluation.json").read_text())["trust"]["classes"]["forest"]
    assert (told["promised"], told["threshold"], told["trusted_share"]) == (False, None, 0.0)
    assert 0 < told["n_labels"] <= n
    with rasterio.open(tmp_path / "out" / "trusted.tif") as raster:
        assert not (raster.read(1)[layers["class"] == 2] == 1).any()
    assert "too few labels" in (tmp_path / "out" / "evaluation.html").read_text()


def test_strata_without_a_label_are_said_to_be_promised_nothing(tmp_path):
    truth, layers = model()
    product = write_layers(tmp_path / "product", layers, classes={"class": NAMES})
    frame = geopandas.read_parquet(points(tmp_path, truth))
    frame["id"] = np.arange(len(frame))
    frame["stratum"] = np.where(np.arange(len(frame)) % 4 == 0, "east", "west")
    frame["stratum_pixels"] = np.where(frame["stratum"] == "east", 40_000, 60_000)
    frame["inclusion_probability"] = np.where(frame["stratum"] == "east", 125 / 40_000, 375 / 60_000)
    frame.to_parquet(tmp_path / "all.parquet")
    frame.loc[frame["stratum"] == "east", "class"] = None
    frame.to_parquet(tmp_path / "some.parquet")
    notes = [tw.evaluate(product, tmp_path / f"{name}.parquet", trust=np.float32(0.8))["trust"]["notes"]
             for name in ("all", "some")]  # fmt: skip
    said = "Strata that hold 40.0% of the sample's pixels have no label that counts: nothing is promised there."
    assert (said in notes[0], said in notes[1]) == (False, True)


def test_copies_of_a_label_promise_nothing_more(tmp_path):
    truth, layers = model()
    product = write_layers(tmp_path / "product", layers, classes={"class": NAMES})
    one = geopandas.read_parquet(points(tmp_path, truth, 12))
    pd.concat([one] * 30).to_parquet(tmp_path / "copied.parquet")
    said = command(product, tmp_path / "copied.parquet", "--trust", "0.9", "--to", tmp_path / "out")
    assert said.exit_code == 2, said.output
    assert "needs 9 labels of a class" in " ".join(said.output.split())
    many = geopandas.read_parquet(points(tmp_path, truth, 300))
    pd.concat([many, many]).to_parquet(tmp_path / "twice.parquet")
    once, twice = (tw.evaluate(product, tmp_path / f"{name}.parquet", trust=0.8) for name in ("labels", "twice"))
    assert "copies" in twice["trust"]["notes"][-1]
    assert {**once["trust"], "notes": 0} == {**twice["trust"], "notes": 0}
    assert once["temperature"] == twice["temperature"]
    assert twice["n_repeated"] == once["n_repeated"] + once["n"]
    assert any("intervals are too narrow" in sentence for sentence in twice["summary"])


@pytest.mark.parametrize("prefix", ["", "lc_"])
def test_the_layers_of_an_output_with_a_prefix_are_found(tmp_path, prefix):
    truth, layers = model()
    named = {f"{prefix}{name}": each for name, each in layers.items()}
    other = {"y_class": layers["class"], "y_confidence": layers["confidence"]} if prefix else {}
    classes = {f"{prefix}class": NAMES, "y_class": NAMES}
    product = write_layers(tmp_path / "product", {**other, **named}, classes=classes)
    labels = points(tmp_path, truth)
    layer = f"{prefix}class"
    assert tw.evaluate(product, labels, layer=layer, trust=0.9)["trust"]["of"] == "probabilities"
    if prefix:
        assert tw.evaluate(product, labels, layer="y_class", trust=0.9)["trust"]["of"] == "confidence"


def test_classes_that_are_joined_have_the_sum_of_their_probabilities(tmp_path):
    truth, layers = model()
    product = write_layers(tmp_path / "product", layers, classes={"class": NAMES})
    words = ["--map", "dry=land,forest", "--trust", "0.9", "--to", tmp_path / "out"]
    assert command(product, points(tmp_path, truth), *words).exit_code == 0
    told = json.loads((tmp_path / "out" / "evaluation.json").read_text())["trust"]["classes"]
    assert list(told) == ["dry", "open water"]
    dry = layers["probability_land"].astype(int) + layers["probability_forest"]
    wet = layers["probability_open_water"].astype(int)
    mapped = layers["class"]
    is_dry = (mapped == 0) | (mapped == 2)
    row, other = told["dry"], told["open water"]
    assert row["least_score"] is not None
    wanted = is_dry & (dry >= max(row["threshold"], row["least_score"])) & (wet < other["threshold"])
    with rasterio.open(tmp_path / "out" / "trusted.tif") as raster:
        np.testing.assert_array_equal((raster.read(1) == 1) & is_dry, wanted)


def test_what_cannot_be_trusted_is_refused_in_one_sentence(tmp_path):
    truth, layers = model()
    product = write_layers(tmp_path / "product", layers, classes={"class": NAMES})
    bare = write_layers(tmp_path / "bare", {"class": layers["class"]}, classes={"class": NAMES})
    height = write_layers(tmp_path / "height", {"height": layers["confidence"].astype(np.float32)})
    two = write_layers(
        tmp_path / "two",
        {"class": layers["class"], "crop": layers["class"], "confidence": layers["confidence"]},
        classes={"class": NAMES, "crop": NAMES},
    )
    labels, few = points(tmp_path, truth), points(tmp_path, truth, 12, name="few.parquet")
    unknown = points(tmp_path, truth, 30, name="unknown.parquet")
    frame = geopandas.read_parquet(unknown)
    frame.assign(**{"class": "moon"}).to_parquet(unknown)
    frame = geopandas.read_parquet(labels)
    frame.assign(geometry=frame.buffer(30)).to_parquet(tmp_path / "polygons.parquet")
    frame.assign(height=1.5).drop(columns="class").to_parquet(tmp_path / "values.parquet")
    frame.assign(crop=frame["class"]).to_parquet(tmp_path / "both.parquet")
    facts = {
        "driver": "GTiff",
        "height": SHAPE[0],
        "width": SHAPE[1],
        "dtype": "uint8",
        "count": 1,
        "crs": "EPSG:32633",
    }
    with rasterio.open(
        tmp_path / "r.tif", "w", transform=rasterio.transform.from_origin(*CORNER, 10, 10), **facts
    ) as new:
        new.write(truth.astype(np.uint8), 1)
    refused = {
        (bare, labels, "0.9"): "has neither confidence nor probabilities beside the layer class",
        (height, tmp_path / "values.parquet", "0.9"): "--trust is about classes, and the layer height holds values",
        (two, tmp_path / "both.parquet", "0.9"): "say which with --layer",
        (product, few, "0.99"): "--trust 0.99 needs 99 labels of a class, and few.parquet has",
        (product, unknown, "0.9"): "is a class of the layer class: 'moon'",
        (product, tmp_path / "polygons.parquet", "0.9"): "--trust needs points: pixels of polygons are not independent",
        (product, tmp_path / "r.tif", "0.9"): "--trust needs points: pixels of a raster are not independent",
        (product, labels, "90"): "expected a share of each class above 0 and below 1",
        (product, labels, "nan"): "expected a share of each class above 0 and below 1",
        (product, labels, "1"): "expected a share of each class above 0 and below 1",
        (product, labels, "0"): "expected a share of each class above 0 and below 1",
    }
    with pytest.raises(ValueError, match="expected a share of each class"):
        tw.evaluate(product, labels, trust="0.9")
    for (output, file, coverage), words in refused.items():
        said = command(output, file, "--trust", coverage, "--to", tmp_path / "out")
        assert said.exit_code == 2, said.output
        assert words in " ".join(said.output.split()), said.output
        assert said.output.count("tilewright:") == 1
        assert not (tmp_path / "out").exists()


@pytest.fixture
def product(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "product"))


def labels_of(product: Path, path: Path) -> Path:
    layer = tw.open(product)["class"]
    seen = np.argwhere(np.isfinite(layer.values))
    rng = np.random.default_rng(2)
    chosen = rng.choice(seen, 160, replace=False)
    at = shapely.points(layer.x.to_numpy()[chosen[:, 1]], layer.y.to_numpy()[chosen[:, 0]])
    said = rng.integers(0, 2, 160)
    geopandas.GeoDataFrame({"class": said}, geometry=at, crs="EPSG:32633").to_parquet(path)
    return path


def test_the_layer_is_published_with_the_product_which_stays_finished(job, product, tmp_path):
    labels = labels_of(product, tmp_path / "labels.parquet")
    answer = command(product, labels, "--trust", "0.8")
    assert answer.exit_code == 0, answer.output
    item = json.loads((product / "item.json").read_text())
    validate_item(item)
    validate_collection(json.loads((product / "collection.json").read_text()))
    asset = item["assets"]["trusted"]
    assert asset["file:checksum"] == "1220" + hashlib.sha256((product / "trusted.tif").read_bytes()).hexdigest()
    assert [(each["value"], each["title"]) for each in asset["classification:classes"]] == [
        (0, "not trusted"),
        (1, "trusted"),
    ]
    assert asset["bands"][0]["nodata"] == 255
    assert {"trusted_names", "trusted_style"} <= item["assets"].keys()
    assert unfinished(open_storage(str(product))) == ()
    assert "earlier evaluation" not in answer.output
    assert "Nothing to clean" in CliRunner().invoke(app, ["clean", str(product)]).output
    kept = {name: (product / name).read_bytes() for name in FILES}
    # Scores without it leave the layer and say so, a run leaves both, and pixels that are made anew have neither.
    again = command(product, labels)
    assert again.exit_code == 0
    assert "trusted.tif beside it is of an earlier evaluation" in " ".join(again.output.split())
    run_job(read(job, product))
    assert {name: (product / name).read_bytes() for name in FILES} == kept
    run_job(read(job, product), RunOptions(replace=True))
    assert not any((product / name).exists() for name in FILES)
    assert "trusted" not in json.loads((product / "item.json").read_text())["assets"]


def test_a_layer_or_a_file_of_that_name_is_left(product, tmp_path):
    labels = labels_of(product, tmp_path / "labels.parquet")
    mine = shutil.copytree(product, tmp_path / "mine")
    (mine / "trusted.qml").write_text("mine")
    said = command(mine, labels, "--trust", "0.8")
    assert (said.exit_code, (mine / "trusted.qml").read_text()) == (2, "mine")
    assert command(mine, labels).exit_code == 0
    for change in ("layer", "asset"):
        own = shutil.copytree(product, tmp_path / change)
        name = "report.json" if change == "layer" else "item.json"
        plain = json.loads((own / name).read_text())
        if change == "layer":
            plain["layers"].append({"name": "trusted", "kind": "percent"})
        else:
            plain["assets"]["trusted"] = {"href": "./class.tif"}
        (own / name).write_text(json.dumps(plain))
        said = command(own, labels, "--trust", "0.8")
        assert said.exit_code == 2, said.output
        assert "has 'trusted' already, of its own: give --to DIR" in " ".join(said.output.split())
        assert command(own, labels, "--trust", "0.8", "--to", tmp_path / f"out-{change}").exit_code == 0


def test_the_layer_of_a_product_in_a_bucket_is_published_there(product, tmp_path, moto, monkeypatch):
    labels = labels_of(product, tmp_path / "labels.parquet")
    storage = open_place("bucket", tmp_path, monkeypatch, moto)
    for path in sorted(product.rglob("*")):
        if path.is_file():
            storage.write(str(path.relative_to(product)), path.read_bytes())
    assert command(product, labels, "--trust", "0.5", "--to", tmp_path / "out").exit_code == 0
    said = command(storage.uri, labels, "--trust", "0.5")
    assert said.exit_code == 0, said.output
    assert unfinished(storage) == ()
    assert storage.read("trusted.tif") == (tmp_path / "out" / "trusted.tif").read_bytes()
    assert storage.read_json("item.json")["assets"]["trusted"]["href"] == "./trusted.tif"


@pytest.mark.parametrize("block", [64, 128])
def test_a_product_made_in_other_blocks_has_the_same_layer(job, product, tmp_path, block):
    labels = labels_of(product, tmp_path / "labels.parquet")
    other = run_job(read(job, tmp_path / "other", tile={"block": block, "step": 32})).output
    made = []
    for output in (product, other):
        assert command(output, labels, "--trust", "0.8", "--to", tmp_path / "out").exit_code == 0
        made.append((tmp_path / "out" / "trusted.tif").read_bytes())
    assert made[0] == made[1]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("standing", [False, True])
def test_nothing_is_half_published_wherever_adding_is_cut_off(product, tmp_path, monkeypatch, step, standing):
    labels = labels_of(product, tmp_path / "labels.parquet")
    if standing:
        assert command(product, labels, "--trust", "0.5").exit_code == 0

    def fail(*_: object, **__: object) -> None:
        raise StorageError(f"Cannot go on with {step}.")

    with monkeypatch.context() as patch:
        patch.setattr(added_files, step, fail)
        answer = command(product, labels, "--trust", "0.8")
    assert answer.exit_code == 1
    assert unfinished(open_storage(str(product))) == ()
    assert command(product, labels, "--trust", "0.8").exit_code == 0
    assert json.loads((product / "evaluation.json").read_text())["trust"]["coverage"] == 0.8
    assert unfinished(open_storage(str(product))) == ()
