"""Flips and rotations of one model, and ensembles of several, against numpy on the whole image."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto

from tests.support.graphs import Draft, fusion, pointwise, unet
from tests.support.products import writing_worker
from tests.support.worlds import COL, ROW, World, layer, pixel_job, run, write_card
from tilewright.flows.job.job import JobError
from tilewright.flows.job.options import AugmentOptions, EnsembleOptions
from tilewright.models.errors import CardError
from tilewright.models.run.augment import FLIPS
from tilewright.models.transforms.noise import normal_noise
from tilewright.tasks.block.floor import calibrate

pytestmark = pytest.mark.usefixtures("small_pictures")
SIDE = 256
ROWS, COLS = (65, 190), (70, 201)
HERE = (slice(None), slice(*ROWS), slice(*COLS))
BANDS = ("red", "nir")
IMAGE = {"name": "x", "bands": BANDS}
NAMES = ("low", "middle", "high")
CLASSES = {"name": "y", "classes": NAMES, "tw:activation": "softmax", "tw:layers": ["class", "confidence"]}
VALUES = {"name": "y", "tw:layers": list(NAMES), "tw:unit": "t/ha"}


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(11).uniform(0, 1, (2, SIDE, SIDE)).astype(np.float32)


@pytest.fixture(scope="module")
def world(pixels, tmp_path_factory):
    made = World(tmp_path_factory.mktemp("world"))
    for band, values in zip(BANDS, pixels, strict=True):
        made.add(values, band, unit="reflectance")
    return made


def graph(seed, depth=2):
    return unet(2, 3, width=4, depth=depth, seed=seed)


def whole(model, image):
    """Scores (3, SIDE, SIDE) of a whole image."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.ascontiguousarray(image)[None]})[0][0]


def all_flips(model, image):
    """Scores (8, 3, SIDE, SIDE) of the four quarter rotations and their mirror images, rotated back."""
    made = []
    for quarters in range(4):
        for mirrored in (False, True):
            seen = np.rot90(image, quarters, (1, 2))
            scores = whole(model, seen[:, :, ::-1] if mirrored else seen)
            made.append(np.rot90(scores[:, :, ::-1] if mirrored else scores, -quarters, (1, 2)))
    return np.stack(made)


def softmax(scores, axis=0):
    made = np.exp(scores - scores.max(axis=axis, keepdims=True))
    return made / made.sum(axis=axis, keepdims=True)


@pytest.fixture
def produce(world, tmp_path):
    def run_card(card, *, to="out", **options):
        return run(pixel_job(world, card, tmp_path / to, rows=ROWS, cols=COLS, **options))

    return run_card


def card_of(folder, seed=0, depth=2, head=CLASSES, name="small"):
    return write_card(folder, graph(seed, depth), inputs=[IMAGE], outputs=[head], name=name)


def test_the_eight_turns_are_eight_and_each_is_undone():
    square = np.arange(9).reshape(1, 1, 3, 3)
    seen = {flip.apply(square, 2, 3).tobytes() for flip in FLIPS["d4"]}
    assert (len(seen), len(FLIPS["flips"])) == (8, 4)
    assert all(np.array_equal(flip.undo(flip.apply(square, 2, 3)), square) for flip in FLIPS["d4"])


def test_values_seen_from_eight_sides_are_their_mean_and_spread_exactly(produce, pixels, tmp_path):
    outcome = produce(card_of(tmp_path / "card", head=VALUES), augment={"kind": "d4", "spread": True})
    sides = all_flips(graph(0), pixels)[(slice(None), *HERE)]
    for number, name in enumerate(NAMES):
        assert np.abs(layer(outcome.output, name) - sides[:, number].mean(axis=0)).max() < 1e-5
        assert np.abs(layer(outcome.output, f"{name}_spread") - sides[:, number].std(axis=0)).max() < 1e-5
    assert outcome.report["exact"]
    stated = {entry["name"]: entry["unit"] for entry in outcome.report["layers"]}
    assert stated["low_spread"] == "t/ha"


