"""Boxes of detectors are published with the product: each thing once, the same table in every cut."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely

import tilewright as tw
from tests.support.detectors import CLASSES, FORMS, LEAST, RULE, SIDE_PX, SPLIT, detector
from tests.support.output_places import open_place
from tests.support.worlds import CRS, World, area, bounds, pixel_job
from tests.support.worlds import run as run_world
from tilewright.flows.maintain.clean import clean_output
from tilewright.flows.maintain.rerun import rerun_item
from tilewright.flows.maintain.status import product_status
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.progress import Advance

pytestmark = pytest.mark.usefixtures("small_pictures")
SIDE = 300
ROWS, COLS = (7, 270), (20, 290)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Dim ground with bright spots, single ones and heaps, some of which nobody saw."""
    made = World(tmp_path_factory.mktemp("world"))
    random = np.random.default_rng(3)
    values = np.full((SIDE, SIDE), 900)
    spots = random.integers(0, SIDE, (600, 2))
    values[spots[:, 0], spots[:, 1]] = random.integers(4900, 6000, 600)
    # Heaps across the seams of windows, which lie every 64 px.
    values[120:136, 100:120] = random.integers(5000, 6000, (16, 20))
    values[60:70, 60:220] = random.integers(5000, 6000, (10, 160))
    values[100:130, 200:215] = 0
    made.add(values.astype(np.uint16), "red", day="2023-06-01", nodata=0, scale=0.0001, offset=0, unit="reflectance")
    made.values = values
    return made


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    return detector(tmp_path_factory.mktemp("card"), FORMS[0])


def table(output, name="things"):
    return geopandas.read_parquet(Path(output) / f"{name}.parquet")


def expected(values, rows=ROWS, cols=COLS, *, most=RULE["iou"], per_class=True):
    """(row, col, value, score) of the things left, by greedy suppression over the whole map."""
    scores = (values[slice(*rows), slice(*cols)] * np.float32(0.0001)).astype(np.float32)
    found = [(-float(scores[r, c]), r, c) for r, c in zip(*np.nonzero(scores >= LEAST), strict=True)]
    left, n_left = np.empty((len(found), 3), np.int64), 0
    scores_left = []
    for score, row, col in sorted(found):
        kind = 7 if -score > np.float32(SPLIT) else 3
        rows_left, cols_left, kinds_left = left[:n_left].T
        high = np.maximum(0, SIDE_PX - np.abs(row - rows_left))
        shared = high * np.maximum(0, SIDE_PX - np.abs(col - cols_left))
        if ((shared / (2 * SIDE_PX**2 - shared) > most) & ((kinds_left == kind) | (not per_class))).any():
            continue
        left[n_left] = row, col, kind
        n_left += 1
        scores_left.append(round(-score, 5))
    told = zip(left[:n_left].tolist(), scores_left, strict=True)
    return {(row + rows[0], col + cols[0], kind, score) for (row, col, kind), score in told}


def rows_of(found, world_rows=ROWS, world_cols=COLS):
    """The same of a table."""
    left, _, _, top = bounds(world_rows, world_cols)
    centres = shapely.centroid(found.geometry.to_numpy())
    cols = np.floor((shapely.get_x(centres) - left) / 10).astype(int) + world_cols[0]
    rows = np.floor((top - shapely.get_y(centres)) / 10).astype(int) + world_rows[0]
    told = zip(rows, cols, found.value, found.score, strict=True)
    return {(int(row), int(col), int(value), round(float(score), 5)) for row, col, value, score in told}


def test_every_thing_is_found_once_wherever_windows_meet(world, card, tmp_path):
    output = tmp_path / "out"
    report = run_world(pixel_job(world, card, output, rows=ROWS, cols=COLS)).report
    found = table(output)
    assert rows_of(found) == expected(world.values)
    assert len(found) > 300
    assert found.id.tolist() == list(range(1, len(found) + 1))
    assert np.allclose(found.area_m2, (SIDE_PX * 10) ** 2)
    assert np.allclose(found.geometry.area, found.area_m2)
    assert found.geometry.is_valid.all()
    assert found.crs.to_epsg() == int(CRS.split(":")[1])
    names = {each["value"]: each["name"] for each in CLASSES}
    assert (found.name == found.value.map(names)).all()
    assert report["tables"] == [{"file": "things.parquet", "rows": len(found), **report["tables"][0]}]
    item = json.loads((output / "item.json").read_text())
    assert item["assets"]["things"]["type"] == "application/vnd.apache.parquet"
    assert len(tw.open(str(output)).tables["things"]) == len(found)
    assert [each["color"] for each in report["tables"][0]["classes"]] == [None, "FF0000"]
    page = (output / "report.html").read_text()
    assert "things.parquet" in page
    assert "over the pixels that have one" not in page
    assert "FF0000" in (output / "things.qml").read_text().upper() or "255,0,0" in (output / "things.qml").read_text()


