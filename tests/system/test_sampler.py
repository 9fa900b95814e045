"""Samplers: what a loop around a denoiser makes is computed by hand, and no cut of the work shows in it."""

from __future__ import annotations

import json

import geopandas
import numpy as np
import pytest
from onnx import TensorProto

from tests.support.denoisers import (
    DDIM,
    EULER,
    HEUN,
    OF_PICTURE,
    OF_STATE,
    OF_TIME,
    denoiser,
    denoiser_card,
    loop_by_hand,
    scaled,
)
from tests.support.graphs import Draft
from tests.support.places_cards import places_job, write_points
from tests.support.worlds import COL, ROW, World, layer, pixel_job
from tests.support.worlds import run as run_world
from tilewright.flows.estimate.estimate import estimate
from tilewright.flows.maintain.rerun import rerun_item
from tilewright.flows.plan.make import plan_job
from tilewright.flows.plan.model_card import job_card
from tilewright.flows.plan.model_graph import load_model
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.models.transforms.noise import normal_noise
from tilewright.tasks.block.floor import calibrate
from tilewright.tasks.progress import Advance

pytestmark = pytest.mark.usefixtures("small_pictures")
SIDE = 300
ROWS, COLS = (7, 270), (20, 290)
AVERAGED = {**EULER, "average": {"window": 32, "step": 16}}
MEAN = 0.7


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A picture of noise, with a hole that nobody saw."""
    made = World(tmp_path_factory.mktemp("world"))
    values = np.random.default_rng(3).uniform(0.1, 0.6, (SIDE, SIDE)).astype(np.float32)
    values[100:130, 200:215] = np.nan
    made.add(values, "red", unit="reflectance")
    made.values = values
    return made


def noise(rows=ROWS, cols=COLS, *, seed=3, channels=1):
    """The noise of a box of the world's pixels."""
    return normal_noise(
        seed=seed, step=0, channels=channels,
        rows=range(ROW + rows[0], ROW + rows[1]), cols=range(COL + cols[0], COL + cols[1]),
    )  # fmt: skip


def by_hand(world, loop, rows=ROWS, cols=COLS, *, seed=3):
    picture = world.values[slice(*rows), slice(*cols)].astype(np.float64)
    return loop_by_hand(loop, noise(rows, cols, seed=seed)[0], lambda x, time: OF_STATE * x + OF_PICTURE * picture
                        + OF_TIME * time)  # fmt: skip


def done(world, card, output, *, rows=ROWS, cols=COLS, workers=1, **changes):
    """The report of a run, and its image."""
    report = run_world(pixel_job(world, card, output, rows=rows, cols=cols, **changes), workers=workers).report
    return report, layer(output, "image")


@pytest.mark.parametrize("loop", [DDIM, EULER, HEUN], ids=lambda each: each["kind"])
def test_f22_an_image_is_what_its_loop_makes_of_the_noise_of_its_pixels(world, tmp_path, loop):
    report, image = done(world, denoiser(tmp_path / "card", loop), tmp_path / "out")
    expected = by_hand(world, loop)
    seen = np.isfinite(expected)
    assert np.array_equal(np.isfinite(image), seen)
    assert np.abs(image - expected)[seen].max() < 1e-5 * np.abs(expected[seen]).max()
    assert report["exactness"] == "proven"


def test_the_noise_of_a_map_has_mean_0_and_deviation_1(world, tmp_path):
    # One step from sigma 1 to 0 of a graph that answers 0.8 x + 0.5 picture + 0.25: the noise can be told from it.
    card = denoiser(tmp_path / "card", {**EULER, "steps": 1, "sigmas": [1.0, 0.0]})
    _, image = done(world, card, tmp_path / "out")
    here = slice(*ROWS), slice(*COLS)
    found = (image + OF_PICTURE * world.values[here] + OF_TIME) / (1 - OF_STATE)
    found = found[np.isfinite(found)].astype(np.float64)
    assert abs(found.mean()) < 5 / np.sqrt(found.size)
    assert abs(found.std() - 1) < 5 / np.sqrt(2 * found.size)


