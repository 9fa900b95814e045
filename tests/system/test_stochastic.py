"""Dropout left on in a graph: passes whose draws hang on pixels alone, against numpy and against the whole image."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from tests.support.droppers import NAMES, SHARE, VALUES, deep, dropout, dropped, dropping_card
from tests.support.graphs import Draft
from tests.support.places_cards import places_job, write_points
from tests.support.products import same_layers
from tests.support.worlds import COL, ROW, World, layer, pixel_job
from tests.support.worlds import run as run_world
from tilewright.flows.estimate.estimate import estimate
from tilewright.flows.job.job import JobError
from tilewright.flows.maintain.rerun import rerun_item
from tilewright.flows.plan.make import plan_job
from tilewright.flows.plan.model_card import job_card
from tilewright.flows.plan.model_graph import load_model
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.models.card.card import load_card
from tilewright.models.errors import CardError
from tilewright.models.measure.check import check_card
from tilewright.models.stochastic.passes import stochastic_card
from tilewright.models.transforms.draws import drawn_numbers
from tilewright.models.transforms.noise import kept_places
from tilewright.tasks.block.floor import calibrate
from tilewright.tasks.progress import Advance
from tilewright.tasks.storage.errors import StoreError

pytestmark = pytest.mark.usefixtures("small_pictures")
SIDE = 320
ROWS, COLS = (65, 254), (70, 265)
HERE = (slice(None), slice(*ROWS), slice(*COLS))
ALL = {"passes": 5, "seed": 3, "spread": True, "split": True}
LAYERS = ("class", "confidence", "spread", "aleatoric", "epistemic")


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(11).uniform(0, 1, (2, SIDE, SIDE)).astype(np.float32)


@pytest.fixture(scope="module")
def world(pixels, tmp_path_factory):
    made = World(tmp_path_factory.mktemp("world"))
    for band, values in zip(("red", "nir"), pixels, strict=True):
        made.add(values, band, unit="reflectance")
    return made


def done(world, card, output, *, workers=1, rows=ROWS, cols=COLS, **changes):
    return run_world(pixel_job(world, card, output, rows=rows, cols=cols, **changes), workers=workers)


def softmax(scores):
    made = np.exp(scores - scores.max(axis=1, keepdims=True))
    return made / made.sum(axis=1, keepdims=True)


def hidden(model, pixels):
    """What the graph of `dropped` drops some of, (channels, y, x), and the weights and bias of the sum behind it."""
    weight, bias, *_, head, last = (
        numpy_helper.to_array(each).astype(np.float64) for each in model.graph.initializer if each.dims
    )
    padded = np.pad(pixels.astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    summed = sum(
        np.einsum("oi,iyx->oyx", weight[:, :, row, col], padded[:, row : row + SIDE, col : col + SIDE])
        for row in range(3)
        for col in range(3)
    )
    return np.maximum(summed + bias[:, None, None], 0), head[:, :, 0, 0], last


def by_hand(model, pixels, *, passes, seed, share=SHARE):
    """The scores (passes, 3, y, x) with the masks of absolute pixels."""
    seen, head, last = hidden(model, pixels)
    rows, cols = range(ROW, ROW + SIDE), range(COL, COL + SIDE)
    return np.stack(
        [
            np.einsum("oc,cyx->oyx", head, np.where(kept, seen, 0) / (1 - share)) + last[:, None, None]
            for kept in (
                kept_places(seed=seed, step=step, share=share, channels=len(seen), rows=rows, cols=cols)
                for step in range(passes)
            )
        ]
    )


def entropy(shares, axis):
    return -(shares * np.log(np.where(shares > 0, shares, 1))).sum(axis=axis) / np.log(shares.shape[axis])


@pytest.mark.parametrize("on", [True, False, None], ids=["on", "off", "no switch"])
def test_classes_are_the_mean_of_what_numpy_makes_with_the_same_masks(world, pixels, tmp_path, on):
    model = dropped(on=on)
    outcome = done(world, dropping_card(tmp_path / "card", model, ALL), tmp_path / "out")
    shares = softmax(by_hand(model, pixels, passes=5, seed=3))[(slice(None), *HERE)]
    mean, own = shares.mean(axis=0), entropy(shares, 1).mean(axis=0)
    expected = {
        "confidence": mean.max(axis=0),
        "spread": shares.std(axis=0).max(axis=0),
        "aleatoric": own,
        "epistemic": entropy(mean, 0) - own,
    }
    assert np.mean(layer(outcome.output, "class") == mean.argmax(axis=0)) > 0.9999
    for name, values in expected.items():
        assert np.abs(layer(outcome.output, name) - values * 100).max() <= 0.51
    assert outcome.report["exactness"] == "proven"
    assert layer(outcome.output, "epistemic").max() > 3


def test_many_passes_come_near_the_mean_and_the_deviation_that_the_share_implies(world, pixels, tmp_path):
    model = dropped(on=False)
    card = dropping_card(tmp_path / "card", model, {"passes": 256, "spread": True}, head=VALUES)
    small = {"rows": (100, 132), "cols": (100, 140)}
    outcome = done(world, card, tmp_path / "out", **small)
    seen, head, last = hidden(model, pixels)
    mean = np.einsum("oc,cyx->oyx", head, seen) + last[:, None, None]
    deviation = np.sqrt(np.einsum("oc,cyx->oyx", head**2, seen**2) * SHARE / (1 - SHARE))
    here = (slice(100, 132), slice(100, 140))
    for number, name in enumerate(NAMES):
        # Where all that could be dropped is 0, nothing deviates.
        some = deviation[number][here] > 0.01
        wide = deviation[number][here][some]
        off = (layer(outcome.output, name)[some] - mean[number][here][some]) / (wide / 16)
        # Of some thousand means of 256 draws: themselves unbiased, of their own deviation, none beyond five of it.
        assert off.size > 1000
        assert abs(off.mean()) < 0.15
        assert abs(off.std() - 1) < 0.1
        assert np.abs(off).max() < 5.5
        assert abs((layer(outcome.output, f"{name}_spread")[some] / wide).mean() - 1) < 0.02


def whole(model, card, pixels, passes):
    """The scores (passes, 3, y, x) of the whole image, by the rewritten graph with what it draws there."""
    (member,) = card.members
    session = onnxruntime.InferenceSession(member.model_path.read_bytes(), providers=["CPUExecutionProvider"])
    places = np.array([[ROW, COL, SIDE, SIDE]])
    sites = [extra for extra in member.extras if extra.kind == "drawn"]
    assert len(sites) == sum(node.op_type in {"Dropout", "RandomUniformLike"} for node in model.graph.node)
    drawn = [{each.name: drawn_numbers(each, places, n=1, step=step) for each in sites} for step in range(passes)]
    return np.stack([session.run(None, {"x": pixels[None], **each})[0][0] for each in drawn])


@pytest.fixture(scope="module")
def unet(world, tmp_path_factory):
    """The card of a U-Net that drops at three strides and whole channels, and one run of it in blocks of 64."""
    folder = tmp_path_factory.mktemp("unet")
    card = dropping_card(folder / "card", deep(), ALL, tile={"step": 64})
    return card, done(world, card, folder / "out", tile={"block": 64})


def test_a_network_that_drops_at_several_strides_is_that_of_the_whole_image(unet, pixels):
    folder, outcome = unet
    shares = softmax(whole(deep(), stochastic_card(load_card(folder)), pixels, 5))[(slice(None), *HERE)]
    assert np.abs(layer(outcome.output, "confidence") - shares.mean(axis=0).max(axis=0) * 100).max() <= 0.51
    assert np.abs(layer(outcome.output, "spread") - shares.std(axis=0).max(axis=0) * 100).max() <= 0.51
    assert outcome.report["exactness"] == "proven"
    assert {entry["name"] for entry in outcome.report["layers"]} == set(LAYERS)
    assert layer(outcome.output, "spread").max() > 5


CUTS = [
    {"tile": {"block": 128}},
    {"tile": {"block": 256}, "workers": 4},
    {"tile": {"block": 64, "batch": 8}, "workers": 4},
    {"tile": {"block": 128, "batch": 3, "step": 128}},
]


@pytest.mark.parametrize("changes", CUTS, ids=str)
def test_no_cut_of_the_work_shows(world, unet, tmp_path, changes):
    card, outcome = unet
    other = done(world, card, tmp_path / "out", **changes)
    assert same_layers(outcome.output, other.output)


def test_a_part_of_the_area_has_the_same_pixels(world, unet, tmp_path):
    card, outcome = unet
    part = done(world, card, tmp_path / "out", rows=(91, 201), cols=(99, 180), tile={"block": 64, "batch": 2})
    for name in LAYERS:
        assert np.array_equal(layer(part.output, name), layer(outcome.output, name)[26:136, 29:110])


def test_a_run_broken_off_ends_as_the_whole_one(world, unet, tmp_path):
    card, outcome = unet
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
    assert same_layers(outcome.output, tmp_path / "out")
    assert run_job(job, RunOptions(workers=1)).already_complete


def test_a_cluster_and_a_rerun_draw_alike(world, unet, tmp_path):
    card, outcome = unet
    job = pixel_job(world, card, tmp_path / "dask", rows=ROWS, cols=COLS, tile={"block": 128})
    run_job(job, RunOptions(runner="dask", workers=2))
    assert same_layers(outcome.output, tmp_path / "dask")
    again = rerun_item(str(tmp_path / "dask/item.json"), output=str(tmp_path / "again"))
    assert again["layers"] == dict.fromkeys(LAYERS, True)


def test_a_place_has_the_value_of_its_map(world, unet, tmp_path):
    card, outcome = unet
    rows, cols = [100, 77, 143, 220], [133, 150, 91, 200]
    points = write_points(tmp_path / "points.parquet", [row + 0.5 for row in rows], [col + 0.5 for col in cols])
    run_world(places_job(world, card, points, tmp_path / "out"))
    found = geopandas.read_parquet(tmp_path / "out/places.parquet")
    for name in ("confidence", "spread"):
        expected = layer(outcome.output, name)[[row - ROWS[0] for row in rows], [col - COLS[0] for col in cols]]
        assert found[name].tolist() == expected.tolist()


def test_a_graph_of_one_window_and_four_a_call_draws_as_a_free_one(world, tmp_path):
    made = []
    for name, shape in (("free", ["n", 2, "h", "w"]), ("fixed", [4, 2, 64, 64])):
        draft = Draft(1)
        result = draft.conv(dropout(draft, draft.node("Relu", draft.conv("x", 2, 8))), 8, 3, (1, 1))
        model = draft.model_many([("x", 1, shape)], [(result, "y", 1, [shape[0], 3, *shape[2:]])])
        made.append(done(world, dropping_card(tmp_path / name, model, ALL), tmp_path / f"{name}-out"))
    assert [each.report["exactness"] for each in made] == ["proven", "proven"]
    assert same_layers(made[0].output, made[1].output)


@pytest.mark.parametrize("changes", [{"seed": 4}, {"passes": 6}], ids=str)
def test_another_seed_and_another_number_of_passes_are_another_product(world, unet, tmp_path, changes):
    _, outcome = unet
    card = dropping_card(tmp_path / "card", deep(), {**ALL, **changes}, tile={"step": 64})
    other = done(world, card, tmp_path / "out", tile={"block": 64})
    assert not np.array_equal(layer(outcome.output, "epistemic"), layer(other.output, "epistemic"))
    with pytest.raises(StoreError, match="model differs"):
        done(world, card, Path(outcome.output), tile={"block": 64})


def test_a_card_that_does_not_ask_keeps_dropout_at_rest_and_refuses_one_that_is_on(world, pixels, tmp_path):
    model = dropped(on=False)
    outcome = done(world, dropping_card(tmp_path / "rest", model, None, head=VALUES), tmp_path / "out")
    seen, head, last = hidden(model, pixels)
    expected = (np.einsum("oc,cyx->oyx", head, seen) + last[:, None, None])[HERE]
    for number, name in enumerate(NAMES):
        assert np.abs(layer(outcome.output, name) - expected[number]).max() < 1e-4
    with pytest.raises(CardError, match=r"draws random numbers .*tw:stochastic"):
        load_card(dropping_card(tmp_path / "on", dropped(), None))


def test_a_plan_tells_what_passes_take(world, tmp_path):
    seconds, memory = {}, {}
    for passes in (4, 64):
        card = dropping_card(tmp_path / f"card{passes}", deep(), {**ALL, "passes": passes}, tile={"step": 256})
        job = pixel_job(world, card, tmp_path / f"out{passes}", rows=ROWS, cols=COLS)
        plan = plan_job(job)
        loaded = load_model(plan, job_card(job), provider="cpu")
        seconds[passes] = calibrate(plan, loaded.card, loaded.session).window
        told = estimate(plan, job_card(job))
        memory[passes] = told.memory_bytes
        assert ("draws", f"mean over {passes} passes with what the graph draws, of seed 3") in told.lines(plan)
    assert 8 < seconds[64] / seconds[4] < 32
    # One pass is in memory at a time.
    assert memory[4] == pytest.approx(memory[64], rel=0.01)


def test_a_check_of_a_card_proves_the_graph_with_what_it_draws(unet, tmp_path):
    folder, _ = unet
    report = check_card(load_card(folder), cache=tmp_path)
    told = dict(report.lines())
    assert told["loop"] == "mean over 5 passes with what the graph draws, of seed 3"
    assert report.receptive_field.verdict == "bounded"
    assert report.receptive_field.stride == 4
    assert report.proof is not None
    assert report.proof.difference == 0
    assert not report.warnings


def test_rows_that_are_pixels_drop_the_same_in_all_of_a_pass(world, pixels, tmp_path):
    draft = Draft(2)
    first = draft.random.normal(size=(2, 6)).astype(np.float32)
    last = draft.random.normal(size=(6, 3)).astype(np.float32)
    seen = draft.node("Relu", draft.node("MatMul", "x", draft.constant(first)))
    ratio, on = draft.constant(np.array(SHARE, np.float32)), draft.constant(np.array(True))
    made = draft.node("MatMul", draft.node("Dropout", seen, ratio, on), draft.constant(last))
    model = draft.model_many([("x", onnx.TensorProto.FLOAT, ["n", 2])], [(made, "y", onnx.TensorProto.FLOAT, ["n", 3])])
    card = dropping_card(
        tmp_path / "card", model, {"passes": 4, "spread": True}, head={**VALUES, "dims": ("batch", "class")},
        image={"dims": ("batch", "bands")},
    )  # fmt: skip
    outcome = done(world, card, tmp_path / "out", tile={"block": 64})
    inside = np.maximum(np.einsum("byx,bc->cyx", pixels, first), 0)
    runs = []
    for step in range(4):
        kept = kept_places(seed=0, step=step, share=SHARE, channels=6, rows=range(1), cols=range(1))
        runs.append(np.einsum("cyx,co->oyx", inside * kept / (1 - SHARE), last)[HERE])
    for number, name in enumerate(NAMES):
        assert np.abs(layer(outcome.output, name) - np.mean(runs, axis=0)[number]).max() < 1e-4
        assert np.abs(layer(outcome.output, f"{name}_spread") - np.std(runs, axis=0)[number]).max() < 1e-4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"augment": "d4"}, "augment: small runs in passes with what it draws .*leave augment out"),
        ({"augment": {"kind": "noise", "sigma": 0.1}}, "augment: small runs in passes"),
        ({"ensemble": True}, "ensemble: small runs in passes with what it draws .*leave ensemble out"),
    ],
    ids=str,
)
def test_other_runs_beside_passes_are_refused(world, tmp_path, options, words):
    card = dropping_card(tmp_path / "card", dropped(), ALL)
    given = {"ensemble": [str(card)]} if "ensemble" in options else options
    with pytest.raises(JobError, match=words):
        done(world, card, tmp_path / "out", **given)
