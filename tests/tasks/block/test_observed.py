"""What the report says each step saw: figures that numpy counts from the same scenes."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
import rasterio
import shapely
from onnx import TensorProto
from pyproj import Transformer
from rasterio.warp import transform_bounds

from tests.support.graphs import Draft
from tests.support.worlds import COL, CRS, ROW, World, pixel_job, run, write_card
from tilewright.flows.job.job import make_job
from tilewright.flows.run.predict import run_job
from tilewright.flows.run.prepare import declare_product
from tilewright.flows.runners.run_options import RunOptions
from tilewright.flows.runners.worker import reopen_worker
from tilewright.tasks.block.observed import add_observed
from tilewright.tasks.block.split import do_block_in_parts
from tilewright.tasks.block.worker import WorkerSettings
from tilewright.tasks.compose.mask_rule import MaskRule
from tilewright.tasks.publish.scene_rows import step_rows
from tilewright.tasks.storage.ledger import BlockEntry, read_entries

pytestmark = pytest.mark.usefixtures("small_pictures")

SIDE, ROWS, COLS = 112, (9, 101), (13, 104)
CORNERS = [(10.3, 15.4), (97.6, 20.2), (99.3, 101.7), (55.2, 60.1), (12.4, 95.8)]
"""The area asked for in the world's (row, col): it crosses blocks and has a notch."""
PERIOD = "2023-05-01/2023-08-31"
OPTICS = {
    "2023-05": ["2023-05-04"],
    "2023-06": ["2023-06-05", "2023-06-15", "2023-06-25"],
    "2023-07": [],
    "2023-08": ["2023-08-30"],
}
RADAR = ["2023-05-02", "2023-07-14"]


def holed(seed, side, share):
    random = np.random.default_rng(seed)
    values = random.uniform(0.1, 0.9, (side, side)).astype(np.float32)
    values[random.random(values.shape) < share] = np.nan
    return values


@pytest.fixture
def clouded(tmp_path):
    """A world of optical days at 10 m and radar days at 20 m, and where each day is valid at 10 m (y, x)."""
    world, valid = World(tmp_path / "world"), {}
    for number, day in enumerate(day for days in OPTICS.values() for day in days):
        values = holed(number, SIDE, 0.2 + 0.1 * number)
        world.add(values, "red", day=day, unit="reflectance")
        valid[day] = ~np.isnan(values)
    for number, day in enumerate(RADAR):
        values = holed(10 + number, SIDE // 2, 0.5)
        world.add(values, "vv", day=day, collection="sentinel-1-rtc", size=20.0, unit="linear")
        valid[day] = ~np.isnan(values).repeat(2, 0).repeat(2, 1)
    return world, valid


@pytest.fixture
def card(tmp_path):
    """A model of four months of optics and one composite of radar."""
    draft = Draft()
    optics = draft.node("ReduceMean", "optics", axes=[1], keepdims=0)
    total = draft.node("Add", optics, draft.up("radar", 2))
    model = draft.model_many(
        [("optics", TensorProto.FLOAT, ["b", 4, 1, "h", "w"]), ("radar", TensorProto.FLOAT, ["b", 1, "rh", "rw"])],
        [(total, "y", TensorProto.FLOAT, ["b", 1, "oh", "ow"])],
    )
    optical = {
        "name": "optics",
        "bands": ["red"],
        "dims": ("batch", "time", "bands", "height", "width"),
        "tw:dates": {"kind": "series", "steps": 4, "every": "month"},
        "tw:missing": {"fill": 0},
    }
    radar = {
        "name": "radar", "bands": ["vv"], "tw:collection": "sentinel-1-rtc", "tw:unit": "db", "tw:resolution": 20,
        "tw:optional": True, "tw:missing": {"fill": -20},
    }  # fmt: skip
    return write_card(tmp_path / "card", model, inputs=[optical, radar], outputs=[{"name": "y", "tw:layers": ["sum"]}])


def polygon():
    to_lonlat = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
    ring = [list(to_lonlat.transform((COL + col) * 10.0, -(ROW + row) * 10.0)) for row, col in CORNERS]
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}


def inside():
    """Pixels of the world whose centre lies in the area and in the grid's box, (y, x)."""
    rows, cols = np.mgrid[:SIDE, :SIDE]
    ring = shapely.Polygon([(col, row) for row, col in CORNERS])
    mask = shapely.contains_xy(ring, cols + 0.5, rows + 0.5)
    return mask & (rows >= ROWS[0]) & (rows < ROWS[1]) & (cols >= COLS[0]) & (cols < COLS[1])


