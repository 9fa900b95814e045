"""Masks that a model makes of each scene: as made by hand, kept for the next job, however the work is cut."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr
from pyproj import Transformer

from tests.support.families import COLS, FLOAT, ROWS, noise
from tests.support.graphs import Draft
from tests.support.products import writing_worker
from tests.support.worlds import COL, CRS, ROW, area, layer, pixel_job, run, write_card
from tilewright.flows.job.job import JobError, make_job
from tilewright.flows.plan.make import plan_job
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.flows.served.mask_model import served_card
from tilewright.models.run.session import ModelSession
from tilewright.tasks.block.split import do_block_in_parts
from tilewright.tasks.block.worker import WorkerSettings
from tilewright.tasks.storage.errors import StoreError

pytestmark = pytest.mark.usefixtures("small_pictures")

DAYS = ("2023-06-04", "2023-06-09", "2023-06-14", "2023-06-19")
BRIGHT = 0.45
"""Mean of three by three pixels of blue above which the cloud model says cloud."""

HERE = slice(*ROWS), slice(*COLS)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """A cache of this test's own, so that nothing is kept from before."""
    monkeypatch.setenv("TILEWRIGHT_CACHE", str(tmp_path / "cache"))
    served_card.cache_clear()


@pytest.fixture
def skies(world):
    """Red and blue of each day; blue has a gap of a corner on the second one."""
    found = {}
    for number, day in enumerate(DAYS):
        red, blue = noise(10 + number), noise(20 + number, high=0.9)
        if number == 1:
            blue[:40, :50] = np.nan
        world.add(red, "red", day=day, unit="reflectance")
        world.add(blue, "blue", day=day, unit="reflectance")
        found[day] = red, blue
    return found


@pytest.fixture
def cloud_card(tmp_path):
    """Cloud where the mean of blue over three by three pixels is above BRIGHT."""
    draft = Draft()
    mean = draft.node("Conv", "x", draft.constant(np.full((1, 1, 3, 3), 1 / 9, np.float32)), pads=[1, 1, 1, 1])
    cloud = draft.node("Sub", mean, draft.constant([BRIGHT]))
    scores = draft.node("Concat", draft.node("Neg", cloud), cloud, axis=1)
    model = draft.model_many([("x", FLOAT, ["batch", 1, "h", "w"])], [(scores, "which", FLOAT, ["batch", 2, "h", "w"])])
    return write_card(
        tmp_path / "cloud-card",
        model,
        name="clouds",
        inputs=[{"name": "x", "bands": ["blue"]}],
        outputs=[{"name": "which", "classes": ["clear", "cloud"], "tw:layers": ["class"]}],
    )


@pytest.fixture
def card(tmp_path):
    draft = Draft()
    model = draft.model_many(
        [("x", FLOAT, ["batch", 1, "h", "w"])],
        [(draft.node("Identity", "x"), "y", FLOAT, ["batch", 1, "h", "w"])],
    )
    return write_card(
        tmp_path / "card",
        model,
        inputs=[{"name": "x", "bands": ["red"], "tw:dates": {"kind": "composite", "reducer": "median"}}],
        outputs=[{"name": "y", "tw:layers": ["value"]}],
    )


@pytest.fixture
def job(world, skies, card, cloud_card, tmp_path):
    """Makes the job over the world whose mask is by the cloud model; changes take the place of its keys."""

    def make(name, *, dilation=0, **changes):
        mask = {"kind": "model", "model": str(cloud_card), "drop": ["cloud"], "dilation": dilation}
        return pixel_job(world, card, tmp_path / name, rows=ROWS, cols=COLS, **{"mask": mask, **changes})

    return make


@pytest.fixture
def cloud_map(world, cloud_card, tmp_path):
    """Makes the classes that the cloud model sees on a day, by a job of its own over the whole world."""

    def make(day):
        whole = {"rows": (0, 160), "cols": (0, 160), "period": f"{day}/{day}", "mask": {"kind": "none"}}
        return layer(run(pixel_job(world, cloud_card, tmp_path / day, **whole)).output, "class")

    return make


