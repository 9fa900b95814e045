"""Objects with masks are published once each, the better one above, in any cut alike: held against a plain loop."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import rasterio.features
import xarray as xr

import tilewright as tw
from tests.support.detectors import CLASSES, LEAST, SPLIT
from tests.support.fields import field_world
from tests.support.segmenters import FAR, FORMS, HALF, NEAR, RULE, segmenter
from tests.support.worlds import area, layer, pixel_job
from tests.support.worlds import run as run_world
from tilewright.flows.maintain.rerun import rerun_item
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions

pytestmark = pytest.mark.usefixtures("small_pictures")
SIDE = 300
ROWS, COLS = (7, 270), (20, 290)


@pytest.fixture(scope="module")
def values():
    """Dim ground with bright spots, single ones and in heaps, some beside pixels that nobody saw."""
    random = np.random.default_rng(3)
    found = np.full((SIDE, SIDE), 900)
    spots = random.integers(0, SIDE, (240, 2))
    for top, left in ((120, 100), (60, 60), (70, 205), (190, 130)):
        spots = np.concatenate([spots, np.array([[top, left]]) + random.integers(0, 18, (16, 2))])
    # No two are of one score: which is the better is then the same for every reader.
    found[spots[:, 0], spots[:, 1]] = random.permutation(np.arange(4900, 6000))[: len(spots)]
    found[100:130, 200:215] = 0
    return found.astype(np.uint16)


@pytest.fixture(scope="module")
def world(tmp_path_factory, values):
    return field_world(tmp_path_factory.mktemp("world"), values)


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    return segmenter(tmp_path_factory.mktemp("card"), FORMS[0])


@pytest.fixture(scope="module")
def job_of(world, card):
    """Makes a job over the world with blocks of 64 px, or others."""

    def make(output, model=card, **changes):
        return pixel_job(world, model, output, rows=ROWS, cols=COLS, **{"tile": {"block": 64}, **changes})

    return make


@pytest.fixture(scope="module")
def product(tmp_path_factory, job_of):
    output = tmp_path_factory.mktemp("product") / "out"
    run_world(job_of(output))
    return output


def files(output):
    """What must not depend on the cut: the table, the layer as a file, and its pixels in the store."""
    with xr.open_zarr(str(Path(output) / "data.zarr"), consolidated=False) as store:
        pixels = store["things"].values
    return (output / "things.parquet").read_bytes(), (output / "things.tif").read_bytes(), pixels.tobytes()


def mask_of(row, col, kind):
    """The pixels of an object."""
    rows = range(row - HALF[kind], row + HALF[kind] + 1)
    return {(r, c) for r in rows for c in range(col - FAR, col + FAR + 1) if abs(c - col) >= NEAR}


def expected(values, inside, *, most=RULE["iou"], per_class=True):
    """Objects with pixels left, {their score: (class value, pixels)}: greedy, over the whole map, by masks' overlap.

    `inside` (y, x) is True in the area; all over the world's pixels.
    """
    scores = (values * np.float32(0.0001)).astype(np.float32)
    spots = [(-float(scores[r, c]), r, c) for r, c in zip(*np.nonzero((scores >= LEAST) & inside), strict=True)]
    left: list[tuple[float, int, set[tuple[int, int]]]] = []
    for negative, row, col in sorted(spots):
        kind = 7 if -negative > np.float32(SPLIT) else 3
        pixels = mask_of(row, col, kind)
        worse = (
            len(pixels & other) / len(pixels | other) > most for _, own, other in left if own == kind or not per_class
        )
        if not any(worse):
            left.append((-negative, kind, pixels))
    taken, found = set(), {}
    seen = inside & (values > 0)
    for score, kind, pixels in left:
        visible = {(r, c) for r, c in pixels if 0 <= r < SIDE and 0 <= c < SIDE and seen[r, c]} - taken
        taken |= visible
        if visible:
            found[round(score, 5)] = (kind, visible)
    return found


def check_against(output, wanted, seen):
    """Hold a product against such objects; `seen` (y, x) over its own pixels."""
    ids = layer(output, "things")
    found = geopandas.read_parquet(output / "things.parquet")
    assert ((ids >= 0) == seen).all()
    assert found.id.tolist() == list(range(1, len(found) + 1))
    by_score = dict(zip(found.score.round(5), found.itertuples(), strict=True))
    assert by_score.keys() == wanted.keys()
    names = {each["value"]: each["name"] for each in CLASSES}
    for score, (kind, pixels) in wanted.items():
        row = by_score[score]
        here = np.argwhere(ids == row.id) + np.array([[ROWS[0], COLS[0]]])
        assert {(int(r), int(c)) for r, c in here} == pixels
        assert (row.value, row.name) == (kind, names[kind])
        assert row.area_m2 == len(pixels) * 100
    assert found.geometry.is_valid.all()
    assert np.allclose(found.geometry.area, found.area_m2)
    assert np.allclose(found.geometry.length, found.perimeter_m)
    with rasterio.open(output / "things.tif") as dataset:
        burnt = rasterio.features.rasterize(
            zip(found.geometry, found.id, strict=True), dataset.shape, transform=dataset.transform, dtype="int32"
        )
    assert (burnt == np.maximum(ids, 0)).all()
    return found


def box(values):
    """True in the product's own rows and columns, over the world's pixels."""
    inside = np.zeros(values.shape, dtype=bool)
    inside[slice(*ROWS), slice(*COLS)] = True
    return inside


def test_every_object_is_found_once_and_the_better_one_lies_above(product, values):
    wanted = expected(values, box(values))
    found = check_against(product, wanted, values[slice(*ROWS), slice(*COLS)] > 0)
    assert len(found) > 150
    assert (found.geometry.geom_type == "MultiPolygon").sum() > 100
    assert list(found.columns)[:5] == ["id", "value", "name", "score", "area_m2"]
    report = json.loads((product / "report.json").read_text())
    assert report["layers"][0]["objects"]["count"] == len(found)
    assert [each["name"] for each in report["tables"][0]["classes"]] == ["small", "large"]
    assert len(tw.open(str(product)).tables["things"]) == len(found)


@pytest.mark.parametrize("form", FORMS[1:])
def test_every_export_form_tells_the_same_objects(product, job_of, tmp_path, form):
    run_world(job_of(tmp_path / "out", segmenter(tmp_path / "card", form)))
    assert files(tmp_path / "out") == files(product)


@pytest.mark.parametrize("rule", [{"per_class": False}, {"iou": 0.0}, {"iou": 1.0}], ids=str)
def test_the_rule_is_the_cards(values, job_of, tmp_path, rule):
    run_world(job_of(tmp_path / "out", segmenter(tmp_path / "card", FORMS[0], rule=rule)))
    most, per_class = rule.get("iou", RULE["iou"]), rule.get("per_class", True)
    wanted = expected(values, box(values), most=most, per_class=per_class)
    check_against(tmp_path / "out", wanted, values[slice(*ROWS), slice(*COLS)] > 0)


CUTS = {"blocks of 128": {"tile": {"block": 128}}, "blocks of 256": {"tile": {"block": 256}}}


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("name", CUTS)
def test_the_files_are_the_same_in_every_cut(product, job_of, tmp_path, name, workers):
    run_world(job_of(tmp_path / "out", **CUTS[name]), workers=workers)
    assert files(tmp_path / "out") == files(product)


def test_the_same_on_a_cluster(product, job_of, tmp_path):
    run_job(job_of(tmp_path / "out"), RunOptions(runner="dask", workers=2))
    assert files(tmp_path / "out") == files(product)


def test_an_object_counts_where_its_centre_lies_and_has_its_pixels_inside(values, job_of, tmp_path):
    run_world(job_of(tmp_path / "out", area=area((40, 200), (50, 180))))
    ids = layer(tmp_path / "out", "things")
    inside = np.zeros(values.shape, dtype=bool)
    inside[slice(*ROWS), slice(*COLS)] = ids >= 0
    check_against(tmp_path / "out", expected(values, inside), ids >= 0)


def test_kept_blocks_keep_their_masks_and_a_rerun_finds_the_same(product, job_of, tmp_path):
    out = tmp_path / "out"
    run_world(job_of(out))
    for gone in ("item.json", "things.parquet"):
        (out / gone).unlink()
    assert run_world(job_of(out)).report["blocks_made"] == 0
    assert files(out) == files(product)
    part = min((out / ".tilewright/boxes/things").iterdir())
    part.write_bytes(part.read_bytes()[:-1] + b"\x55")
    (out / "item.json").unlink()
    assert run_world(job_of(out)).report["blocks_made"] == 1
    assert files(out) == files(product)
    again = rerun_item(str(out / "item.json"), output=str(tmp_path / "again"))
    assert again["identical"]


def test_replacing_the_product_leaves_none_of_its_masks(world, card, job_of, tmp_path):
    run_world(job_of(tmp_path / "out"))
    small = pixel_job(world, card, tmp_path / "out", rows=(7, 60), cols=(20, 60), tile={"block": 64})
    run_job(small, RunOptions(workers=1, replace=True))
    n_parts = len(list((tmp_path / "out/.tilewright/boxes/things").iterdir()))
    assert n_parts <= json.loads((tmp_path / "out/report.json").read_text())["blocks"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"augment": "flips"}, "augment: small finds masks"),
        ({"precision": "bf16"}, "small finds masks"),
        ({"fuse": "yes"}, "fuse: yes cannot be: small finds masks"),
        ({"grid": {"crs": "EPSG:4326", "resolution": 0.0001, "bounds": None}}, "objects have areas in square metres"),
        ({"polygons": "things"}, r"polygons.things: the layer has its objects in things.parquet already"),
    ],
    ids=lambda each: str(each)[:30],
)
def test_what_masks_cannot_be_is_refused(job_of, tmp_path, changes, words):
    with pytest.raises(ValueError, match=words):
        run_world(job_of(tmp_path / "out", **changes))
    assert not (tmp_path / "out").exists()


def test_a_map_of_classes_stands_beside_the_objects(product, values, job_of, tmp_path):
    card = segmenter(tmp_path / "card", FORMS[1], classes=True)
    run_world(job_of(tmp_path / "out", card))
    assert files(tmp_path / "out") == files(product)
    part = values[slice(*ROWS), slice(*COLS)]
    assert (layer(tmp_path / "out", "class") == np.where(part == 0, 255, part < LEAST * 10_000)).all()
    assert run_world(job_of(tmp_path / "alone", card, layers=["class"])).report.get("tables") is None
    assert not list((tmp_path / "alone").glob("things*"))
