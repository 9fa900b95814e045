"""Tables of objects held against polygons: counts by hand, classes, what lies outside, refusals, the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import shapely

import tilewright as tw
from tests.support.layers import write_layers

CORNER = (400_000.0, 5_400_000.0)
SQUARES = [(10, 10), (40, 10), (70, 10), (10, 40), (40, 40), (70, 40)]


def square(x: float, y: float, side: float = 20) -> shapely.Polygon:
    """A square in the grid's CRS, of pixels from its upper left corner."""
    west, north = CORNER[0] + x * 10, CORNER[1] - y * 10
    return shapely.box(west, north - side * 10, west + side * 10, north)


@pytest.fixture
def product(tmp_path) -> Path:
    return six_squares(tmp_path / "p")


def six_squares(folder: Path) -> Path:
    """A product of six squares of two classes, the best first; nothing else."""
    write_layers(folder, {"ids": np.zeros((100, 100), np.int32)})
    frame = geopandas.GeoDataFrame(
        {
            "id": range(1, 7),
            "value": [1, 1, 1, 2, 2, 2],
            "name": ["ship"] * 3 + ["car"] * 3,
            "score": [0.9, 0.8, 0.7, 0.6, 0.5, 0.4],
        },
        geometry=[square(x, y) for x, y in SQUARES],
        crs="EPSG:32633",
    )
    frame.to_parquet(folder / "things.parquet")
    report = json.loads((folder / "report.json").read_text())
    report["layers"] = [{"name": "ids", "kind": "id"}]
    classes = [{"value": 1, "name": "ship"}, {"value": 2, "name": "car"}]
    report["tables"] = [{"name": "things", "file": "things.parquet", "classes": classes}]
    (folder / "report.json").write_text(json.dumps(report))
    return folder


def written(folder: Path, shapes: list, crs: Any = 32633, **columns: Any) -> Path:
    frame = geopandas.GeoDataFrame(columns, geometry=shapes, crs="EPSG:32633").to_crs(crs)
    frame.to_parquet(folder / "l.parquet")
    return folder / "l.parquet"


@pytest.mark.parametrize("crs", [32633, 4326])
def test_objects_are_counted_class_by_class(product, tmp_path, crs):
    # A ship exact, one moved by a tenth (IoU 0.818), one as a car; a car exact, one missed; one outside, one unknown.
    at = [(10, 10), (42, 10), (70, 10), (10, 40), (70, 75), (400, 10), (40, 75)]
    names = ["ship", "ship", "car", "car", "car", "car", "bus"]
    told = tw.evaluate(product, written(tmp_path, [square(*each) for each in at], crs, name=names), to=tmp_path / "out")
    assert (told["layer"], told["kind"], told["column"]) == ("things", "objects", "name")
    assert (told["n_labels"], told["n_product"], told["n_right"]) == (5, 6, 3)
    assert (told["n_outside"], told["n_unknown"]) == (1, 1)
    ship, car = told["per_class"]["ship"], told["per_class"]["car"]
    assert (ship["precision"], ship["recall"], ship["f1"]) == (2 / 3, 1, 0.8)
    assert (car["precision"], car["recall"], car["f1"]) == (1 / 3, 1 / 3, 1 / 3)
    assert ship["mean_iou"] == pytest.approx((1 + 18 / 22) / 2, abs=1e-3)
    assert ship["by_iou"]["0.8"] == 1
    # Above its overlap the second is wrong: a recall of a half, up to which the precision is 1, at 51 of 101 places.
    assert ship["by_iou"]["0.85"] == pytest.approx(51 / 101, abs=1e-9)
    assert car["average_precision"] == pytest.approx(34 / 101, abs=1e-9)
    lines = (tmp_path / "out" / "pairs.csv").read_text().splitlines()
    assert len(lines) == 1 + 5 + 3
    page = (tmp_path / "out" / "evaluation.html").read_text()
    assert page.count("<path") == 3
    assert "http" not in page.replace("Content-Security-Policy", "").replace("http-equiv", "")
    only = tw.evaluate(product, tmp_path / "l.parquet", ious=[0.85])
    assert (only["iou"], only["n_right"], only["per_class"]["ship"]["by_iou"]) == (
        0.85,
        2,
        {"0.85": ship["by_iou"]["0.85"]},
    )


def test_classes_are_mapped(product, tmp_path):
    at = written(tmp_path, [square(10, 10), square(10, 40)], kind=["tanker", "vehicle"])
    told = tw.evaluate(product, at, column="kind", maps={"ship": "tanker", "car": "vehicle"})
    assert told["n_right"] == 2
    told = tw.evaluate(product, at, column="kind", maps={"tanker": ["ship", "car"]})
    assert (told["classes"], told["n_product"], told["n_unknown"]) == (["tanker"], 6, 1)


def test_objects_need_polygons_and_their_class(product, tmp_path):
    there = [square(10, 10)]
    with pytest.raises(ValueError, match="Say with --column which column"):
        tw.evaluate(product, written(tmp_path, there))
    with pytest.raises(ValueError, match="holds points: objects are held against polygons"):
        tw.evaluate(product, written(tmp_path, [each.centroid for each in there], name=["ship"]))
    with pytest.raises(ValueError, match=r"'shp' \(did you mean 'ship'\?\)"):
        tw.evaluate(product, written(tmp_path, there, name=["shp"]))
    with pytest.raises(ValueError, match="--by groups pairs of layers"):
        tw.evaluate(product, written(tmp_path, there, name=["ship"]), by="name")
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        tw.evaluate(product, written(tmp_path, there, name=["ship"]), ious=[1.5])
    (product / "things.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="is no table of objects"):
        tw.evaluate(product, written(tmp_path, there, name=["ship"]))
