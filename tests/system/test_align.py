"""Dates moved onto one of them: a change map of ground that only lay elsewhere is empty, however the work is cut."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.families import FLOAT
from tests.support.graphs import Draft
from tests.support.products import writing_worker
from tests.support.shifted import ground, shifted
from tests.support.worlds import World, area, layer, pixel_job, run, write_card
from tilewright.flows.job.job import JobError, make_job
from tilewright.flows.plan.make import plan_job
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.block.block_key import block_key
from tilewright.tasks.block.split import do_block_in_parts
from tilewright.tasks.block.worker import WorkerSettings

pytestmark = pytest.mark.usefixtures("small_pictures")

SIDE = 640
PERIOD = {"before": "2023-06-01/2023-06-30", "after": "2023-09-01/2023-09-30"}
ROWS = COLS = (200, 456)
INNER = slice(*ROWS), slice(*COLS)
GROUND = ground(5, size=SIDE)
MOST = 60


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    """The difference of the dates of a pair, as it is."""
    draft = Draft()
    first, second = (draft.node("Gather", "x", draft.constant(np.array(number)), axis=1) for number in (0, 1))
    model = draft.model_many(
        [("x", FLOAT, ["batch", 2, 1, "h", "w"])],
        [(draft.node("Sub", second, first), "y", FLOAT, ["batch", 1, "h", "w"])],
    )
    return write_card(
        tmp_path_factory.mktemp("card"),
        model,
        inputs=[
            {
                "name": "x",
                "bands": ["red"],
                "dims": ["batch", "time", "bands", "height", "width"],
                "tw:dates": {"kind": "pair", "reducer": "median"},
            }
        ],
        outputs=[{"name": "y", "tw:layers": ["change"]}],
    )


def world_of(folder: Path, after: np.ndarray, before: np.ndarray = GROUND) -> World:
    world = World(folder / "scenes")
    for values, day in ((before, "2023-06-10"), (after, "2023-09-10")):
        world.add(values, "red", day=day, unit="reflectance")
    return world


@pytest.fixture
def produce(card, tmp_path):
    """Makes (change map, report) of a world whose second date is given, by a job with these changes."""

    def make(world, name="out", *, workers=1, rows=ROWS, cols=COLS, **changes):
        given = {"period": PERIOD, "align": {"to": "before", "most": MOST}, **changes}
        outcome = run(pixel_job(world, card, tmp_path / name, rows=rows, cols=cols, **given), workers=workers)
        return layer(outcome.output, "change"), outcome.report

    return make


@pytest.mark.parametrize(("east", "north"), [(3, -2), (0, 1), (-1.5, 0.75), (2.25, 2.5)])
def test_ground_that_only_lies_elsewhere_has_not_changed(produce, tmp_path, east, north):
    world = world_of(tmp_path, shifted(GROUND, east, north))
    plain, report = produce(world, "plain", align=None)
    assert "align" not in report
    moved, report = produce(world, "moved")
    assert np.isfinite(moved).all()
    # What resampling to whole pixels from eighths smooths away is left.
    assert np.abs(moved).mean() < 0.15 * np.abs(plain).mean()
    (told,) = report["align"]["steps"]
    assert (told["step"], told["band"], told["input"]) == ("after", "red", "x")
    assert (told["shift_x"], told["shift_y"]) == pytest.approx((10 * east, 10 * north), abs=0.6)
    assert told["residual"] < 0.5
    assert told["windows_used"] == told["windows"] > 0
    assert report["job"]["align"] == {"to": "before", "most": MOST}


def test_whole_pixels_are_moved_and_not_touched(produce, tmp_path):
    before, after = GROUND.astype(np.float32), shifted(GROUND, 3, -2).astype(np.float32)
    moved, _ = produce(world_of(tmp_path, after, before))
    np.testing.assert_array_equal(moved, (np.roll(after, (-2, -3), axis=(0, 1)) - before)[INNER])


def bent(values: np.ndarray) -> np.ndarray:
    """The ground as a sensor bends it: from one pixel west to three east over the world, half a pixel south."""
    from scipy import ndimage

    rows, cols = np.mgrid[0:SIDE, 0:SIDE].astype(float)
    return ndimage.map_coordinates(values, [rows - 0.5, cols - (4 * cols / SIDE - 1)], order=5, mode="mirror")


@pytest.fixture
def bent_world(tmp_path):
    after = bent(GROUND)
    # A cloud and a mask of classes that both move with the ground.
    after[300:330, 260:300] = np.nan
    return world_of(tmp_path, after.astype(np.float32))


def test_a_field_follows_a_shift_that_changes_over_the_ground(produce, bent_world):
    plain, _ = produce(bent_world, "plain", align=None)
    moved, report = produce(bent_world, "moved")
    seen = np.isfinite(moved) & np.isfinite(plain)
    assert np.abs(moved[seen]).mean() < 0.25 * np.abs(plain[seen]).mean()
    assert report["align"]["steps"][0]["windows_used"] > 0
    # The hole of the cloud lies where its ground is: some two pixels to the west, half a pixel up.
    holes = [np.argwhere(~np.isfinite(each)).mean(axis=0) for each in (plain, moved)]
    assert (holes[1] - holes[0]).tolist() == pytest.approx([-0.5, -0.75], abs=0.6)


def test_each_step_of_a_series_is_moved_onto_the_one_that_is_named(tmp_path):
    """Four months, of which the third is the reference and the last has no scene."""
    draft = Draft()
    model = draft.model_many(
        [("x", FLOAT, ["batch", 4, 1, "h", "w"])],
        [(draft.node("ReduceMean", "x", axes=[1], keepdims=0), "y", FLOAT, ["batch", 1, "h", "w"])],
    )
    series = {"kind": "series", "steps": 4, "every": "month", "reducer": "median"}
    card = write_card(
        tmp_path / "card",
        model,
        inputs=[
            {
                "name": "x",
                "bands": ["red"],
                "dims": ["batch", "time", "bands", "height", "width"],
                "tw:dates": series,
                "tw:missing": {"fill": "nearest-date"},
            }
        ],
        outputs=[{"name": "y", "tw:layers": ["mean"]}],
    )
    world = World(tmp_path / "scenes")
    shifts = {"2023-04": (2, 0), "2023-05": (-1.5, 1), "2023-06": (0, 0)}
    for month, (east, north) in shifts.items():
        for day in ("04", "14"):
            world.add(shifted(GROUND, east, north), "red", day=f"{month}-{day}", unit="reflectance")
    asked = {"period": "2023-04-01/2023-07-31", "align": {"to": "2023-06", "most": MOST}}
    outcome = run(pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, **asked))
    told = {row["step"]: (row["shift_x"], row["shift_y"]) for row in outcome.report["align"]["steps"]}
    assert told.keys() == {"2023-04", "2023-05"}
    for month, (x, y) in told.items():
        assert (x, y) == pytest.approx(tuple(10 * each for each in shifts[month]), abs=0.6)
    assert np.abs(layer(outcome.output, "mean") - GROUND[INNER]).mean() < 0.002
    page = Path(outcome.output, "report.html").read_text()
    assert "2023-04 moved by" in page


@pytest.mark.parametrize(("block", "workers"), [(64, 4), (128, 1)])
def test_the_product_does_not_depend_on_how_the_work_was_cut(produce, bent_world, block, workers):
    whole, report = produce(bent_world, "whole")
    cut, told = produce(bent_world, "cut", tile={"block": block}, workers=workers)
    np.testing.assert_array_equal(cut, whole)
    assert told["align"] == report["align"]
    rows, cols = (250, 400), (230, 410)
    part, _ = produce(bent_world, "part", rows=rows, cols=cols)
    inside = whole[rows[0] - ROWS[0] : rows[1] - ROWS[0], cols[0] - COLS[0] : cols[1] - COLS[0]]
    np.testing.assert_array_equal(part, inside)


def test_a_block_done_in_parts_is_the_same(produce, bent_world, tmp_path):
    produce(bent_world)
    entries = [json.loads(path.read_text()) for path in (tmp_path / "out/.tilewright/ledger").iterdir()]
    worker = writing_worker(str(tmp_path / "out"), WorkerSettings(provider="cpu"))
    for entry in entries:
        again = do_block_in_parts(worker, worker.plan.raster.block(entry["row"], entry["col"]), parts=2).to_json()
        assert again["checksums"] == entry["checksums"]
        for name, told in entry["aligned"].items():
            assert {key: sorted(each) for key, each in again["aligned"][name].items()} == {
                key: sorted(each) for key, each in told.items()
            }


@pytest.mark.parametrize("aligned", [True, False])
def test_a_scene_that_only_shifts_depend_on_is_in_the_key_of_a_block(bent_world, card, tmp_path, aligned):
    """It ends three kilometres above the blocks, out of reach of footprints, but in a window of the first ones."""

    def keys():
        changes = {"align": {"to": "before", "most": MOST}} if aligned else {}
        plan = plan_job(pixel_job(bent_world, card, tmp_path / "out", rows=ROWS, cols=COLS, period=PERIOD, **changes))
        return {(block.row, block.col): block_key(plan, block) for block in plan.raster.all_blocks()}

    before = keys()
    bent_world.add(GROUND[:28], "red", day="2023-06-12", at=(-128, 0), unit="reflectance")
    after = keys()
    first_row = [place for place in before if place[0] == min(before)[0]]
    assert 0 < len(first_row) < len(before)
    assert [place for place in before if before[place] != after[place]] == (first_row if aligned else [])


def test_a_later_scene_makes_anew_what_is_moved_by_it(produce, bent_world, card, tmp_path):
    produce(bent_world)
    bent_world.add(GROUND[:120], "red", day="2023-06-12", unit="reflectance")
    given = {"period": PERIOD, "align": {"to": "before", "most": MOST}}
    job = pixel_job(bent_world, card, tmp_path / "out", rows=ROWS, cols=COLS, **given)
    updated = run_job(job, RunOptions(update=True))
    fresh, _ = produce(bent_world, "fresh")
    np.testing.assert_array_equal(layer(updated.output, "change"), fresh)


def test_the_same_on_a_cluster(produce, bent_world, card, tmp_path):
    here, report = produce(bent_world, "here")
    given = {"period": PERIOD, "align": {"to": "before", "most": MOST}, "tile": {"block": 64}}
    job = pixel_job(bent_world, card, tmp_path / "there", rows=ROWS, cols=COLS, **given)
    there = run_job(job, RunOptions(runner="dask", workers=2))
    np.testing.assert_array_equal(layer(there.output, "change"), here)
    assert there.report["align"] == report["align"]


def test_longer_shifts_than_allowed_are_left_and_said(produce, tmp_path):
    world = world_of(tmp_path, shifted(GROUND, 5, 0))
    plain, _ = produce(world, "plain", align=None)
    moved, report = produce(world, "moved", align={"most": 30})
    np.testing.assert_array_equal(moved, plain)
    (told,) = report["align"]["steps"]
    assert told["windows_beyond_most"] == told["windows"] > 0
    assert (told["windows_used"], told["shift_x"], told["residual"]) == (0, None, None)


@pytest.mark.parametrize("what", ["flat", "other"])
def test_what_cannot_be_matched_stays_where_it_is(produce, tmp_path, what):
    after = np.full((SIDE, SIDE), 0.2) if what == "flat" else ground(6, size=SIDE)
    world = world_of(tmp_path, after)
    plain, _ = produce(world, "plain", align=None)
    moved, report = produce(world, "moved")
    np.testing.assert_array_equal(moved, plain)
    assert report["align"]["steps"][0]["used_percent"] == 0


@pytest.fixture
def cloud_card(tmp_path):
    """Cloud where blue is above a half."""
    draft = Draft()
    cloud = draft.node("Sub", "x", draft.constant([0.5]))
    scores = draft.node("Concat", draft.node("Neg", cloud), cloud, axis=1)
    return write_card(
        tmp_path / "clouds",
        draft.model_many([("x", FLOAT, ["batch", 1, "h", "w"])], [(scores, "which", FLOAT, ["batch", 2, "h", "w"])]),
        name="clouds",
        inputs=[{"name": "x", "bands": ["blue"]}],
        outputs=[{"name": "which", "classes": ["clear", "cloud"], "tw:layers": ["class"]}],
    )


@pytest.mark.parametrize("kind", ["scl", "model"])
def test_masks_of_classes_and_models_move_with_their_scene(produce, cloud_card, tmp_path, monkeypatch, kind):
    """A square is masked: after the move it is missing where the square's ground is, by whole pixels."""
    monkeypatch.setenv("TILEWRIGHT_CACHE", str(tmp_path / "cache"))
    east, north = 3, -2
    world = world_of(tmp_path, shifted(GROUND, east, north))
    cloudy = np.zeros((SIDE, SIDE), bool)
    cloudy[300:320, 280:310] = True
    for day, here in (("2023-06-10", np.zeros_like(cloudy)), ("2023-09-10", cloudy)):
        world.add(np.where(here, 9, 4).astype(np.uint8), "scl", day=day, nodata=0, unit="class")
        world.add(np.where(here, 0.9, 0.1).astype(np.float32), "blue", day=day, unit="reflectance")
    mask = {"scl": {"kind": "scl"}, "model": {"kind": "model", "model": str(cloud_card), "drop": ["cloud"]}}[kind]
    moved, _ = produce(world, mask=mask)
    expected = np.zeros((SIDE, SIDE), bool)
    expected[300 + north : 320 + north, 280 - east : 310 - east] = True
    np.testing.assert_array_equal(~np.isfinite(moved), expected[INNER])