@pytest.mark.parametrize("change", [{}, {"average": {"window": 32, "step": 8}}], ids=["whole windows", "averaged"])
def test_a_finer_state_has_the_noise_of_its_own_pixels(world, tmp_path, change):
    """Super-resolution: the state has 2 x 2 pixels in each of the picture's."""
    draft = Draft()
    told = draft.node("Add", scaled(draft, "x", OF_STATE), scaled(draft, draft.up("picture"), OF_PICTURE))
    times = draft.node("Unsqueeze", "t", draft.constant(np.array([1, 2, 3])))
    model = draft.model_many(
        [("x", TensorProto.FLOAT, ["n", 1, "sh", "sw"]), ("picture", TensorProto.FLOAT, ["n", 1, "h", "w"]),
         ("t", TensorProto.FLOAT, ["n"])],
        [(draft.node("Add", told, scaled(draft, times, OF_TIME)), "e", TensorProto.FLOAT, ["n", 1, "oh", "ow"])],
    )  # fmt: skip
    card = denoiser_card(tmp_path / "card", model, {**EULER, **change})
    plain = json.loads((card / "card.json").read_text())
    plain["properties"]["mlm:output"][0]["tw:scale"] = 2
    (card / "card.json").write_text(json.dumps(plain))
    report, image = done(world, card, tmp_path / "out")
    fine = normal_noise(seed=3, step=0, channels=1, rows=range(2 * (ROW + ROWS[0]), 2 * (ROW + ROWS[1])),
                        cols=range(2 * (COL + COLS[0]), 2 * (COL + COLS[1])))[0]  # fmt: skip
    picture = world.values[slice(*ROWS), slice(*COLS)].repeat(2, 0).repeat(2, 1)
    expected = loop_by_hand(EULER, fine, lambda x, time: OF_STATE * x + OF_PICTURE * picture + OF_TIME * time)
    assert image.shape == fine.shape
    assert np.nanmax(np.abs(image - expected)) < 1e-5
    assert report["exactness"] == "proven"


LOOPS = {
    "seen": {"loop": HEUN, "reach": 2},
    "whole windows, blended": {"loop": EULER, "mean": MEAN, "tile": {"trim": 16, "step": 32}},
    "whole windows, averaged inside": {"loop": AVERAGED, "mean": MEAN, "tile": {"step": 32}},
    "averaged inside, too small a trim": {"loop": AVERAGED, "mean": MEAN, "side": 32, "tile": {"step": 32, "trim": 16}},
}


@pytest.fixture(scope="module", params=list(LOOPS))
def looped(request, world, tmp_path_factory):
    """A card of a loop, and the image of one run of it in blocks of 64."""
    folder = tmp_path_factory.mktemp("looped")
    told = dict(LOOPS[request.param])
    card = denoiser(folder / "card", told.pop("loop"), **told)
    _, image = done(world, card, folder / "out", tile={"block": 64})
    return card, image


CUTS = [{"tile": {"block": 512}}, {"tile": {"block": 1024}}, {"tile": {"block": 32}, "workers": 4}, {"workers": 4}]


@pytest.mark.parametrize("changes", CUTS, ids=str)
def test_the_image_is_the_same_in_every_cut(world, looped, tmp_path, changes):
    card, image = looped
    _, other = done(world, card, tmp_path / "out", **changes)
    assert np.array_equal(image, other, equal_nan=True)


@pytest.mark.parametrize("rows", [(57, 201), (8, 269)], ids=str)
def test_a_moved_area_has_the_same_image(world, looped, tmp_path, rows):
    card, image = looped
    cols = (33, 180)
    _, other = done(world, card, tmp_path / "out", rows=rows, cols=cols, tile={"block": 128})
    same = image[rows[0] - ROWS[0] : rows[1] - ROWS[0], cols[0] - COLS[0] : cols[1] - COLS[0]]
    assert np.array_equal(same, other, equal_nan=True)


def test_a_run_broken_off_ends_as_the_whole_one_and_a_rerun_is_the_same(world, looped, tmp_path):
    card, image = looped
    job = pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, tile={"block": 64})
    n_blocks = []

    def breaking(event):
        n_blocks.append(isinstance(event, Advance) and bool(event.block))
        if sum(n_blocks) == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(job, RunOptions(workers=1), listener=breaking)
    report = run_job(job, RunOptions(workers=2)).report
    assert 0 < report["blocks_made"] < report["blocks"]
    assert np.array_equal(image, layer(tmp_path / "out", "image"), equal_nan=True)
    again = rerun_item(str(tmp_path / "out/item.json"), output=str(tmp_path / "again"))
    assert again["layers"] == {"image": True}


@pytest.mark.parametrize("changes", [{"seed": 4}, {"steps": 4, "sigmas": [1.0, 0.8, 0.5, 0.2, 0.0]}], ids=str)
def test_another_seed_and_another_number_of_steps_make_every_block_anew(world, tmp_path, changes):
    card = denoiser(tmp_path / "card", EULER)
    job = pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, tile={"block": 64})
    n_blocks = run_world(job).report["blocks"]
    (tmp_path / "out/item.json").unlink()
    assert run_world(job).report["blocks_made"] == 0
    loop = {**EULER, **changes}
    denoiser(tmp_path / "card", loop)
    report = run_job(job, RunOptions(workers=1, update=True)).report
    assert report["blocks_made"] == n_blocks
    expected = by_hand(world, loop, seed=loop["seed"])
    assert np.nanmax(np.abs(layer(tmp_path / "out", "image") - expected)) < 1e-5