def test_classes_seen_from_four_sides_neither_know_the_cut(produce, pixels, world, tmp_path):
    card = card_of(tmp_path / "card")
    options = {"augment": {"kind": "flips", "spread": True}}
    outcome = produce(card, tile={"block": 512}, **options)
    flipped = [np.flip(whole(graph(0), np.flip(pixels, axes)), axes) for axes in ((), (1,), (2,), (1, 2))]
    shares = softmax(np.stack(flipped), axis=1)[(slice(None), *HERE)]
    close(layer(outcome.output, "confidence"), shares.mean(axis=0).max(axis=0) * 100)
    close(layer(outcome.output, "spread"), shares.std(axis=0).max(axis=0) * 100)
    small = run(
        pixel_job(world, card, tmp_path / "small", rows=(90, 150), cols=(99, 180), tile={"block": 64}, **options)
    )
    for name in ("class", "confidence", "spread"):
        assert np.array_equal(layer(small.output, name), layer(outcome.output, name)[25:85, 29:110])


def close(percent, expected):
    assert np.abs(percent - expected).max() <= 0.51


def test_an_ensemble_of_unlike_strides_is_the_mean_and_says_where_its_members_disagree(produce, pixels, tmp_path):
    first = card_of(tmp_path / "one", seed=1, name="one")
    second = card_of(tmp_path / "two", seed=2, depth=3, name="two")
    options = {"ensemble": {"models": [str(second)], "disagreement": True}}
    outcome = produce(first, **options)
    shares = softmax(np.stack([whole(graph(1), pixels), whole(graph(2, 3), pixels)]), axis=1)[(slice(None), *HERE)]
    mean = shares.mean(axis=0)
    assert (layer(outcome.output, "class") == mean.argmax(axis=0)).mean() > 0.9999
    close(layer(outcome.output, "confidence"), mean.max(axis=0) * 100)
    unlike = (shares.argmax(axis=1) != mean.argmax(axis=0)).mean(axis=0)
    assert (np.abs(layer(outcome.output, "disagreement") - unlike * 100) <= 0.51).mean() > 0.9999
    assert unlike.max() > 0
    assert outcome.report["exact"]
    assert outcome.report["model"]["name"] == "one+two"
    assert produce(first, **options).already_complete


def test_three_models_vote_and_are_seen_from_all_sides(produce, pixels, tmp_path):
    cards = [card_of(tmp_path / str(seed), seed=seed) for seed in (1, 2, 3)]
    options = {"ensemble": {"models": [str(card) for card in cards[1:]], "combine": "vote"}, "augment": "d4"}
    outcome = produce(cards[0], **options)
    sides = np.stack([all_flips(graph(seed), pixels) for seed in (1, 2, 3)])[(slice(None), slice(None), *HERE)]
    votes = np.stack([(sides.argmax(axis=2) == number).mean(axis=0) for number in range(3)], axis=1).mean(axis=0)
    clear = np.sort(votes, axis=0)[-1] - np.sort(votes, axis=0)[-2] > 1e-3
    assert np.array_equal(layer(outcome.output, "class")[clear], votes.argmax(axis=0)[clear])
    close(layer(outcome.output, "confidence"), votes.max(axis=0) * 100)


def test_what_cannot_stand_together_is_refused(produce, tmp_path):
    card = card_of(tmp_path / "card")
    other = card_of(tmp_path / "other", head={**CLASSES, "classes": ("low", "middle", "top")}, name="other")
    with pytest.raises(CardError, match="other cannot stand beside small: outputs must be the same"):
        produce(card, ensemble=[str(other)])
    values = card_of(tmp_path / "values", head=VALUES)
    with pytest.raises(CardError, match="values, which cannot be voted on"):
        produce(values, ensemble={"models": [str(values)], "combine": "vote"})
    with pytest.raises(JobError, match="spread needs a kind"):
        produce(card, augment={"spread": True})
    rows = {"dims": ("batch", "bands")}
    draft_card = write_card(
        tmp_path / "rows", rows_graph(), inputs=[{**IMAGE, **rows}], outputs=[{**VALUES, "dims": ("batch", "class")}]
    )
    with pytest.raises(CardError, match="takes single pixels"):
        produce(draft_card, augment="flips")


def rows_graph():
    draft = Draft()
    weight = draft.constant(np.eye(2, 3, dtype=np.float32))
    return draft.model_many(
        [("x", TensorProto.FLOAT, ["n", 2])],
        [(draft.node("MatMul", "x", weight), "y", TensorProto.FLOAT, ["n", 3])],
    )


def entropies(shares):
    """Of probabilities (runs, classes, y, x): the mean entropy of runs, and that of their mean beyond it, percent."""

    def of(p, axis):
        return -(p * np.log(np.where(p > 0, p, 1))).sum(axis=axis) / np.log(p.shape[axis])

    own = of(shares, 1).mean(axis=0)
    return own * 100, (of(shares.mean(axis=0), 0) - own) * 100