def by_hand(skies, cloud_map, *, dilation):
    """The median of what the maps of the days do not call cloud, the number of days, and what is left of each day."""
    kept = []
    for day, (red, _) in skies.items():
        classes = cloud_map(day)
        cloudy = classes == 1
        if dilation:
            reach = int(dilation / 10)
            offsets = [
                (dy, dx)
                for dy in range(-reach, reach + 1)
                for dx in range(-reach, reach + 1)
                if dy * dy + dx * dx <= (dilation / 10) ** 2
            ]
            padded = np.pad(cloudy, reach)
            height, width = cloudy.shape
            cloudy = np.logical_or.reduce(
                [padded[reach + dy : reach + dy + height, reach + dx : reach + dx + width] for dy, dx in offsets]
            )
        kept.append(np.where(cloudy | (classes == 255), np.nan, red))
    stack = np.stack(kept)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmedian(stack, axis=0)[HERE], np.isfinite(stack).sum(axis=0)[HERE], stack


@pytest.mark.parametrize("dilation", [0, 25])
def test_a_mask_by_a_model_is_the_map_that_the_model_makes_of_each_scene(job, skies, cloud_map, dilation):
    outcome = run(job("out", dilation=dilation))
    expected, counts, stack = by_hand(skies, cloud_map, dilation=dilation)
    np.testing.assert_array_equal(layer(outcome.output, "value"), expected.astype(np.float32))
    observations = zarr.open_group(f"{outcome.output}/data.zarr", mode="r")["observations"][:]
    np.testing.assert_array_equal(observations, counts)
    told = outcome.report["mask"]
    assert (told["model"], told["exactness"]) == ("clouds", "proven")
    n_seen = sum(int(np.isfinite(blue[HERE]).sum()) for _, blue in skies.values())
    assert told["pixels_judged"] == n_seen
    dropped = n_seen - int(np.isfinite(stack[:, HERE[0], HERE[1]]).sum())
    assert told["dropped_percent"] == pytest.approx(100 * dropped / n_seen)
    # Some pixels of each kind, or nothing was tried.
    assert 0 < counts.min() < counts.max() or (counts == 0).any()
    assert outcome.report["job"]["mask"]["model"].endswith("cloud-card")


@pytest.mark.parametrize(("block", "workers"), [(64, 1), (128, 4)])
def test_the_product_does_not_depend_on_how_the_work_was_cut(job, block, workers):
    whole = run(job("whole", dilation=25))
    cut = run(job("cut", dilation=25, tile={"block": block}), workers=workers)
    np.testing.assert_array_equal(layer(cut.output, "value"), layer(whole.output, "value"))
    for key in ("pixels_judged", "dropped_percent"):
        assert cut.report["mask"][key] == whole.report["mask"][key]


def test_the_same_on_a_cluster(job):
    here = run(job("here", dilation=25))
    there = run_job(job("there", dilation=25, tile={"block": 64}), RunOptions(runner="dask", workers=2))
    np.testing.assert_array_equal(layer(there.output, "value"), layer(here.output, "value"))
    assert there.report["mask"]["dropped_percent"] == here.report["mask"]["dropped_percent"]


def test_a_block_done_in_parts_is_the_same(job, tmp_path):
    whole = run(job("whole", dilation=25, loss={"value": 0.01}))
    before = {path.name: json.loads(path.read_text()) for path in (tmp_path / "whole/.tilewright/ledger").iterdir()}
    worker = writing_worker(whole.output, WorkerSettings(provider="cpu"))
    for entry in before.values():
        block = worker.plan.raster.block(entry["row"], entry["col"])
        again = do_block_in_parts(worker, block, parts=2).to_json()
        assert again["checksums"] == entry["checksums"]
        for key in ("judged", "dropped"):
            assert again["masked"][key] == entry["masked"][key]
        for key in ("values", "greatest"):
            assert again["losses"]["value"][key] == entry["losses"]["value"][key]


