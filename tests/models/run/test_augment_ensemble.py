"""Flips and rotations of one model, and ensembles of several, against numpy on the whole image."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto

from tests.support.graphs import Draft, pointwise, unet
from tests.support.worlds import World, layer, pixel_job, run, write_card
from tilewright.flows.job.job import JobError
from tilewright.models.errors import CardError
from tilewright.models.run.augment import FLIPS

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
    def run_card(card, **options):
        return run(pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, **options))

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


def test_forests_answer_together_as_rows(produce, pixels, tmp_path):
    rows = {"inputs": [{**IMAGE, "dims": ("batch", "bands")}], "outputs": [{**VALUES, "dims": ("batch", "class")}]}
    first = write_card(tmp_path / "one", rows_graph(), name="one", **rows)
    second = write_card(tmp_path / "two", rows_graph(), name="two", **rows)
    outcome = produce(first, ensemble={"models": [str(second)], "disagreement": True})
    assert np.abs(layer(outcome.output, "middle") - pixels[1][HERE[1:]]).max() < 1e-6
    assert np.abs(layer(outcome.output, "middle_disagreement")).max() == 0


def test_a_pointwise_model_has_no_spread(produce, tmp_path):
    card = write_card(tmp_path / "card", pointwise(2, 3), inputs=[IMAGE], outputs=[CLASSES])
    outcome = produce(card, augment={"kind": "d4", "spread": True})
    assert layer(outcome.output, "spread").max() == 0
