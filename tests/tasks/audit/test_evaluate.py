"""Layers held against labels: every figure by scikit-learn and by hand, for any kind of label, CRS, column and cut."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyproj
import pytest
import rasterio
import shapely
import sklearn.metrics as sk
from scipy.stats import binomtest

import tilewright as tw
from tests.support.finished import finished
from tests.support.layers import write_layers
from tilewright.tasks.audit.evaluate import polygons
from tilewright.tasks.audit.evaluate.scores import wilson
from tilewright.tasks.audit.evaluate.tally import bin_of

NAMES = ("land", "open water", "forest")
CORNER, SIZE = (400_000.0, 5_400_000.0), 10.0
SHAPE = (150, 210)
KEYS = {
    *("layer", "kind", "column", "n", "n_outside", "n_nodata", "n_unknown", "n_unlabelled", "classes", "confusion"),
    *("overall_accuracy", "kappa", "per_class", "calibration", "groups"),
}


def pixels(shape=SHAPE, seed=1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    classes = rng.choice(np.array([0, 1, 2, 255], dtype=np.uint8), shape, p=[0.5, 0.2, 0.2, 0.1])
    height = rng.normal(300, 80, shape).astype(np.float32)
    height[rng.random(shape) < 0.1] = np.nan
    confidence = rng.integers(0, 101, shape).astype(np.uint8)
    confidence[classes == 255] = 255
    return {"class": classes, "height": height, "confidence": confidence}


@pytest.fixture(scope="module")
def product(tmp_path_factory) -> Path:
    return write_layers(tmp_path_factory.mktemp("product"), pixels(), classes={"class": NAMES})


def places(rows: np.ndarray, cols: np.ndarray, *, right: float = 0.5, down: float = 0.5) -> np.ndarray:
    """Points in pixels (row, col) of the product, at a fraction of each."""
    return shapely.points(CORNER[0] + (cols + right) * SIZE, CORNER[1] - (rows + down) * SIZE)


def written(folder: Path, geometries: Any, columns: dict[str, Any], name: str = "labels.parquet", crs=32633) -> Path:
    frame = geopandas.GeoDataFrame(columns, geometry=list(geometries), crs="EPSG:32633").to_crs(crs)
    path = folder / name
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".csv":
        frame.assign(lon=frame.geometry.x, lat=frame.geometry.y).drop(columns="geometry").to_csv(path, index=False)
    else:
        frame.to_file(path)
    return path


def drawn(n: int, seed: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and labels: half of them are what the product says there."""
    rng = np.random.default_rng(seed)
    rows, cols = rng.integers(0, SHAPE[0], n), rng.integers(0, SHAPE[1], n)
    said = pixels()["class"][rows, cols]
    labels = np.where((rng.random(n) < 0.6) & (said != 255), said, rng.integers(0, 3, n))
    return rows, cols, labels


def close(found: Any, wanted: Any) -> None:
    assert found == pytest.approx(wanted, rel=1e-9, abs=1e-12)


def check_classes(told: dict[str, Any], labels: np.ndarray, said: np.ndarray, sure: np.ndarray) -> None:
    """Every figure of classes as scikit-learn has it; the calibration by hand."""
    assert told.keys() >= KEYS
    numbers = list(range(len(NAMES)))
    assert told["n"] == len(labels)
    assert told["classes"] == list(NAMES)
    assert told["confusion"] == sk.confusion_matrix(labels, said, labels=numbers).tolist()
    close(told["overall_accuracy"], sk.accuracy_score(labels, said))
    close(told["kappa"], sk.cohen_kappa_score(labels, said))
    found = sk.precision_recall_fscore_support(labels, said, labels=numbers, zero_division=np.nan)
    iou = sk.jaccard_score(labels, said, labels=numbers, average=None, zero_division=0)
    for i, name in enumerate(NAMES):
        row = told["per_class"][name]
        for key, wanted in zip(("precision", "recall", "f1"), found[:3], strict=True):
            close(row[key], wanted[i])
        close(row["iou"], iou[i])
        assert row["n_labels"] == int((labels == i).sum())
        assert row["n_product"] == int((said == i).sum())
    assert len(told["calibration"]["bins"]) == 10
    gaps = 0.0
    for number, row in enumerate(told["calibration"]["bins"]):
        low, high = number / 10, (number + 1) / 10
        assert (row["low"], row["high"]) == (low, high)
        kept = (sure > round(low * 100)) & (sure <= round(high * 100)) | ((number == 0) & (sure == 0))
        assert row["n"] == int(kept.sum())
        if row["n"]:
            close(row["confidence"], sure[kept].mean() / 100)
            close(row["accuracy"], (labels == said)[kept].mean())
            gaps += row["n"] * abs(row["confidence"] - row["accuracy"])
    close(told["calibration"]["ece"], gaps / len(labels))