def test_a_grid_that_is_no_files_own_and_another_engine_give_the_same_kind_of_map(produce, bent_world):
    grid = {"grid": {"resolution": 12.5}}
    plain, _ = produce(bent_world, "plain", align=None, **grid)
    moved, _ = produce(bent_world, "moved", **grid)
    seen = np.isfinite(moved) & np.isfinite(plain)
    assert np.abs(moved[seen]).mean() < 0.4 * np.abs(plain[seen]).mean()
    other, _ = produce(bent_world, "odc", engine="odc", **grid)
    np.testing.assert_array_equal(other, moved)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"align": {"most": 0}}, "align.most"),
        ({"align": {"most": -5}}, "align.most"),
        ({"align": {"to": "before"}}, "align.most"),
        ({"align": {"to": "befor", "most": 30}}, "has no step 'befor': give first, or one of before, after"),
        ({"align": {"most": 30, "band": "nir"}}, "does not read 'nir'"),
        ({"align": {"most": 30, "by": 2}}, "align.by"),
        ({"align": {"most": 5000}}, "which are 640 m here"),
        ({"precision": "bf16"}, "precision"),
        ({"filter": {"clearest": {"most": 2, "by": "pixels"}}}, "filter.clearest"),
    ],
)
def test_what_cannot_be_is_refused_before_pixels_are_read(card, tmp_path, changes, said):
    world = world_of(tmp_path, GROUND)
    given = {"period": PERIOD, "align": {"to": "before", "most": 30}, **changes}
    with pytest.raises(JobError, match=said):
        plan_job(pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, **given))