@pytest.mark.parametrize("bent", ["other", None])
def test_a_plan_that_somebody_bent_to_another_model_is_not_followed(job, tmp_path, bent):
    run(job("out"))
    path = tmp_path / "out" / ".tilewright" / "plan.json"
    plan = json.loads(path.read_text())
    plan["mask_model"] = bent and {**plan["mask_model"], "card": {**plan["mask_model"]["card"], "digest": bent}}
    path.write_text(json.dumps(plan))
    next((tmp_path / "out" / ".tilewright" / "ledger").iterdir()).unlink()
    (tmp_path / "out" / "item.json").unlink()
    with pytest.raises(StoreError, match="somebody changed it"):
        run(job("out"))


@pytest.fixture
def calls(monkeypatch):
    """The windows that any model ran, as they come."""
    counted = []
    own = ModelSession.run_batch

    def counting(self, feeds, **given):
        counted.append(given["windows"])
        return own(self, feeds, **given)

    monkeypatch.setattr(ModelSession, "run_batch", counting)
    return counted


def test_a_second_job_finds_the_maps_of_scenes_in_the_cache(job, world, calls):
    first = run(job("first"))
    n_first = len(calls)
    second = run(job("second", dilation=25))
    own = second.report["windows_run"]
    assert first.report["mask"]["blocks_made"] > 0
    assert second.report["mask"]["blocks_made"] == 0
    assert second.report["mask"]["blocks_kept"] > 0
    # The job's own windows, and those that it compares with shifted ones, but none of the scenes.
    assert len(calls) - n_first < n_first
    assert len(calls) - n_first <= 2 * own + 4
    # A later date is new, the others are not.
    world.add(noise(30), "red", day="2023-06-24", unit="reflectance")
    world.add(noise(31), "blue", day="2023-06-24", unit="reflectance")
    third = run(job("third"))
    assert third.report["mask"]["blocks_made"] * len(DAYS) == first.report["mask"]["blocks_made"]


@pytest.mark.parametrize("damage", ["cut", "other", "gone"])
def test_a_damaged_cache_is_made_again(job, tmp_path, damage):
    first = run(job("first"))
    files = sorted((tmp_path / "cache" / "masks").rglob("*.zst"))
    assert files
    for file in files:
        if damage == "cut":
            file.write_bytes(file.read_bytes()[:40])
        elif damage == "other":
            file.write_bytes(b"x" * 1000)
    if damage == "gone":
        shutil.rmtree(tmp_path / "cache" / "masks")
    second = run(job("second"))
    np.testing.assert_array_equal(layer(second.output, "value"), layer(first.output, "value"))
    assert second.report["mask"]["blocks_made"] == first.report["mask"]["blocks_made"]


def test_a_card_that_changed_is_another_request(job, cloud_card):
    run(job("out"))
    path = cloud_card / "card.json" if (cloud_card / "card.json").exists() else cloud_card
    plain = json.loads(path.read_text())
    plain["properties"]["mlm:architecture"] = "another"
    path.write_text(json.dumps(plain))
    served_card.cache_clear()
    with pytest.raises(ValueError, match="mask"):
        run(job("out"))


@pytest.mark.parametrize(
    "grid",
    [{"crs": CRS}, {"crs": CRS, "resolution": 20}, {"crs": "EPSG:32632"}, {"crs": "EPSG:3035", "resolution": 15}],
    ids=["own", "coarser", "next zone", "equal area"],
)
def test_in_any_grid_it_is_as_if_the_map_were_a_band_of_the_scene(job, world, card, cloud_map, grid):
    maps = {day: cloud_map(day) for day in DAYS}
    plain = {
        "area": area((20, 120), (30, 110)),
        "period": "2023-06-01/2023-06-30",
        "model": str(card),
        "grid": grid,
    }
    folder = world.folder.parent
    by_model = job("seen").mask.request()
    seen = run(make_job({**plain, "source": world.source, "mask": by_model}, base=folder, output=str(folder / "seen")))
    for day, classes in maps.items():
        world.add(classes, "clouds", day=day, nodata=None, unit="class")
    by_band = {"kind": "values", "band": "clouds", "drop": [1, 255]}
    told = run(make_job({**plain, "source": world.source, "mask": by_band}, base=folder, output=str(folder / "told")))
    np.testing.assert_array_equal(layer(seen.output, "value"), layer(told.output, "value"))
    assert np.isfinite(layer(seen.output, "value")).any()