@pytest.mark.parametrize(
    ("name", "crs"),
    [("a.parquet", 32633), ("a.geojson", 4326), ("a.gpkg", 3035), ("a.fgb", 3857), ("a.csv", 4326), ("a.shp", 32632)],
)
@pytest.mark.parametrize("as_names", [True, False])
def test_points_of_any_file_are_scored_as_scikit_learn_scores_them(product, tmp_path, name, crs, as_names):
    rows, cols, labels = drawn(900)
    column = [NAMES[label] for label in labels] if as_names else labels
    points = places(rows, cols, right=0.3, down=0.8)
    told = tw.evaluate(
        product, written(tmp_path, points, {"class": column, "region": rows % 3}, name, crs), by="region"
    )
    layers = pixels()
    said, sure = (layers[each][rows, cols] for each in ("class", "confidence"))
    there = said != 255
    check_classes(told, labels[there], said[there], sure[there])
    assert told["n_nodata"] == int((~there).sum())
    assert (told["n_outside"], told["n_unknown"], told["n_unlabelled"]) == (0, 0, 0)
    assert list(told["groups"]) == ["0", "1", "2"]
    for group, found in told["groups"].items():
        kept = there & (rows % 3 == int(group))
        check_classes({**told, **found}, labels[kept], said[kept], sure[kept])


def test_values_are_scored_as_scikit_learn_scores_them(product, tmp_path):
    rows, cols, _ = drawn(700)
    said = pixels()["height"][rows, cols].astype(float)
    labels = np.nan_to_num(said, nan=300) + np.random.default_rng(2).normal(3, 40, len(said))
    told = tw.evaluate(product, written(tmp_path, places(rows, cols), {"height": labels}))
    kept = ~np.isnan(said)
    assert (told["layer"], told["kind"], told["column"]) == ("height", "value", "height")
    assert (told["n"], told["n_nodata"]) == (int(kept.sum()), int((~kept).sum()))
    close(told["rmse"], sk.root_mean_squared_error(labels[kept], said[kept]))
    close(told["mae"], sk.mean_absolute_error(labels[kept], said[kept]))
    close(told["bias"], (said[kept] - labels[kept]).mean())
    close(told["r2"], sk.r2_score(labels[kept], said[kept]))


def test_what_divides_by_nothing_is_null(product, tmp_path):
    rows, cols = np.nonzero(pixels()["class"] == 1)
    told = tw.evaluate(product, written(tmp_path, places(rows[:5], cols[:5]), {"class": ["open water"] * 5}))
    assert told["overall_accuracy"] == 1
    assert told["kappa"] is None
    assert told["per_class"]["land"] == {
        **dict.fromkeys(("precision", "recall", "f1", "iou")), "n_labels": 0, "n_product": 0,
    }  # fmt: skip
    rows, cols = np.nonzero(~np.isnan(pixels()["height"]))
    told = tw.evaluate(product, written(tmp_path, places(rows[:5], cols[:5]), {"height": [300.0] * 5}))
    assert told["r2"] is None
    rows, cols = np.nonzero(pixels()["class"] == 255)
    told = tw.evaluate(product, written(tmp_path, places(rows[:5], cols[:5]), {"class": ["land"] * 5}))
    assert (told["n"], told["n_nodata"]) == (0, 5)
    assert [told[key] for key in ("overall_accuracy", "kappa", "calibration")] == [None] * 3