def job(world, card, output, **changes):
    return pixel_job(world, card, output, rows=ROWS, cols=COLS, period=PERIOD, area=polygon(), **changes)


def expected(valid, days):
    """(percent of the area with an observation, observations per pixel of the area), by numpy."""
    count = sum((valid[day].astype(int) for day in days), np.zeros((SIDE, SIDE), int))[inside()]
    return 100 * (count > 0).mean(), count.mean()


def observed_steps(report):
    return {
        (step["label"], seen["name"]): (seen["observed_percent"], seen["mean_observations"])
        for step in report["steps"]
        for seen in step["inputs"]
    }


def assert_told_as_counted(report, valid):
    counted = {(month, "optics"): expected(valid, days) for month, days in OPTICS.items()}
    counted[PERIOD_NAME, "radar"] = expected(valid, RADAR)
    found = observed_steps(report)
    assert found.keys() == counted.keys()
    for key, figures in counted.items():
        assert found[key] == pytest.approx(figures, rel=1e-12), key


PERIOD_NAME = "period"


def test_every_step_of_every_input_reports_its_days_and_observations_whatever_the_blocks(clouded, card, tmp_path):
    world, valid = clouded
    whole = run(job(world, card, tmp_path / "whole"))
    cut = run(job(world, card, tmp_path / "cut", tile={"block": 64}))
    assert cut.report["blocks"] == 4
    assert_told_as_counted(whole.report, valid)
    assert observed_steps(cut.report) == observed_steps(whole.report)
    days = {step["label"]: step["inputs"][0]["days"] for step in whole.report["steps"]}
    assert days == {**OPTICS, PERIOD_NAME: RADAR}
    middles = [step["inputs"][0]["middle"] for step in whole.report["steps"]]
    assert middles == ["2023-05-04", "2023-06-15", None, "2023-08-30", "2023-06-07"]
    assert observed_steps(whole.report)["2023-07", "optics"] == (0.0, 0.0)


def test_a_restart_and_a_dask_cluster_count_the_same(clouded, card, tmp_path):
    world, valid = clouded
    made = job(world, card, tmp_path / "out", tile={"block": 64})
    first = run(made)
    (tmp_path / "out" / "item.json").unlink()
    ledger = sorted((tmp_path / "out" / ".tilewright" / "ledger").glob("*.json"))
    keys = [json.loads(path.read_text())["key"] for path in ledger]
    for path in ledger[1:3]:
        path.unlink()
    again = run_job(made, RunOptions(workers=2))
    assert [json.loads(path.read_text())["key"] for path in ledger] == keys
    apart = run_job(job(world, card, tmp_path / "apart", tile={"block": 64}), RunOptions(runner="dask", workers=1))
    assert_told_as_counted(first.report, valid)
    assert observed_steps(first.report) == observed_steps(again.report) == observed_steps(apart.report)


def test_a_block_in_parts_has_the_observations_of_the_whole(clouded, card, tmp_path):
    world, _ = clouded
    made = run(job(world, card, tmp_path / "out"))
    worker = reopen_worker(made.output, WorkerSettings(provider="cpu", read_threads=1))
    # A published product has no blocks that wait: they are declared anew.
    declare_product(worker.storage, worker.plan, worker.model.card, zarr_format=3)
    worker = reopen_worker(made.output, worker.settings)
    (whole,) = read_entries(worker.storage).values()
    assert whole.observed["optics"][1][1] > whole.observed["optics"][1][0] > 0
    assert do_block_in_parts(worker, worker.plan.raster.all_blocks()[0], parts=2).observed == whole.observed


def test_blocks_of_an_older_ledger_make_the_figures_unknown_and_not_wrong(clouded, card, tmp_path):
    world, _ = clouded
    made = job(world, card, tmp_path / "out", tile={"block": 64})
    run(made)
    (tmp_path / "out" / "item.json").unlink()
    older = min((tmp_path / "out" / ".tilewright" / "ledger").glob("*.json"))
    entry = json.loads(older.read_text())
    del entry["observed"]
    older.write_text(json.dumps(entry))
    report = run(made).report
    assert set(observed_steps(report).values()) == {(None, None)}
    assert [step["days"] for step in report["steps"]][:3] == list(OPTICS.values())[:3]