@pytest.mark.parametrize("name", ["seen", "whole windows, averaged inside"])
def test_a_place_has_the_value_of_its_map(world, tmp_path, name):
    told = dict(LOOPS[name])
    card = denoiser(tmp_path / "card", told.pop("loop"), **told)
    _, image = done(world, card, tmp_path / "map")
    rows, cols = [40, 77, 143, 220], [33, 150, 91, 260]
    points = write_points(tmp_path / "points.parquet", [row + 0.5 for row in rows], [col + 0.5 for col in cols])
    run_world(places_job(world, card, points, tmp_path / "out"))
    found = geopandas.read_parquet(tmp_path / "out/places.parquet")["image"].to_numpy()
    expected = image[[row - ROWS[0] for row in rows], [col - COLS[0] for col in cols]]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_seam_layers_of_a_loop_come_back_in_a_rerun(world, tmp_path):
    card = denoiser(tmp_path / "card", EULER, mean=MEAN, side=32, tile={"step": 16, "trim": 8, "merge": "trim"})
    report, _ = done(world, card, tmp_path / "out", seams=True, tile={"block": 64})
    assert [row["name"] for row in report["layers"]] == ["image", "image_seam"]
    again = rerun_item(str(tmp_path / "out/item.json"), output=str(tmp_path / "again"))
    assert again["layers"] == {"image": True, "image_seam": True}


def test_a_plan_tells_what_a_loop_takes(world, tmp_path):
    seconds = {}
    for steps in (4, 64):
        loop = {**EULER, "steps": steps, "sigmas": [1 - step / steps for step in range(steps)] + [0.0]}
        card = denoiser(tmp_path / f"card{steps}", loop, tile={"step": 256})
        job = pixel_job(world, card, tmp_path / f"out{steps}", rows=ROWS, cols=COLS)
        plan = plan_job(job)
        loaded = load_model(plan, job_card(job), provider="cpu")
        seconds[steps] = calibrate(plan, loaded.card, loaded.session).window
        assert estimate(plan, job_card(job)).memory_bytes > 0
    assert 8 < seconds[64] / seconds[4] < 32


def test_windows_averaged_inside_the_loop_have_no_seams_and_others_have(world, tmp_path):
    plain = denoiser(tmp_path / "plain", EULER, mean=MEAN, side=32, tile={"step": 16, "trim": 8, "merge": "trim"})
    inside = denoiser(tmp_path / "inside", AVERAGED, mean=MEAN, side=32, tile={"step": 32})
    told = {}
    for name, card in (("plain", plain), ("inside", inside)):
        report, _ = done(world, card, tmp_path / f"out-{name}", tile={"block": 256})
        told[name] = report["exactness"], report["seams"]["percent"], report["seams"]["pixels"] > 0
    assert told["inside"] == ("proven", 0, True)
    assert told["plain"][0] == "no"
    assert told["plain"][1] > 50


def test_the_windows_of_the_average_are_the_grounds_and_not_the_steps_of_the_map(world, tmp_path):
    images = []
    for step in (32, 48, 64):
        card = denoiser(tmp_path / f"card{step}", AVERAGED, mean=MEAN, side=32, tile={"step": step})
        images.append(done(world, card, tmp_path / f"out{step}")[1])
    assert np.array_equal(images[0], images[1], equal_nan=True)
    assert np.array_equal(images[0], images[2], equal_nan=True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fuse": "yes"}, "fuse: yes cannot be: small runs in a loop"),
        ({"precision": "int8"}, "precision: int8 cannot be: small runs in a loop"),
    ],
    ids=str,
)
def test_what_a_loop_cannot_be_is_refused(world, tmp_path, changes, words):
    card = denoiser(tmp_path / "card", EULER)
    with pytest.raises(ValueError, match=words):
        done(world, card, tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


def test_flips_of_a_loop_turn_its_noise_with_its_picture(world, tmp_path):
    # What looks at single pixels is the same however a window is turned, if its noise is turned with it.
    card = denoiser(tmp_path / "card", EULER)
    _, image = done(world, card, tmp_path / "out", augment="d4")
    assert np.nanmax(np.abs(image - by_hand(world, EULER))) < 1e-5


def test_several_loops_are_averaged_as_other_models_are(world, tmp_path):
    cards = [denoiser(tmp_path / f"card{seed}", {**EULER, "seed": seed}) for seed in (3, 4)]
    _, image = done(world, cards[0], tmp_path / "out", ensemble=[str(cards[1])])
    expected = (by_hand(world, EULER, seed=3) + by_hand(world, EULER, seed=4)) / 2
    assert np.nanmax(np.abs(image - expected)) < 1e-5