def test_a_border_belongs_to_the_pixel_right_and_below(product, tmp_path):
    said = pixels()["class"]
    rows, cols = (each[:200] for each in np.nonzero(said != 255))
    told = tw.evaluate(product, written(tmp_path, places(rows, cols, right=0.0, down=0.0), {"class": said[rows, cols]}))
    assert told["overall_accuracy"] == 1
    # The outer borders: of the left and upper ones the pixels are inside, of the right and lower ones outside.
    edges = shapely.points(
        [CORNER[0], CORNER[0] + SIZE * SHAPE[1], CORNER[0] + 5, CORNER[0] + 5],
        [CORNER[1] - 5, CORNER[1] - 5, CORNER[1], CORNER[1] - SIZE * SHAPE[0]],
    )
    told = tw.evaluate(product, written(tmp_path, edges, {"class": [0] * 4}))
    assert told["n_outside"] == 2


def test_what_is_not_scored_is_counted(product, tmp_path):
    said = pixels()["class"]
    land, nothing = np.argwhere(said == 0)[:6], np.argwhere(said == 255)[:2]
    at = np.vstack([land, nothing, [[-5, 3], [3, -50], [9999, 3]]])
    labels = ["land", "land", "ice", "Land", None, "", "forest", "forest", "land", "land", "ice"]
    told = tw.evaluate(product, written(tmp_path, places(at[:, 0], at[:, 1]), {"class": labels}))
    counts = {key: told[key] for key in ("n", "n_outside", "n_nodata", "n_unknown", "n_unlabelled")}
    assert counts == {"n": 2, "n_outside": 3, "n_nodata": 2, "n_unknown": 2, "n_unlabelled": 2}
    assert told["unknown"] == {"Land": 1, "ice": 1}
    assert "3 labels outside the product; 2 labels where the map has no value" in told["summary"][-1]
    assert "Land (did you mean 'land'?)" in told["summary"][-1]


def test_labels_are_mapped_onto_classes_and_classes_joined(product, tmp_path):
    rows, cols, labels = drawn(600)
    said = pixels()["class"][rows, cols]
    there = said != 255
    fine = np.array(["field", "road", "lake", "tree"])[np.where(labels > 0, labels + 1, rows % 2)]
    file = written(tmp_path, places(rows, cols), {"what": fine})
    told = tw.evaluate(
        product, file, column="what", maps={"land": ["field", "road"], "open water": "lake", "forest": ["tree"]}
    )
    assert told["confusion"] == sk.confusion_matrix(labels[there], said[there]).tolist()
    # Numbers are values, also those that a mapping names.
    file = written(tmp_path, places(rows, cols), {"code": labels + 10})
    maps = {"land": ["10"], "open water": ["11"], "forest": ["12"]}
    assert tw.evaluate(product, file, column="code", maps=maps)["confusion"] == told["confusion"]
    # The map's own classes under one name, as labels have it.
    wet = np.where(labels == 1, "open water", "dry")
    told = tw.evaluate(product, written(tmp_path, places(rows, cols), {"class": wet}), maps={"dry": ["land", "forest"]})
    assert told["classes"] == ["dry", "open water"]
    assert told["confusion"] == sk.confusion_matrix(labels[there] == 1, said[there] == 1).tolist()


def test_columns_with_the_names_of_layers_are_each_held_against_them(product, tmp_path):
    rows, cols, labels = drawn(300)
    columns = {"class": labels, "height": rows * 1.0, "confidence": rows, "other": cols}
    told = tw.evaluate(product, written(tmp_path, places(rows, cols), columns))
    assert [told["layer"], *(each["layer"] for each in told["others"])] == ["class", "height"]
    only = tw.evaluate(product, written(tmp_path, places(rows, cols), columns), column="height")
    assert (only["layer"], only["others"], only["rmse"]) == ("height", [], told["others"][0]["rmse"])