def test_april_2023_reports_which_of_its_real_dates_observed_the_ground(real, tmp_path):
    folders = sorted((real / "sentinel-2-l2a").glob("S2_2023*"))
    scl = {f"{path.name[3:7]}-{path.name[7:9]}-{path.name[9:11]}": raster(path / "scl.tif") for path in folders}
    with rasterio.open(folders[0] / "red.tif") as source:
        crs, corners = str(source.crs), source.bounds
    draft = Draft()
    mean = draft.node("ReduceMean", "x", axes=[1], keepdims=0)
    model = draft.model_many(
        [("x", TensorProto.FLOAT, ["b", len(scl), 1, "h", "w"])], [(mean, "y", TensorProto.FLOAT, ["b", 1, "oh", "ow"])]
    )
    entry = {
        "name": "x", "bands": ["red"], "dims": ("batch", "time", "bands", "height", "width"),
        "tw:collection": "sentinel-2-l2a", "tw:dates": {"kind": "each", "steps": len(scl)}, "tw:missing": {"fill": 0},
    }  # fmt: skip
    card = write_card(tmp_path / "card", model, inputs=[entry], outputs=[{"name": "y", "tw:layers": ["mean"]}])
    changes = {
        "area": list(transform_bounds(crs, "EPSG:4326", *corners)), "grid": {"crs": crs, "bounds": list(corners)},
        "period": "2023-04", "source": str(real / "catalog.json"), "model": str(card),
    }  # fmt: skip
    report = run(make_job(changes, base=tmp_path, output=str(tmp_path / "out"))).report
    clear = {
        day: ~np.isin(classes, MaskRule(kind="scl").drop) & (raster(path / "red.tif") > 0)
        for (day, classes), path in zip(scl.items(), folders, strict=True)
    }
    seen = {step["label"]: step["inputs"][0]["observed_percent"] for step in report["steps"]}
    assert seen == pytest.approx({day: 100 * valid.mean() for day, valid in clear.items()})
    assert [day for day, percent in seen.items() if percent > 50] == ["2023-04-05", "2023-04-15"]


def raster(path):
    with rasterio.open(path) as source:
        return source.read(1)


def test_inputs_of_one_label_share_its_row_and_a_span_that_has_days(clouded, card, tmp_path):
    world, _ = clouded
    made = run(job(world, card, tmp_path / "out"))
    worker = reopen_worker(made.output, WorkerSettings(provider="cpu", read_threads=1))
    optics, radar = worker.plan.inputs
    never = datetime(1970, 1, 1, tzinfo=UTC)
    steps = (
        replace(optics.steps[0], label="both"),
        replace(radar.steps[0], label="both", start=never, end=never, passes=(), days=(), ranks=()),
    )
    plan = replace(worker.plan, inputs=(replace(optics, steps=steps[:1]), replace(radar, steps=steps[1:])))
    entry = BlockEntry(row=0, col=0, key="k", written=True, observed={"optics": ((50, 75),), "radar": ((0, 0),)})
    (row,) = step_rows(plan, [entry, entry], n_inside=200)
    assert (row["start"][:10], row["days"]) == ("2023-05-01", ["2023-05-04"])
    assert [seen["observed_percent"] for seen in row["inputs"]] == [50.0, 0.0]
    assert [seen["mean_observations"] for seen in row["inputs"]] == [0.75, 0.0]


def test_counts_of_other_steps_are_not_added_up():
    with pytest.raises(ValueError, match="zip"):
        add_observed([{"x": ((1, 1),)}, {"x": ((1, 1), (2, 2))}])


@pytest.fixture
def told_card(card):
    """The same card, which tells statistics of both inputs."""
    plain = json.loads((card / "card.json").read_text())
    optics, radar = plain["properties"]["mlm:input"]
    optics["tw:statistics"] = [{"mean": 0.5, "stddev": 0.2, "minimum": 0.2, "maximum": 0.8}]
    radar["tw:statistics"] = [{"mean": -4.0, "stddev": 3.0}]
    (card / "card.json").write_text(json.dumps(plain))
    return card


def drift_of(report):
    """The bands of a report's drift by input, and how many parts counted."""
    return {row["input"]: (row["bands"][0], row["parts"]) for row in report["drift"]}