def test_the_entropy_is_split_into_what_runs_see_and_what_they_differ_in(produce, pixels, tmp_path):
    first, second = (card_of(tmp_path / str(seed), seed=seed, name=f"model-{seed}") for seed in (1, 2))
    outcome = produce(first, ensemble={"models": [str(second)], "split": True, "disagreement": True})
    shares = softmax(np.stack([whole(graph(seed), pixels) for seed in (1, 2)]), axis=1)[(slice(None), *HERE)]
    own, between = entropies(shares)
    close(layer(outcome.output, "aleatoric"), own)
    close(layer(outcome.output, "epistemic"), between)
    assert between.max() > 2
    described = {entry["name"]: entry["description"] for entry in outcome.report["layers"]}
    assert "mutual information" in described["epistemic"]
    sides = produce(first, augment={"kind": "d4", "split": True}, to="sides")
    own, between = entropies(softmax(all_flips(graph(1), pixels), axis=1)[(slice(None), *HERE)])
    close(layer(sides.output, "aleatoric"), own)
    close(layer(sides.output, "epistemic"), between)


NOISE = {"kind": "noise", "sigma": {"red": 0.05}, "passes": 5, "seed": 3, "spread": True, "split": True}


def noisy(pixels, passes, seed, *, deviations):
    """The image with the noise of each pass, which is a function of the absolute pixel."""
    rows, cols = range(ROW, ROW + SIDE), range(COL, COL + SIDE)
    scale = np.array(deviations, np.float32)[:, None, None]
    return [
        pixels + normal_noise(seed=seed, step=step, channels=2, rows=rows, cols=cols) * scale for step in range(passes)
    ]


def test_noise_on_the_bands_is_that_of_their_pixels_in_every_cut(produce, pixels, world, tmp_path):
    card = card_of(tmp_path / "card")
    outcome = produce(card, augment=NOISE)
    shares = softmax(np.stack([whole(graph(0), seen) for seen in noisy(pixels, 5, 3, deviations=(0.05, 0))]), axis=1)
    here = shares[(slice(None), *HERE)]
    close(layer(outcome.output, "confidence"), here.mean(axis=0).max(axis=0) * 100)
    close(layer(outcome.output, "spread"), here.std(axis=0).max(axis=0) * 100)
    own, between = entropies(here)
    close(layer(outcome.output, "aleatoric"), own)
    close(layer(outcome.output, "epistemic"), between)
    assert outcome.report["exact"]
    assert layer(outcome.output, "spread").max() > 1
    cut = run(
        pixel_job(
            world,
            card,
            tmp_path / "small",
            rows=(90, 150),
            cols=(99, 180),
            tile={"block": 64, "batch": 3},
            augment=NOISE,
        ),
        workers=3,
    )
    for name in ("class", "confidence", "spread", "aleatoric", "epistemic"):
        assert np.array_equal(layer(cut.output, name), layer(outcome.output, name)[25:85, 29:110])
    assert produce(card, augment=NOISE).already_complete
    other = produce(card, augment={**NOISE, "seed": 4}, to="seeded")
    assert not np.array_equal(layer(other.output, "spread"), layer(outcome.output, "spread"))


def test_noise_is_in_the_bands_unit_and_stays_within_the_limits_of_their_scaling(produce, pixels, tmp_path):
    scaling = [{"type": "z-score", "mean": 0.4, "stddev": 0.2}, {"type": "clip", "minimum": 0.25, "maximum": 0.75}]
    card = write_card(
        tmp_path / "card", graph(0), inputs=[{**IMAGE, "value_scaling": scaling}], outputs=[VALUES], name="scaled"
    )
    outcome = produce(card, augment={"kind": "noise", "sigma": 0.1, "passes": 3, "spread": True})
    plain = np.stack([(pixels[0] - np.float32(0.4)) / np.float32(0.2), np.clip(pixels[1], 0.25, 0.75)])
    seen = noisy(plain.astype(np.float32), 3, 0, deviations=(0.5, 0.1))
    for each in seen:
        each[1] = np.clip(each[1], 0.25, 0.75)
    runs = np.stack([whole(graph(0), each.astype(np.float32)) for each in seen])[(slice(None), *HERE)]
    for number, name in enumerate(NAMES):
        assert np.abs(layer(outcome.output, name) - runs[:, number].mean(axis=0)).max() < 1e-4
        assert np.abs(layer(outcome.output, f"{name}_spread") - runs[:, number].std(axis=0)).max() < 1e-4