@pytest.mark.parametrize("form", FORMS[1:])
def test_every_export_form_tells_the_same_things(world, card, tmp_path, form):
    other = detector(tmp_path / "card", form)
    run_world(pixel_job(world, other, tmp_path / "out", rows=ROWS, cols=COLS))
    assert rows_of(table(tmp_path / "out")) == expected(world.values)


@pytest.mark.parametrize("rule", [{"per_class": False}, {"iou": 0.0}, {"iou": 1.0}], ids=str)
def test_the_rule_is_the_cards(world, tmp_path, rule):
    run_world(
        pixel_job(world, detector(tmp_path / "card", FORMS[0], rule=rule), tmp_path / "out", rows=ROWS, cols=COLS)
    )
    wanted = expected(world.values, most=rule.get("iou", RULE["iou"]), per_class=rule.get("per_class", True))
    assert rows_of(table(tmp_path / "out")) == wanted


CUTS = {
    "blocks of 64": {"tile": {"block": 64}},
    "blocks of 128": {"tile": {"block": 128}},
    "Zarr 2": {"zarr_format": 2},
}


@pytest.mark.parametrize("name", CUTS)
@pytest.mark.parametrize("workers", [1, 4])
def test_the_file_is_the_same_in_every_cut(world, card, tmp_path, name, workers):
    run_world(pixel_job(world, card, tmp_path / "one", rows=ROWS, cols=COLS))
    run_world(pixel_job(world, card, tmp_path / "two", rows=ROWS, cols=COLS, **CUTS[name]), workers=workers)
    one, two = ((tmp_path / each / "things.parquet").read_bytes() for each in ("one", "two"))
    assert one == two


def test_nothing_outside_the_area_counts(world, card, tmp_path):
    outline = area((40, 200), (50, 180))
    job = pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, area=outline)
    run_world(job)
    found = rows_of(table(tmp_path / "out"))
    assert found
    assert all(39 <= row <= 201 and 49 <= col <= 181 for row, col, _, _ in found)


def test_an_update_keeps_blocks_and_their_boxes_and_a_rerun_finds_the_same(world, card, tmp_path):
    job = pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, tile={"block": 64})
    run_world(job)
    content = (tmp_path / "out/things.parquet").read_bytes()
    (tmp_path / "out/item.json").unlink()
    (tmp_path / "out/things.parquet").unlink()
    report = run_world(job).report
    assert report["blocks_made"] == 0
    assert (tmp_path / "out/things.parquet").read_bytes() == content
    part = min((tmp_path / "out/.tilewright/boxes/things").iterdir())
    part.write_bytes(part.read_bytes()[:-8] + b"\0" * 8)
    (tmp_path / "out/item.json").unlink()
    assert run_world(job).report["blocks_made"] == 1
    assert (tmp_path / "out/things.parquet").read_bytes() == content
    again = rerun_item(str(tmp_path / "out/item.json"), output=str(tmp_path / "again"))
    assert again["layers"] == {"things": True}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"augment": "flips"}, "augment: small finds boxes"),
        ({"ensemble": "twice"}, "ensemble: small finds boxes"),
        ({"precision": "bf16"}, "small finds boxes"),
        ({"fuse": "yes"}, "fuse: yes cannot be: small finds boxes"),
        ({"grid": {"crs": "EPSG:4326", "resolution": 0.0001, "bounds": None}}, "boxes have areas in square metres"),
        ({"layers": ["things"]}, "layers: things not given by small"),
        ({"polygons": "things"}, "polygons: 'things' is no layer"),
    ],
    ids=lambda each: str(each)[:30],
)
def test_what_boxes_cannot_be_is_refused(world, card, tmp_path, changes, words):
    if changes.pop("ensemble", ""):
        changes = {"ensemble": [str(card)]}
    with pytest.raises(ValueError, match=words):
        run_world(pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, **changes))
    assert not (tmp_path / "out").exists()


def test_the_same_on_a_cluster(world, card, tmp_path):
    run_world(pixel_job(world, card, tmp_path / "one", rows=ROWS, cols=COLS, tile={"block": 64}))
    job = pixel_job(world, card, tmp_path / "two", rows=ROWS, cols=COLS, tile={"block": 64})
    run_job(job, RunOptions(runner="dask", workers=2))
    one, two = ((tmp_path / each / "things.parquet").read_bytes() for each in ("one", "two"))
    assert one == two