def stars(n: int, seed: int = 3) -> list[shapely.Geometry]:
    """Polygons with holes and in parts, some over the edge of the product, some smaller than a pixel; in pixels."""
    rng = np.random.default_rng(seed)
    found = []
    while len(found) < n:
        angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
        reach = rng.choice([0.3, 2.0, 9.0, 30.0])
        middle = rng.uniform((-5, -5), (SHAPE[1] + 5, SHAPE[0] + 5))
        star = shapely.Polygon(np.column_stack([np.cos(angles), np.sin(angles)]) * reach + middle)
        star = star.difference(shapely.Point(middle).buffer(reach / 4))
        if star.is_valid and star.area > 0:
            found.append(star)
    return found


@pytest.mark.parametrize("tile", [512, 32])
def test_polygons_count_the_pixels_whose_centres_they_hold(product, tmp_path, monkeypatch, tile):
    monkeypatch.setattr(polygons, "TILE", tile)
    shapes = stars(60)
    labels = np.arange(60) % 3
    on_map = [shapely.transform(each, lambda at: at * [SIZE, -SIZE] + CORNER) for each in shapes]
    columns = {"class": [*[NAMES[each] for each in labels[:-2]], "ice", None], "year": [2020, 2021] * 30}
    told = tw.evaluate(product, written(tmp_path, on_map, columns, "labels.gpkg"), by="year")
    layers = pixels()
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] + 0.5
    held = [shapely.contains_xy(each, x, y) for each in shapes]
    found = [np.concatenate([layers[name][mask] for mask in held[:-2]]) for name in ("class", "confidence")]
    wanted = np.concatenate([np.full(int(mask.sum()), each) for mask, each in zip(held, labels[:-2], strict=False)])
    there = found[0] != 255
    check_classes(told, wanted[there], found[0][there], found[1][there])
    assert told["n_nodata"] == int((~there).sum())
    assert told["n_unknown"] == int(held[-2].sum())
    assert told["n_unlabelled"] == int(held[-1].sum())
    assert told["n_outside"] == sum(not mask.any() for mask in held)
    assert told["unit"] == "pixel"
    assert sum(each["n"] for each in told["groups"].values()) == told["n"]


@pytest.mark.parametrize(("crs", "size"), [(32633, 10.0), (32633, 2.5), (32632, 17.0), (4326, 0.0003), (3035, 30.0)])
def test_a_raster_is_looked_up_at_the_centres_of_pixels(product, tmp_path, crs, size):
    there = pyproj.Transformer.from_crs(32633, crs, always_xy=True)
    west, south, east, north = there.transform_bounds(
        CORNER[0] + 200, CORNER[1] - SHAPE[0] * SIZE - 90, CORNER[0] + SHAPE[1] * SIZE + 90, CORNER[1] - 170
    )
    shape = (int((north - south) / size), int((east - west) / size))
    rng = np.random.default_rng(7)
    labels = rng.choice(np.array([0, 1, 2, 7, 200], dtype=np.uint8), shape, p=[0.4, 0.2, 0.2, 0.1, 0.1])
    path = tmp_path / "labels.tif"
    transform = rasterio.transform.from_origin(west, north, size, size)
    facts = {"height": shape[0], "width": shape[1], "count": 1, "dtype": "uint8", "crs": f"EPSG:{crs}"}
    with rasterio.open(path, "w", driver="GTiff", nodata=200, transform=transform, **facts) as file:
        file.write(labels, 1)
    told = tw.evaluate(product, path)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] + 0.5
    lon, lat = there.transform(CORNER[0] + x * SIZE, CORNER[1] - y * SIZE)
    cols, rows = np.floor((lon - west) / size).astype(int), np.floor((north - lat) / size).astype(int)
    inside = (rows >= 0) & (rows < shape[0]) & (cols >= 0) & (cols < shape[1])
    meant = np.where(inside, labels[np.where(inside, rows, 0), np.where(inside, cols, 0)], 200)
    layers = pixels()
    kept = (meant < 3) & (layers["class"] != 255)
    check_classes(told, meant[kept], layers["class"][kept], layers["confidence"][kept])
    assert told["n_unlabelled"] == int((meant == 200).sum())
    assert told["unknown"] == {"7": int((meant == 7).sum())}
    assert told["n_nodata"] == int(((meant < 3) & (layers["class"] == 255)).sum())