def test_inputs_of_several_grids_are_each_moved_by_their_own_windows(tmp_path):
    """A pair at 20 m beside one at 10 m, and a picture of one date that stays; the cut starts at an odd pixel."""
    draft = Draft()
    pairs = [
        draft.node("Sub", *(draft.node("Gather", name, draft.constant(np.array(at)), axis=1) for at in (1, 0)))
        for name in ("fine", "coarse")
    ]
    model = draft.model_many(
        [
            ("fine", FLOAT, ["batch", 2, 1, "h", "w"]),
            ("coarse", FLOAT, ["batch", 2, 1, "hc", "wc"]),
            ("still", FLOAT, ["batch", 1, "h", "w"]),
        ],
        [
            (pairs[0], "y", FLOAT, ["batch", 1, "h", "w"]),
            (pairs[1], "z", FLOAT, ["batch", 1, "hc", "wc"]),
            (draft.node("Identity", "still"), "s", FLOAT, ["batch", 1, "h", "w"]),
        ],
    )
    dims = ["batch", "time", "bands", "height", "width"]
    card = write_card(
        tmp_path / "card",
        model,
        inputs=[
            {"name": "fine", "bands": ["red"], "dims": dims, "tw:dates": {"kind": "pair"}, "tw:resolution": 10},
            {"name": "coarse", "bands": ["nir"], "dims": dims, "tw:dates": {"kind": "pair"}, "tw:resolution": 20},
            {"name": "still", "bands": ["red"], "tw:dates": {"kind": "static"}, "tw:resolution": 10},
        ],
        outputs=[
            {"name": "y", "tw:layers": ["fine"]},
            {"name": "z", "tw:layers": ["coarse"], "tw:scale": 0.5},
            {"name": "s", "tw:layers": ["still"]},
        ],
    )
    world, size = World(tmp_path / "scenes"), 800
    fine, coarse = ground(1, size=size), ground(2, size=size // 2)
    for day, reds, nirs in (
        ("2023-06-10", fine, coarse),
        ("2023-09-10", shifted(fine, 2, 1), shifted(coarse, -1, 2)),
    ):
        world.add(reds, "red", day=day, unit="reflectance")
        world.add(nirs, "nir", day=day, unit="reflectance", size=20.0)
    asked = {"period": PERIOD, "align": {"most": MOST}, "rows": (301, 521), "cols": (301, 521)}
    outcome = run(pixel_job(world, card, tmp_path / "out", **asked))
    told = {row["input"]: (row["shift_x"], row["shift_y"], row["band"]) for row in outcome.report["align"]["steps"]}
    assert told["fine"] == (pytest.approx(20, abs=0.6), pytest.approx(10, abs=0.6), "red")
    assert told["coarse"] == (pytest.approx(-20, abs=1.2), pytest.approx(40, abs=1.2), "nir")
    assert told.keys() == {"fine", "coarse"}
    assert np.abs(layer(outcome.output, "fine")).max() < 1e-6
    plain = run(pixel_job(world, card, tmp_path / "plain", **{**asked, "align": None}))
    np.testing.assert_array_equal(layer(outcome.output, "still"), layer(plain.output, "still"))
    assert np.nanmean(np.abs(layer(plain.output, "coarse"))) > 0.01
    assert np.nanmean(np.abs(layer(outcome.output, "coarse"))) < 1e-6
    cut = run(pixel_job(world, card, tmp_path / "cut", tile={"block": 64}, **asked), workers=4)
    assert cut.report["align"] == outcome.report["align"]
    for name in ("fine", "coarse", "still"):
        np.testing.assert_array_equal(layer(cut.output, name), layer(outcome.output, name))


def test_a_model_of_one_date_has_nothing_to_move(tmp_path):
    world = World(tmp_path / "scenes")
    for band in ("green", "nir"):
        world.add(GROUND, band, collection="sentinel-2-l2a", scale=1.0, offset=0.0, unit="reflectance")
    job = pixel_job(world, "ndwi-water", tmp_path / "out", rows=ROWS, cols=COLS, align={"most": 30})
    with pytest.raises(JobError, match="compares no dates"):
        plan_job(job)


def test_degrees_and_places_are_refused(card, tmp_path):
    world = world_of(tmp_path, GROUND)
    plain = {"area": area(ROWS, COLS), "period": PERIOD, "source": world.source, "model": str(card)}
    plain |= {"align": {"most": 30}}
    with pytest.raises(JobError, match="degrees"):
        plan_job(make_job({**plain, "grid": {"crs": "EPSG:4326", "resolution": 1e-4}}, base=tmp_path))
    (tmp_path / "places.csv").write_text("lon,lat\n15,48\n")
    del plain["area"]
    with pytest.raises(JobError, match="align"):
        make_job({**plain, "places": "places.csv"}, base=tmp_path)