def test_in_a_bucket_a_run_broken_off_ends_as_the_whole_one_and_clean_keeps_what_counts(
    world, card, tmp_path, moto, monkeypatch
):
    storage = open_place("bucket", tmp_path, monkeypatch, moto)
    run_world(pixel_job(world, card, tmp_path / "one", rows=ROWS, cols=COLS, tile={"block": 64}))
    one = (tmp_path / "one/things.parquet").read_bytes()
    job = pixel_job(world, card, tmp_path / "two", rows=ROWS, cols=COLS, tile={"block": 64})
    job = job.model_copy(update={"output": storage.uri})
    n_blocks = []

    def breaking(event):
        n_blocks.append(isinstance(event, Advance) and bool(event.block))
        if sum(n_blocks) == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(job, RunOptions(workers=1), listener=breaking)
    assert storage.read("item.json") is None
    clean_output(storage.uri)
    report = run_job(job, RunOptions(workers=2)).report
    assert 0 < report["blocks_made"] < report["blocks"]
    assert storage.read("things.parquet") == one
    storage.delete(["things.parquet", "item.json"])
    report = run_job(job, RunOptions(workers=2)).report
    assert report["blocks_made"] == 0
    assert storage.read("things.parquet") == one
    clean_output(storage.uri)
    assert storage.read("things.parquet") == one
    assert product_status(storage.uri)["state"] == "complete"


def test_replacing_the_product_leaves_none_of_its_boxes(world, card, tmp_path):
    job = pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, tile={"block": 64})
    run_world(job)
    small = pixel_job(world, card, tmp_path / "out", rows=(7, 60), cols=(20, 60), tile={"block": 64})
    run_job(small, RunOptions(workers=1, replace=True))
    n_parts = len(list((tmp_path / "out/.tilewright/boxes/things").iterdir()))
    assert n_parts <= json.loads((tmp_path / "out/report.json").read_text())["blocks"]
    assert rows_of(table(tmp_path / "out"), (7, 60), (20, 60)) == expected(world.values, (7, 60), (20, 60))


def with_classes(folder, classes):
    detector(folder, FORMS[0])
    plain = json.loads((folder / "card.json").read_text())
    plain["properties"]["mlm:output"][0]["classification:classes"] = classes
    (folder / "card.json").write_text(json.dumps(plain))
    return folder


EVERY = [{"value": value, "name": f"c{value}"} for value in range(255)]


@pytest.mark.parametrize("classes", [CLASSES[1:], EVERY], ids=["one class", "every class a byte has"])
def test_a_card_has_any_number_of_classes(world, tmp_path, classes):
    run_world(pixel_job(world, with_classes(tmp_path / "card", classes), tmp_path / "out", rows=ROWS, cols=COLS))
    values = {each["value"] for each in classes}
    assert rows_of(table(tmp_path / "out")) == {row for row in expected(world.values) if row[2] in values}


def test_where_nothing_is_found_the_table_is_empty_and_whole(world, tmp_path):
    card = detector(tmp_path / "card", FORMS[0], rule={"least_score": 1})
    report = run_world(pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS)).report
    found = table(tmp_path / "out")
    assert found.crs.to_epsg() == int(CRS.split(":")[1])
    assert (len(found), report["tables"][0]["rows"]) == (0, 0)
    assert set(found.columns) >= {"id", "value", "name", "score", "area_m2", "geometry"}
    assert len(tw.open(str(tmp_path / "out")).tables["things"]) == 0


@pytest.mark.parametrize("how", ["update", "replace"])
def test_another_table_leaves_nothing_of_the_former(world, card, tmp_path, how):
    def renamed(entry):
        return {**entry, "tw:layers": ["ships"]}

    other = detector(tmp_path / "card", FORMS[0])
    plain = json.loads((other / "card.json").read_text())
    plain["properties"]["mlm:output"] = [renamed(each) for each in plain["properties"]["mlm:output"]]
    (other / "card.json").write_text(json.dumps(plain))
    run_world(pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, tile={"block": 128}))
    content = (tmp_path / "out/things.parquet").read_bytes()
    job = pixel_job(world, other, tmp_path / "out", rows=ROWS, cols=COLS, tile={"block": 128})
    run_job(job, RunOptions(workers=1, update=how == "update", replace=how == "replace"))
    assert [str(path) for path in (tmp_path / "out").rglob("*things*")] == []
    assert (tmp_path / "out/ships.parquet").read_bytes() == content


def test_a_product_without_layers_has_no_parts(tmp_path, card):
    world = World(tmp_path / "world")
    world.add(np.full((700, 700), 900, np.uint16), "red", day="2023-06-01", scale=0.0001, unit="reflectance", nodata=0)
    run_world(pixel_job(world, card, tmp_path / "out", rows=(7, 690), cols=(10, 690), cog={"max_side": 512}))
    record = json.loads((tmp_path / "out/.tilewright/files.json").read_text())
    assert {"things.parquet", "item.json"} <= {*record["files"]}
    assert [name for name in record["files"] if not (tmp_path / "out" / name).exists()] == []
    assert record["ids"] == ["world"]
