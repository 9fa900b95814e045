"""A cheap model decides where the job's own looks: equal inside, counted outside, however the work is cut."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.families import COLS, FLOAT, ROWS, noise
from tests.support.graphs import Draft
from tests.support.products import writing_worker
from tests.support.worlds import CRS, layer, pixel_job, run, write_card
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

STEP, SIDE = 16, 160
HERE = slice(*ROWS), slice(*COLS)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """A cache of this test's own, so that nothing is kept from before."""
    monkeypatch.setenv("TILEWRIGHT_CACHE", str(tmp_path / "cache"))
    served_card.cache_clear()


@pytest.fixture
def scene(world):
    """Red, and blue that is bright in three spots; both miss a corner."""
    red, blue = noise(1), np.full((SIDE, SIDE), 0.1, np.float32)
    blue[30:42, 50:60] = blue[90:94, 100:140] = blue[120:150, 20:30] = 0.8
    red[:20, 100:] = blue[:20, 100:] = np.nan
    world.add(red, "red", unit="reflectance")
    world.add(blue, "blue", unit="reflectance")
    return red, blue


def two_classes(folder, name, band, *, above):
    """A card of two classes per pixel, the second where the band is above a value."""
    draft = Draft()
    over = draft.node("Sub", "x", draft.constant([above]))
    scores = draft.node("Concat", draft.node("Neg", over), over, axis=1)
    model = draft.model_many([("x", FLOAT, ["batch", 1, "h", "w"])], [(scores, "which", FLOAT, ["batch", 2, "h", "w"])])
    return write_card(
        folder,
        model,
        name=name,
        tile={"step": STEP},
        inputs=[{"name": "x", "bands": [band]}],
        outputs=[{"name": "which", "classes": ["dark", "bright"], "tw:layers": ["class", "confidence"]}],
    )


@pytest.fixture
def card(tmp_path):
    return two_classes(tmp_path / "card", "own", "red", above=0.3)


@pytest.fixture
def cheap(tmp_path):
    return two_classes(tmp_path / "cheap", "cheap", "blue", above=0.4)


@pytest.fixture
def job(world, scene, card, cheap, tmp_path):
    """Makes the job over the world that the cheap model screens; None: without a screen."""

    def make(name, *, screen=(), rows=ROWS, cols=COLS, **changes):
        given = {
            "model": str(cheap),
            "resolution": 20,
            "classes": ["bright"],
            "otherwise": "dark",
            **dict(screen or ()),
        }
        keys = {} if screen is None else {"screen": given}
        return pixel_job(world, card, tmp_path / name, rows=rows, cols=cols, **keys, **changes)

    return make