@pytest.mark.parametrize(("crs", "corner", "size"), [("EPSG:4326", (-180, 90), 1), ("ESRI:54009", (-18e6, 9e6), 1e5)])
def test_a_raster_of_the_world_has_labels_of_the_product(product, tmp_path, crs, corner, size):
    facts = {"height": 180, "width": 360, "count": 1, "dtype": "float32", "crs": crs, "nodata": np.nan}
    with rasterio.open(
        tmp_path / "w.tif", "w", driver="GTiff", transform=rasterio.transform.from_origin(*corner, size, size), **facts
    ) as file:
        file.write(np.ones((1, 180, 360), np.float32))
    told = tw.evaluate(product, tmp_path / "w.tif")
    assert told["per_class"]["open water"]["n_labels"] == told["n"] == int((pixels()["class"] != 255).sum())


@pytest.mark.parametrize("kind", ["points", "polygons", "raster"])
def test_scores_hang_on_no_cut_of_the_product(tmp_path, kind):
    rng = np.random.default_rng(4)
    whole = pixels((700, 900))
    if kind == "raster":
        labels = tmp_path / "labels.tif"
        transform = rasterio.transform.from_origin(CORNER[0] - 333, CORNER[1] + 111, 7, 7)
        facts = {"height": 900, "width": 1000, "count": 1, "dtype": "uint8", "crs": "EPSG:32633"}
        with rasterio.open(labels, "w", driver="GTiff", transform=transform, **facts) as file:
            file.write(rng.integers(0, 3, (900, 1000), dtype=np.uint8), 1)
    else:
        rows, cols = rng.integers(0, 700, 400), rng.integers(0, 900, 400)
        geometries = places(rows, cols)
        geometries = shapely.buffer(geometries, rng.uniform(3, 400, 400)) if kind == "polygons" else geometries
        columns = {"class": rng.integers(0, 3, 400), "height": rng.normal(300, 80, 400)}
        labels = written(tmp_path, geometries, columns)
    told = []
    for number, (block, chunk) in enumerate([(128, 128), (512, 256), (1024, 1024)]):
        folder = write_layers(tmp_path / str(number), whole, classes={"class": NAMES}, block=block, chunk=chunk)
        found = tw.evaluate(folder, labels, to=tmp_path / f"out{number}")
        pairs = (tmp_path / f"out{number}" / "pairs.csv").read_bytes()
        told.append((json.dumps({**found, "product": None}), pairs))
    assert told[0] == told[1] == told[2]