def test_a_read_that_fails_for_good_is_tolerated_as_any_other_and_not_kept(job, world, tmp_path):
    (broken,) = [entry["href"] for entry in world.files if entry["band"] == "blue" and "06-09" in entry["datetime"]]
    kept = tmp_path / "kept.tif"
    shutil.copy(broken, kept)
    Path(broken).write_bytes(kept.read_bytes()[: kept.stat().st_size // 2])
    loose = run(job("loose", tolerance={"failed_reads": 20}))
    assert {failure["band"] for failure in loose.report["failures"]} == {"blue"}
    shutil.copy(kept, broken)
    again = run(job("again"))
    assert again.report["mask"]["pixels_judged"] > loose.report["mask"]["pixels_judged"]


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        ({"drop": ["clouds"]}, "knows no class 'clouds' .did you mean 'cloud'"),
        ({"drop": [7]}, "knows no class 7"),
        ({"drop": ()}, "name the model, and which of its classes"),
        ({"model": ""}, "name the model, and which of its classes"),
        ({"model": "no-such-card"}, "no-such-card"),
        ({"band": "blue"}, "mask.band means nothing"),
        ({"threshold": 4}, "mask.threshold means nothing"),
        ({"kind": "scl"}, "mask.model means nothing"),
        ({"kind": "values", "band": "blue"}, "mask.model means nothing"),
    ],
)
def test_a_mask_that_cannot_be_is_refused_before_pixels_are_read(job, cloud_card, mask, said):
    given = {"kind": "model", "model": str(cloud_card), "drop": ["cloud"], **mask}
    with pytest.raises(ValueError, match=said):
        plan_job(job("out", mask=given))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"filter": {"clearest": {"most": 2, "by": "pixels"}}}, "filter.clearest"),
        ({"precision": "bf16"}, "precision"),
    ],
)
def test_what_looks_at_windows_beforehand_goes_with_no_model_of_masks(job, changes, said):
    with pytest.raises(JobError, match=said):
        job("out", **changes)


def test_a_model_without_classes_makes_no_mask(job, card):
    with pytest.raises(JobError, match="no layer of classes"):
        plan_job(job("out", mask={"kind": "model", "model": str(card), "drop": [0]}))


def test_a_model_of_another_collection_makes_no_mask(job, cloud_card):
    path = cloud_card / "card.json" if (cloud_card / "card.json").exists() else cloud_card
    plain = json.loads(path.read_text())
    plain["properties"]["mlm:input"][0]["tw:collection"] = "sentinel-1-rtc"
    path.write_text(json.dumps(plain))
    served_card.cache_clear()
    with pytest.raises(JobError, match="mask.model"):
        plan_job(job("out"))


def test_a_place_has_the_value_of_the_map(job, world, card, cloud_card, tmp_path):
    mapped = run(job("map"))
    to_lonlat = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
    pixels = [(30, 40), (77, 91), (100, 20)]
    lonlats = [to_lonlat.transform((COL + col + 0.5) * 10.0, -(ROW + row + 0.5) * 10.0) for row, col in pixels]
    lines = "".join(f"{lon!r},{lat!r}\n" for lon, lat in lonlats)
    (tmp_path / "places.csv").write_text("lon,lat\n" + lines)
    plain = {
        "places": "places.csv",
        "period": "2023-06-01/2023-06-30",
        "source": world.source,
        "model": str(card),
        "grid": {"crs": CRS},
        "mask": {"kind": "model", "model": str(cloud_card), "drop": ["cloud"]},
    }
    run(make_job(plain, base=tmp_path, output=str(tmp_path / "rows")))
    table = pq.read_table(tmp_path / "rows" / "places.parquet")
    values = layer(mapped.output, "value")
    expected = [values[row - ROWS[0], col - COLS[0]] for row, col in pixels]
    got = [np.nan if value is None else value for value in table["value"].to_pylist()]
    np.testing.assert_array_equal(np.array(got, np.float32), np.array(expected, np.float32))