def windows_of(blue, *, least_share, size=2):
    """True for the pixels of windows with enough bright pixels of 20 m, and True where the screen saw something."""
    # The world begins at a multiple of 64 pixels, so that windows and coarse pixels begin with it.
    coarse = blue.reshape(SIDE // size, size, SIDE // size, size).mean(axis=(1, 3))
    seen, bright = np.isfinite(coarse), coarse > 0.4
    cores = (SIDE // STEP, STEP // size, SIDE // STEP, STEP // size)
    n_seen = seen.reshape(cores).sum(axis=(1, 3))
    n_bright = (bright & seen).reshape(cores).sum(axis=(1, 3))
    kept = (n_seen > 0) & (n_bright >= least_share * n_seen)
    return kept.repeat(STEP, 0).repeat(STEP, 1), seen.repeat(size, 0).repeat(size, 1), int(kept.sum())


@pytest.mark.parametrize("least_share", [0.001, 0.2, 1.0])
def test_the_map_is_the_models_where_the_screen_sees_something_and_the_other_class_elsewhere(job, scene, least_share):
    plain = run(job("plain", screen=None))
    outcome = run(job("out", screen={"least_share": least_share}))
    kept, seen, _ = windows_of(scene[1], least_share=least_share)
    own = layer(plain.output, "class")
    expected = np.where(kept[HERE], own, np.where(seen[HERE], 0, 255))
    np.testing.assert_array_equal(layer(outcome.output, "class"), expected)
    confidence = np.where(kept[HERE], layer(plain.output, "confidence"), 255)
    np.testing.assert_array_equal(layer(outcome.output, "confidence"), confidence)
    told = outcome.report["screen"]
    assert told["windows_run"] == outcome.report["windows_run"]
    assert told["windows_screened"] + told["windows_run"] == plain.report["windows_run"]
    assert "in which cheap lets the model look" in outcome.report["exact_reason"]
    assert "in which cheap lets the model look" in Path(outcome.output, "report.html").read_text()
    assert outcome.report["missing_percent"] == pytest.approx(100 * (expected == 255).mean())


def test_seams_are_told_of_the_windows_that_run_and_not_of_the_screen(job):
    every = {"classes": ["dark", "bright"]}
    plain = run(job("plain", screen=every))
    outcome = run(job("out", screen=every, seams=True))
    np.testing.assert_array_equal(layer(outcome.output, "class"), layer(plain.output, "class"))
    changes = layer(outcome.output, "class_seam")
    assert outcome.report["seams"]["windows"] > 0
    assert np.isfinite(changes).any()
    assert np.nanmax(changes) == 0


def test_windows_that_are_left_out_are_not_run(job, scene, monkeypatch):
    calls = []
    own = ModelSession.run_batch

    def counting(self, feeds, **given):
        calls.append((given["windows"], next(iter(feeds.values())).shape))
        return own(self, feeds, **given)

    monkeypatch.setattr(ModelSession, "run_batch", counting)
    run(job("plain", screen=None))
    n_plain = len(calls)
    calls.clear()
    outcome = run(job("out"))
    _, _, n_kept = windows_of(scene[1], least_share=0.001)
    assert outcome.report["windows_run"] <= n_kept
    assert len(calls) < n_plain


@pytest.mark.parametrize(("block", "workers"), [(STEP, 1), (64, 4)])
def test_the_product_does_not_depend_on_how_the_work_was_cut(job, block, workers):
    whole = run(job("whole"))
    cut = run(job("cut", tile={"block": block}), workers=workers)
    for name in ("class", "confidence"):
        np.testing.assert_array_equal(layer(cut.output, name), layer(whole.output, name))
    for key in ("windows_run", "windows_screened"):
        assert cut.report["screen"][key] == whole.report["screen"][key]


def test_nor_on_the_area_asked_for(job):
    whole, part = run(job("whole")), run(job("part", rows=(37, 123), cols=(29, 111)))
    inside = slice(37 - ROWS[0], 123 - ROWS[0]), slice(29 - COLS[0], 111 - COLS[0])
    np.testing.assert_array_equal(layer(part.output, "class"), layer(whole.output, "class")[inside])


def test_the_same_on_a_cluster_and_in_parts(job, tmp_path):
    here = run(job("here"))
    there = run_job(job("there", tile={"block": 64}), RunOptions(runner="dask", workers=2))
    np.testing.assert_array_equal(layer(there.output, "class"), layer(here.output, "class"))
    entries = [json.loads(path.read_text()) for path in (tmp_path / "here/.tilewright/ledger").iterdir()]
    worker = writing_worker(here.output, WorkerSettings(provider="cpu"))
    for entry in entries:
        again = do_block_in_parts(worker, worker.plan.raster.block(entry["row"], entry["col"]), parts=3).to_json()
        for key in ("checksums", "valid_pixels", "windows_screened", "windows_run"):
            assert again[key] == entry[key]


def test_without_another_class_nothing_is_said_where_nobody_looked(job, scene):
    outcome = run(job("out", screen={"otherwise": None}))
    kept, _, _ = windows_of(scene[1], least_share=0.001)
    classes = layer(outcome.output, "class")
    assert (classes[~kept[HERE]] == 255).all()
    assert (classes[kept[HERE]] != 255).any()


def test_a_screen_in_pixels_that_do_not_divide_the_windows(world, job, scene, tmp_path):
    """The share is that of the pixels whose centres lie in the core, whatever their size."""
    outcome = run(job("out", screen={"resolution": 35}))
    again = run(job("again", screen={"resolution": 35}, tile={"block": STEP}))
    np.testing.assert_array_equal(layer(outcome.output, "class"), layer(again.output, "class"))
    assert 0 < outcome.report["screen"]["windows_run"] < (SIDE // STEP) ** 2


def test_a_changed_scene_of_the_screen_alone_redoes_its_blocks(job, world, scene, tmp_path):
    run(job("out", tile={"block": STEP}))
    (blue,) = [entry for entry in world.files if entry["band"] == "blue"]
    values = scene[1].copy()
    values[60:70, 60:70] = 0.8
    del world.files[world.files.index(blue)]
    world.add(values, "blue", unit="reflectance")
    updated = run_job(job("out", tile={"block": STEP}), RunOptions(update=True))
    fresh = run(job("fresh"))
    np.testing.assert_array_equal(layer(updated.output, "class"), layer(fresh.output, "class"))
    assert updated.report["blocks_made"] > 0


@pytest.mark.parametrize(
    ("screen", "said"),
    [
        ({"classes": ["brigth"]}, "screen.classes: cheap knows no class 'brigth' .did you mean 'bright'"),
        ({"classes": []}, "screen.classes"),
        ({"otherwise": "water"}, "screen.otherwise: 'water' is no class of layer class"),
        ({"otherwise": 9}, "screen.otherwise: 9 is no class"),
        ({"resolution": 0}, "screen.resolution"),
        ({"resolution": 500}, "screen.resolution: pixels of 500 are too coarse"),
        ({"least_share": 0}, "screen.least_share"),
        ({"least_share": 1.5}, "screen.least_share"),
        ({"model": "no-such-card"}, "screen.model: .*no-such-card"),
        ({"model": ""}, "screen.model"),
        ({"share": 1}, "share"),
    ],
)
def test_a_screen_that_cannot_be_is_refused_before_pixels_are_read(job, screen, said):
    with pytest.raises(JobError, match=said):
        plan_job(job("out", screen=screen))


def test_places_are_not_screened(world, scene, card, cheap, tmp_path):
    (tmp_path / "places.csv").write_text("lon,lat\n15,48\n")
    plain = {"places": "places.csv", "period": "2023-06-01/2023-06-30", "source": world.source, "model": str(card)}
    screen = {"model": str(cheap), "resolution": 20, "classes": ["bright"]}
    with pytest.raises(JobError, match="screen: a job over places"):
        make_job({**plain, "screen": screen, "grid": {"crs": CRS}}, base=tmp_path)


def test_another_screen_is_another_request_and_a_bent_one_is_not_followed(job, tmp_path):
    run(job("out"))
    with pytest.raises(StoreError, match="screen"):
        run(job("out", screen={"least_share": 0.5}))
    path = tmp_path / "out" / ".tilewright" / "plan.json"
    plan = json.loads(path.read_text())
    plan["screen"]["served"]["card"]["digest"] = "other"
    path.write_text(json.dumps(plan))
    (tmp_path / "out" / "item.json").unlink()
    with pytest.raises(StoreError, match="somebody changed"):
        run(job("out"))
