"""The tuned graph: cached, used only if its results equal the original's, and independent of how a map is cut."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.support.graphs import Draft, pointwise, unet
from tests.support.worlds import World, layer, pixel_job, run, write_card
from tilewright.flows.job.job import JobError
from tilewright.flows.plan.make import plan_job
from tilewright.flows.plan.model_graph import load_model
from tilewright.models import cache
from tilewright.models.card.card import ModelCard, load_card
from tilewright.models.optimise import tune as tuned
from tilewright.models.optimise.tune import tuned_card
from tilewright.models.run.augment import augmented_card
from tilewright.models.run.open import open_session
from tilewright.models.run.smoke_run import synthetic_inputs

pytestmark = pytest.mark.usefixtures("small_pictures")
SIDE = 256
BANDS = ("blue", "green", "red", "nir")
IMAGE = {"name": "x", "bands": BANDS, "value_scaling": [{"type": "z-score", "mean": 0.3, "stddev": 0.2}]}
HEAD = {"name": "y", "classes": ["a", "b", "c"], "tw:activation": "softmax", "tw:layers": ["class", "confidence"]}


def network() -> onnx.ModelProto:
    return unet(depth=1, width=16, seed=4)


@pytest.fixture(scope="module")
def card_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_card(tmp_path_factory.mktemp("card"), network(), inputs=[IMAGE], outputs=[HEAD])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = World(tmp_path_factory.mktemp("world"))
    for seed, band in enumerate(BANDS):
        values = np.random.default_rng(seed).uniform(0, 0.6, (SIDE, SIDE)).astype(np.float32)
        made.add(values, band, unit="reflectance")
    return made


def test_the_tuned_graph_answers_as_the_cards_own_and_is_kept(card_folder, tmp_path, monkeypatch):
    card = load_card(card_folder)
    made = tuned_card(card, window=96, stride=2, cache=tmp_path, batch=2)
    assert (made.digest, made.name) == (card.digest, card.name)
    session = open_session(made, provider="cpu")
    assert session.inputs[0].shape == (2, 4, 96, 96)
    one = synthetic_inputs(card, side=96)
    feeds = {name: np.concatenate([feed, feed[:, :, ::-1]]) for name, feed in one.items()}
    plain = open_session(card, provider="cpu").run(feeds)["y"]
    assert np.abs(session.run(feeds)["y"] - plain).max() <= 1e-5 * np.abs(plain).max()
    alone = session.run_batch(one, batch=2, windows=1)["y"]
    assert np.array_equal(alone[0], session.run(feeds)["y"][0]), "a window does not know what it runs with"
    monkeypatch.setattr(tuned, "_try_tune", None)
    assert tuned_card(card, window=96, stride=2, cache=tmp_path, batch=2) == made, "made once"


@pytest.mark.parametrize("known", [False, True], ids=["new-process", "same-process"])
@pytest.mark.parametrize("damage", ["empty", "cut", "bit", "weights", "other-graph", "of-another-window"])
def test_a_kept_graph_that_is_not_the_cards_own_is_made_again(card_folder, tmp_path, monkeypatch, damage, known):
    """Whoever may write the cache decides no pixel, and neither does a disk that loses a bit."""
    card = load_card(card_folder)
    made = tuned_card(card, window=96, stride=2, cache=tmp_path)
    right = made.model_path.read_bytes()
    match damage:
        case "weights":
            graph = onnx.load_from_string(right)
            graph.graph.initializer[0].raw_data = bytes(len(graph.graph.initializer[0].raw_data))
            wrong = graph.SerializeToString(deterministic=True)
        case "other-graph":
            wrong = pointwise(4, 3).SerializeToString()
        case "of-another-window":
            wrong = tuned_card(card, window=64, stride=2, cache=tmp_path / "other").model_path.read_bytes()
        case _:
            flipped = right[:900] + bytes([right[900] ^ 1]) + right[901:]
            wrong = {"empty": b"", "cut": right[:-7], "bit": flipped}[damage]
    assert wrong != right
    made.model_path.write_bytes(wrong)
    if not known:
        monkeypatch.setattr(tuned, "_digests", {})
    again = tuned_card(card, window=96, stride=2, cache=tmp_path)
    assert again == made
    assert made.model_path.read_bytes() == right


def test_a_graph_in_place_of_the_word_that_nothing_is_won_is_not_run(tmp_path, monkeypatch):
    head = {**HEAD, "classes": ["a", "b"]}
    card = load_card(
        write_card(tmp_path / "card", pointwise(2, 2), inputs=[{"name": "x", "bands": BANDS[:2]}], outputs=[head])
    )
    assert tuned_card(card, window=96, stride=1, cache=tmp_path / "cache") is card
    (kept,) = (tmp_path / "cache").iterdir()
    for content in (unet(2, 2, depth=1).SerializeToString(), b""):
        kept.write_bytes(content)
        monkeypatch.setattr(tuned, "_digests", {})
        assert tuned_card(card, window=96, stride=1, cache=tmp_path / "cache") is card
        assert kept.read_bytes() == tuned.NO_GAIN


def test_where_nothing_is_won_the_card_stays_itself_and_that_is_kept_too(tmp_path, monkeypatch):
    head = {**HEAD, "classes": ["a", "b"]}
    card = load_card(
        write_card(tmp_path / "card", pointwise(2, 2), inputs=[{"name": "x", "bands": BANDS[:2]}], outputs=[head])
    )
    assert tuned_card(card, window=96, stride=1, cache=tmp_path / "cache") is card
    monkeypatch.setattr(tuned, "_try_tune", None)
    assert tuned_card(card, window=96, stride=1, cache=tmp_path / "cache") is card


def test_a_graph_that_blows_rounding_up_runs_as_it_came(tmp_path, monkeypatch):
    """The last digits of a sum decide its answers, so no other order of additions will do."""
    draft = Draft(3)
    parts = [draft.node("Relu", draft.conv("x", 4, 16)) for _ in range(2)]
    total = draft.conv(draft.node("Concat", *parts, axis=1), 32, 3)
    large = draft.node("Mul", total, draft.constant([1e6]))
    card = load_card(
        write_card(
            tmp_path / "card", draft.model(draft.node("Sin", large), n_in=4, n_out=3), inputs=[IMAGE], outputs=[HEAD]
        )
    )
    assert tuned_card(card, window=96, stride=1, cache=tmp_path / "cache") is card
    monkeypatch.setattr(tuned, "TOLERANCE", 10.0)
    assert tuned_card(card, window=96, stride=1, cache=tmp_path / "again") is not card, "it could have been split"


def joined(draft: Draft, x: str = "x") -> str:
    parts = [draft.node("Relu", draft.conv(x, 4, 16)) for _ in range(2)]
    return draft.conv(draft.node("Concat", *parts, axis=1), 32, 3)


def tuned_of(folder: Path, model: onnx.ModelProto, **said: object) -> tuple[ModelCard, ModelCard]:
    card = load_card(write_card(folder / "card", model, inputs=[{**IMAGE, **said}], outputs=[HEAD]))
    return card, tuned_card(card, window=96, stride=2, cache=folder / "cache", batch=card.batch or 1)


def test_a_batch_that_the_graph_fixes_is_kept(tmp_path):
    draft = Draft(3)
    port = ("x", TensorProto.FLOAT, [2, 4, "h", "w"])
    model = draft.model_many([port], [(joined(draft), "y", TensorProto.FLOAT, [2, 3, "h", "w"])])
    card, made = tuned_of(tmp_path, model)
    assert made is not card
    assert open_session(made, provider="cpu").inputs[0].shape == (2, 4, 96, 96)


def test_any_number_of_dates_stays_free(tmp_path):
    draft = Draft(3)
    port = ("x", TensorProto.FLOAT, ["b", "t", 4, "h", "w"])
    result = joined(draft, draft.node("ReduceMean", "x", axes=[1], keepdims=0))
    model = draft.model_many([port], [(result, "y", TensorProto.FLOAT, ["b", 3, "h", "w"])])
    dims = ("batch", "time", "bands", "height", "width")
    card, made = tuned_of(tmp_path, model, dims=dims, **{"tw:dates": {"kind": "each"}})
    assert made is card


def taken_name(draft: Draft) -> str:
    made = joined(draft)
    draft.nodes.append(helper.make_node("Identity", [made], [f"{made}/part0"]))
    return draft.node("Add", made, f"{made}/part0")


def size_of_the_window(draft: Draft) -> str:
    """Runs on windows of 96 px only, which neither graph nor card says."""
    return draft.node("Reshape", joined(draft), draft.constant(np.array([-1, 3, 96, 96])))


@pytest.mark.parametrize("build", [taken_name, size_of_the_window], ids=lambda each: each.__name__)
def test_a_graph_that_cannot_be_rewritten_or_tried_runs_as_it_came(tmp_path, build):
    draft = Draft(3)
    card, made = tuned_of(tmp_path, draft.model(build(draft), n_in=4, n_out=3))
    assert made is card
    assert open_session(made, provider="cpu").run(synthetic_inputs(card, side=96))["y"].shape == (1, 3, 96, 96)


def test_a_cache_that_cannot_be_written_costs_no_run(card_folder, tmp_path):
    card = load_card(card_folder)
    (tmp_path / "file").touch()
    made = tuned_card(card, window=96, stride=2, cache=tmp_path / "file")
    assert made is not card
    assert tuned_card(card, window=96, stride=2, cache=tmp_path / "file") == made


def test_where_no_disk_takes_the_graph_the_cards_own_runs(card_folder, tmp_path, monkeypatch):
    card = load_card(card_folder)
    (tmp_path / "file").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    cache.process_folder.cache_clear()
    assert tuned_card(card, window=96, stride=2, cache=tmp_path / "file") is card


def test_members_are_tuned_one_by_one(card_folder, tmp_path):
    card = augmented_card(load_card(card_folder), kind="flips", spread=False)
    made = tuned_card(card, window=96, stride=2, cache=tmp_path)
    assert made.members != card.members
    feeds = synthetic_inputs(card.members[0], side=96)
    one, two = (open_session(each, provider="cpu").run(feeds)["y"] for each in (card, made))
    assert np.abs(one - two).max() <= 1e-5


def test_a_map_of_the_tuned_graph_is_the_plain_ones_and_knows_nothing_of_the_cut(world, card_folder, tmp_path):
    def mapped(name, *, rows=(8, 248), cols=(8, 248), workers=1, **options):
        return run(pixel_job(world, card_folder, tmp_path / name, rows=rows, cols=cols, **options), workers=workers)

    made = mapped("tuned")
    plain = mapped("plain", fuse="no")
    assert (made.report["tuned"], plain.report["tuned"]) == (True, False)
    assert (layer(made.output, "class") == layer(plain.output, "class")).mean() >= 0.9999
    apart = layer(made.output, "confidence").astype(int) - layer(plain.output, "confidence")
    assert np.abs(apart).max() <= 1
    others = {
        "block": mapped("block", tile={"block": 256}, workers=4),
        "moved": mapped("moved", rows=(39, 201), cols=(61, 230)),
        "batch": mapped("batch", tile={"batch": 3}),
    }
    for name in ("class", "confidence"):
        reference = layer(made.output, name)
        assert np.array_equal(layer(others["block"].output, name), reference)
        assert np.array_equal(layer(others["batch"].output, name), reference)
        assert np.array_equal(layer(others["moved"].output, name), reference[31:193, 53:222])


def test_the_plan_says_so_and_a_product_of_the_plain_graph_is_another(world, card_folder, tmp_path):
    one, two = (
        plan_job(pixel_job(world, card_folder, tmp_path / "out", rows=(8, 120), cols=(8, 120), fuse=fuse))
        for fuse in ("auto", "no")
    )
    assert (one.model.tuned, two.model.tuned) == (True, False)
    assert one.settings_key() != two.settings_key()


def test_a_process_that_cannot_have_the_tuned_graph_refuses_the_plan(world, card_folder, tmp_path, monkeypatch):
    """Another graph would make other pixels under the same key."""
    plan = plan_job(pixel_job(world, card_folder, tmp_path / "out", rows=(8, 120), cols=(8, 120)))
    card = load_card(card_folder)
    assert load_model(plan, card, provider="cpu").session.inputs[0].shape == (1, 4, *[plan.raster.lattice.window] * 2)
    monkeypatch.setenv("TILEWRIGHT_CACHE", str(tmp_path / "elsewhere"))
    monkeypatch.setattr(tuned, "TOLERANCE", -1.0)
    with pytest.raises(JobError, match="tuned to its windows.*fuse: no and --replace"):
        load_model(plan, card, provider="cpu")