@pytest.mark.filterwarnings("ignore:All-NaN slice")
def test_values_seen_are_summed_as_numpy_sums_them_whatever_the_blocks(clouded, told_card, tmp_path):
    world, valid = clouded
    whole = run(job(world, told_card, tmp_path / "whole"))
    cut = run(job(world, told_card, tmp_path / "cut", tile={"block": 64}))
    found, counted = drift_of(whole.report), []
    for days in OPTICS.values():
        passes = []
        for day in days:
            (file,) = [each for each in world.files if each["datetime"].startswith(day) and each["band"] == "red"]
            with rasterio.open(file["href"]) as dataset:
                passes.append(dataset.read(1))
        if passes:
            month = np.nanmedian(np.stack(passes), axis=0)[inside()]
            counted.append(month[~np.isnan(month)])
    values = np.concatenate(counted).astype(np.float64)
    band = found["optics"][0]
    assert band["values"] == len(values)
    assert band["mean"] == pytest.approx(values.mean(), abs=1e-6)
    assert band["stddev"] == pytest.approx(values.std(), abs=1e-6)
    outside = 100 * np.mean((values < np.float32(0.2)) | (values > np.float32(0.8)))
    assert band["outside_percent"] == pytest.approx(outside, abs=1e-9)
    assert band["difference"] == pytest.approx((values.mean() - 0.5) / 0.2, abs=1e-5)
    # Radar of 20 m counts its own pixels, of which one is inside if a pixel of the grid in it is.
    touched = inside().reshape(SIDE // 2, 2, SIDE // 2, 2).any(axis=(1, 3))
    seen = np.logical_or(*(valid[day][::2, ::2] for day in RADAR))
    assert found["radar"][0]["values"] == np.count_nonzero(touched & seen)
    told = drift_of(cut.report)
    assert (found["optics"][1], told["optics"][1]) == (1, 4)
    assert {name: band for name, (band, _) in told.items()} == {name: band for name, (band, _) in found.items()}


def test_a_restart_a_cluster_and_parts_sum_the_same(clouded, told_card, tmp_path):
    world, _ = clouded
    made = job(world, told_card, tmp_path / "out", tile={"block": 64})
    first = run(made)
    (tmp_path / "out" / "item.json").unlink()
    ledger = sorted((tmp_path / "out" / ".tilewright" / "ledger").glob("*.json"))
    for path in ledger[1:3]:
        path.unlink()
    again = run_job(made, RunOptions(workers=2))
    options = RunOptions(runner="dask", workers=1)
    apart = run_job(job(world, told_card, tmp_path / "apart", tile={"block": 64}), options)
    assert first.report["drift"] == again.report["drift"] == apart.report["drift"]
    worker = reopen_worker(str(tmp_path / "out"), WorkerSettings(provider="cpu", read_threads=1))
    declare_product(worker.storage, worker.plan, worker.model.card, zarr_format=3)
    worker = reopen_worker(str(tmp_path / "out"), worker.settings)
    before = read_entries(worker.storage)
    for block in worker.plan.raster.all_blocks():
        assert before[block.name].sums["optics"][0][0] > 0
        assert do_block_in_parts(worker, block, parts=2).sums == before[block.name].sums


def test_blocks_of_an_older_ledger_are_left_out_of_the_sums(clouded, told_card, tmp_path):
    world, _ = clouded
    made = job(world, told_card, tmp_path / "out", tile={"block": 64})
    whole = drift_of(run(made).report)["optics"]
    ledger = sorted((tmp_path / "out" / ".tilewright" / "ledger").glob("*.json"))
    for n_left, path in zip((3, 2, 1, 0), ledger, strict=True):
        (tmp_path / "out" / "item.json").unlink()
        entry = json.loads(path.read_text())
        assert entry.pop("sums")
        path.write_text(json.dumps(entry))
        outcome = run(made)
        assert outcome.report["blocks_made"] == 0
        if n_left:
            band, n_parts = drift_of(outcome.report)["optics"]
            assert (n_parts, 0 < band["values"] < whole[0]["values"]) == (n_left, True)
        else:
            assert "drift" not in outcome.report


def test_a_card_without_statistics_leaves_ledger_and_report_as_they_were(clouded, card, tmp_path):
    world, _ = clouded
    made = run(job(world, card, tmp_path / "out"))
    assert "drift" not in made.report
    for path in (tmp_path / "out" / ".tilewright" / "ledger").glob("*.json"):
        assert "sums" not in json.loads(path.read_text())