@pytest.mark.parametrize(
    ("augment", "words"),
    [
        ({"kind": "noise"}, "sigma: write the deviation"),
        ({"kind": "noise", "sigma": 0}, "greater than 0"),
        ({"kind": "noise", "sigma": float("nan")}, "sigma"),
        (
            {"kind": "noise", "sigma": True},
            "augment.sigma: expected a number greater than 0 and at most 1000000, not True",
        ),
        ({"kind": "noise", "sigma": 1e300}, "augment.sigma: expected a number greater than 0"),
        ({"kind": "noise", "sigma": "much"}, "augment.sigma: expected a number greater than 0.*not 'much'"),
        ({"kind": "noise", "sigma": {"red": float("inf")}}, "augment.sigma: expected a number .* not inf"),
        ({"kind": "noise", "sigma": [0.1]}, "augment.sigma: expected a number"),
        ({"kind": "noise", "sigma": {}}, "sigma: write the deviation"),
        ({"kind": "noise", "sigma": 0.1, "passes": 1}, "passes"),
        ({"kind": "noise", "sigma": 0.1, "passes": 1000}, "passes"),
        ({"kind": "d4", "sigma": 0.1}, "sigma belongs to kind noise"),
        ({"kind": "flips", "seed": 4}, "seed belongs to kind noise"),
        ({"split": True}, "split needs a kind"),
        ({"kind": "noise", "sigma": {"blue": 0.1}}, "small has no band blue; it takes red, nir"),
        ({"kind": "noise", "sigma": {"rad": 0.1}}, "small has no band rad .did you mean 'red'.*; it takes red, nir"),
    ],
)
def test_a_noise_that_cannot_be_is_refused(produce, tmp_path, augment, words):
    with pytest.raises((JobError, CardError), match=words):
        produce(card_of(tmp_path / "card"), augment=augment)


def test_what_has_no_entropy_or_no_line_to_put_noise_on_is_refused(produce, tmp_path):
    values = card_of(tmp_path / "values", head=VALUES)
    with pytest.raises(CardError, match="values, which have no entropy"):
        produce(values, augment={"kind": "flips", "split": True})
    root = {"type": "processing", "format": "tilewright", "expression": "sqrt(x)"}
    bent = write_card(
        tmp_path / "bent", graph(0), inputs=[{**IMAGE, "value_scaling": [root]}], outputs=[CLASSES], name="bent"
    )
    with pytest.raises(CardError, match="scaled by an expression"):
        produce(bent, augment={"kind": "noise", "sigma": 0.1})
    one = card_of(tmp_path / "one")
    other = card_of(tmp_path / "other", seed=2, name="other")
    both = {"ensemble": {"models": [str(other)], "split": True}, "augment": {"kind": "flips", "split": True}}
    with pytest.raises(JobError, match="leave one of them out"):
        produce(one, **both)
    with pytest.raises(JobError, match="votes are sure of themselves"):
        produce(one, ensemble={"models": [str(other)], "split": True, "combine": "vote"})


def test_a_job_of_old_says_what_it_said(tmp_path):
    """The request of a product decides whether a job goes on with it: new options must not change older ones."""
    assert AugmentOptions(kind="d4", spread=True).model_dump(mode="json") == {"kind": "d4", "spread": True}
    assert EnsembleOptions(models=("a",)).model_dump(mode="json") == {
        "models": ["a"], "combine": "mean", "disagreement": False
    }  # fmt: skip


def test_forests_answer_together_as_rows(produce, pixels, tmp_path):
    rows = {"inputs": [{**IMAGE, "dims": ("batch", "bands")}], "outputs": [{**VALUES, "dims": ("batch", "class")}]}
    first = write_card(tmp_path / "one", rows_graph(), name="one", **rows)
    second = write_card(tmp_path / "two", rows_graph(), name="two", **rows)
    outcome = produce(first, ensemble={"models": [str(second)], "disagreement": True})
    assert np.abs(layer(outcome.output, "middle") - pixels[1][HERE[1:]]).max() < 1e-6
    assert np.abs(layer(outcome.output, "middle_disagreement")).max() == 0