def test_pairs_hold_each_label_beside_what_the_map_says(product, tmp_path):
    rows, cols, labels = drawn(50)
    columns = {"id": [f"=p{n}" if n == 3 else f"p{n}" for n in range(50)], "class": labels}
    tw.evaluate(product, written(tmp_path, places(rows, cols), columns), to=tmp_path / "out")
    with (tmp_path / "out" / "pairs.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    said, sure = pixels()["class"], pixels()["confidence"]
    kept = [n for n in range(50) if said[rows[n], cols[n]] != 255]
    assert [each["label_id"] for each in found] == [f"'=p{n}" if n == 3 else f"p{n}" for n in kept]
    for n, each in zip(kept, found, strict=True):
        assert float(each["x"]) == CORNER[0] + (cols[n] + 0.5) * SIZE
        assert float(each["y"]) == CORNER[1] - (rows[n] + 0.5) * SIZE
        assert (each["layer"], each["label"]) == ("class", NAMES[labels[n]])
        assert each["product"] == NAMES[said[rows[n], cols[n]]]
        assert float(each["confidence"]) == sure[rows[n], cols[n]] / 100


def test_groups_are_made_of_seasons_and_of_zones(product, tmp_path):
    rows, cols, labels = drawn(400)
    dates = np.array(["2021-01-05", "2021-04-30", "2021-07-01", "2021-12-31"])[rows % 4]
    file = written(tmp_path, places(rows, cols), {"class": labels, "date": dates})
    seasons = tw.evaluate(product, file, by="season")["groups"]
    said = pixels()["class"][rows, cols]
    there = said != 255
    assert {name: each["n"] for name, each in seasons.items()} == {
        "DJF": int((there & np.isin(rows % 4, [0, 3])).sum()),
        "JJA": int((there & (rows % 4 == 2)).sum()),
        "MAM": int((there & (rows % 4 == 1)).sum()),
    }
    west = shapely.box(CORNER[0] - 50, CORNER[1] - 9_999, CORNER[0] + 100 * SIZE, CORNER[1] + 50)
    zones = written(tmp_path, [west], {"name": ["west"]}, "zones.gpkg", 4326)
    told = tw.evaluate(product, file, by=str(zones))["groups"]
    wanted = {"west": int((there & (cols < 100)).sum()), "(none)": int((there & (cols >= 100)).sum())}
    # The edge is straight in degrees: pixels beside it may fall on the other side.
    assert told.keys() == wanted.keys()
    assert abs(told["west"]["n"] - wanted["west"]) <= 4


@pytest.mark.parametrize(("share", "better"), [(0.95, "b"), (0.74, None), (0.2, "a")])
def test_two_products_are_tested_on_labels(tmp_path, whole, share, better):
    rng = np.random.default_rng(6)
    rows, cols, labels = drawn(800)
    said = pixels()["class"]
    other = said.copy()
    other[rows, cols] = np.where(rng.random(800) < share, labels, (labels + 1) % 3)
    other[:9] = 255
    a, b = (finished(whole, tmp_path / name, each) for name, each in (("a", said), ("b", other)))
    for folder in (a, b):
        report = json.loads((folder / "report.json").read_text())
        report["layers"] = report["layers"][:1]
        (folder / "report.json").write_text(json.dumps(report))
    file = written(tmp_path, places(rows, cols), {"class": labels}, "labels.geojson", 4326)
    told = tw.compare(a, b, labels=file)["mcnemar"]
    in_a, in_b = said[rows, cols], other[rows, cols]
    both = (in_a != 255) & (in_b != 255)
    # Copies of a label of one pixel count once.
    first = np.unique(np.stack([rows, cols, labels]), axis=1, return_index=True)[1]
    both &= np.isin(np.arange(len(rows)), first)
    right_a, right_b = (in_a == labels)[both], (in_b == labels)[both]
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    assert (told["n"], told["only_a_right"], told["only_b_right"]) == (int(both.sum()), only_a, only_b)
    close(told["statistic"], (only_a - only_b) ** 2 / (only_a + only_b))
    close(told["p_value"], float(binomtest(only_a, only_a + only_b).pvalue))
    assert told["better"] == better
    assert tw.compare(a, a, labels=file)["mcnemar"]["better"] is None


def test_a_bin_holds_its_upper_end():
    assert bin_of(np.array([0, 0.1, 0.11, 0.3, 0.7, 0.29, 1.0])).tolist() == [0, 0, 1, 2, 6, 2, 9]
    assert bin_of(np.arange(101) / 100).tolist() == [max(0, -(-n // 10) - 1) for n in range(101)]


def test_wilsons_interval_is_the_one_of_the_books():
    # Source: Newcombe (1998), Statistics in Medicine 17, table I: 81 of 263.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(0, 0) is None