def test_models_of_single_pixels_and_of_series_take_noise_too(produce, pixels, world, tmp_path):
    rows = write_card(
        tmp_path / "rows", rows_graph(), name="rows",
        inputs=[{**IMAGE, "dims": ("batch", "bands")}], outputs=[{**VALUES, "dims": ("batch", "class")}],
    )  # fmt: skip
    options = {"augment": {"kind": "noise", "sigma": {"nir": 0.1}, "passes": 4, "spread": True}}
    outcome = produce(rows, **options)
    seen = np.stack([each[1] for each in noisy(pixels, 4, 0, deviations=(0, 0.1))])[HERE]
    assert np.abs(layer(outcome.output, "middle") - seen.mean(axis=0)).max() < 1e-5
    assert np.abs(layer(outcome.output, "middle_spread") - seen.std(axis=0)).max() < 1e-5
    # Two steps in channels: each step has noise of its own.
    steps = write_card(
        tmp_path / "steps", unet(4, 3, width=4, depth=2), name="steps", outputs=[VALUES],
        inputs=[{**IMAGE, "tw:dates": {"kind": "series", "steps": 2}}],
    )  # fmt: skip
    whole_run = produce(steps, to="steps-out", **options)
    cut = run(pixel_job(world, steps, tmp_path / "cut", rows=(90, 150), cols=(99, 180), tile={"block": 64}, **options))
    for name in ("low", "low_spread"):
        assert np.array_equal(layer(cut.output, name), layer(whole_run.output, name)[25:85, 29:110], equal_nan=True)
    assert np.nanmax(layer(whole_run.output, "low_spread")) > 0


@pytest.mark.parametrize("ratio", [2, 3])
def test_noise_on_coarser_bands_lies_on_their_own_pixels(ratio, tmp_path):
    made = World(tmp_path / "world")
    values = np.random.default_rng(5).uniform(0, 1, (4, 240, 240)).astype(np.float32)
    for number, band in enumerate(("red", "nir")):
        made.add(values[number], band, unit="reflectance")
    for number, band in enumerate(("swir16", "swir22"), start=2):
        made.add(values[number, ::ratio, ::ratio], band, unit="reflectance", size=10.0 * ratio)
    inputs = [
        {"name": "fine", "bands": BANDS},
        {"name": "coarse", "bands": ("swir16", "swir22"), "tw:resolution": 10 * ratio},
    ]
    card = write_card(tmp_path / "card", fusion(ratio), inputs=inputs, outputs=[VALUES], tile={"step": 60})
    noise = {"augment": {"kind": "noise", "sigma": {"swir16": 0.1, "nir": 0.02}, "passes": 3, "spread": True}}
    rows, cols = (60, 180), (60, 180)
    big = run(pixel_job(made, card, tmp_path / "big", rows=rows, cols=cols, tile={"block": 480}, **noise))
    small = run(pixel_job(made, card, tmp_path / "small", rows=rows, cols=cols, tile={"block": 60}, **noise))
    none = run(pixel_job(made, card, tmp_path / "none", rows=rows, cols=cols))
    for name in ("low", "low_spread"):
        assert np.array_equal(layer(big.output, name), layer(small.output, name))
    difference = layer(big.output, "low") - layer(none.output, "low")
    assert 0 < np.abs(difference).mean() < 0.2
    assert layer(big.output, "low_spread").min() > 0
    mixed = [inputs[0], {**inputs[1], "tw:unit": "1"}]
    other = write_card(tmp_path / "mixed", fusion(ratio), inputs=mixed, outputs=[VALUES], tile={"step": 60})
    plain = {"rows": rows, "cols": cols, "augment": {"kind": "noise", "sigma": 0.1}}
    with pytest.raises(CardError, match="write one deviation for each"):
        run(pixel_job(made, other, tmp_path / "mixed-out", **plain))


def test_a_pointwise_model_has_no_spread(produce, tmp_path):
    card = write_card(tmp_path / "card", pointwise(2, 3), inputs=[IMAGE], outputs=[CLASSES])
    outcome = produce(card, augment={"kind": "d4", "spread": True})
    assert layer(outcome.output, "spread").max() == 0


def test_the_least_time_of_a_noisy_window_is_measured_with_its_noise(produce, tmp_path):
    outcome = produce(card_of(tmp_path / "card"), augment={"kind": "noise", "sigma": 0.1, "passes": 2})
    worker = writing_worker(outcome.output)
    rates = calibrate(worker.plan, worker.model.card, worker.model.session)
    assert rates.window > 0
