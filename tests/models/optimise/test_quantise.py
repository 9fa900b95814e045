"""A graph of 8 bits: from ranges alone, the same every time, near the original, its first and last layers untouched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.support.graphs import Draft, unet
from tests.support.worlds import write_card
from tilewright.models.card.card import load_card
from tilewright.models.errors import CardError
from tilewright.models.optimise.quantise import measure_ranges, quantise_obstacle, quantised_card
from tilewright.models.run.open import open_session

INPUT = {"name": "x", "bands": ["red", "nir"]}
OUTPUT = {"name": "y", "classes": ["a", "b", "c"], "tw:activation": "softmax"}


def windows(n: int = 3) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(1)
    return [{"x": random.normal(0, 1, (1, 2, 64, 64)).astype(np.float32)} for _ in range(n)]


@pytest.fixture
def card(tmp_path: Path):
    return load_card(write_card(tmp_path / "card", unet(2, 3, depth=2), inputs=[INPUT], outputs=[OUTPUT]))


def test_the_same_ranges_make_the_same_graph_in_any_cache(card, tmp_path):
    ranges = measure_ranges(card, windows())
    one, two = (quantised_card(card, ranges, cache=tmp_path / name) for name in ("one", "two"))
    assert one.sha256 == two.sha256 != card.sha256
    assert one.model_path != two.model_path
    assert (one.name, one.digest) == (card.name, card.digest)
    wider = {name: (2 * low, 2 * high) for name, (low, high) in ranges.items()}
    assert quantised_card(card, wider, cache=tmp_path / "one").sha256 != one.sha256


@pytest.mark.parametrize("content", [b"", b"half", None])
def test_a_kept_graph_that_is_another_is_made_anew(card, tmp_path, content):
    ranges = measure_ranges(card, windows())
    made = quantised_card(card, ranges, cache=tmp_path)
    other = card.model_path.read_bytes() if content is None else content
    for known in ("", made.sha256):
        made.model_path.write_bytes(other)
        assert quantised_card(card, ranges, cache=tmp_path, sha256=known).sha256 == made.sha256
        assert made.model_path.read_bytes() != other


def test_a_kept_graph_of_the_plan_is_not_made_again(card, tmp_path):
    ranges = measure_ranges(card, windows())
    made = quantised_card(card, ranges, cache=tmp_path)
    before = made.model_path.stat().st_ino
    assert quantised_card(card, ranges, cache=tmp_path, sha256=made.sha256) == made
    assert made.model_path.stat().st_ino == before


def test_its_scores_are_near_and_its_weights_are_bytes_but_for_the_first_and_last_layer(card, tmp_path):
    feeds = windows()
    quantised = quantised_card(card, measure_ranges(card, feeds), cache=tmp_path)
    one, other = (open_session(each, provider="cpu").run(feeds[0])["y"] for each in (card, quantised))
    assert 0 < np.abs(one - other).max() < 0.1 * np.ptp(one)
    graph = onnx.load(quantised.model_path).graph
    weights = {tensor.name: tensor.data_type for tensor in graph.initializer if len(tensor.dims) == 4}
    single = [name for name, kind in weights.items() if kind == onnx.TensorProto.FLOAT]
    assert len(single) == 2
    assert len(weights) - 2 == list(weights.values()).count(onnx.TensorProto.INT8) > 5


def test_a_graph_whose_nodes_have_no_names_is_quantised_as_one_with_names(card, tmp_path):
    found = []
    for name in ("n{}", ""):
        model = onnx.load(card.model_path)
        for number, node in enumerate(model.graph.node):
            node.name = name.format(number)
        made = load_card(write_card(tmp_path / f"of{name[:1]}", model, inputs=[INPUT], outputs=[OUTPUT]))
        graph = onnx.load(quantised_card(made, measure_ranges(made, windows()), cache=tmp_path).model_path).graph
        found.append([tensor.data_type for tensor in graph.initializer if len(tensor.dims) == 4])
    assert sorted(found[0]) == sorted(found[1])
    assert found[1].count(onnx.TensorProto.INT8) > 5


def test_ranges_hold_every_value_and_zero_and_have_three_digits(tmp_path):
    draft = Draft()
    weights = draft.constant(np.ones((1, 2, 1, 1), np.float32))
    made = draft.node("Relu", draft.node("Conv", "x", weights, kernel_shape=[1, 1]))
    place = write_card(tmp_path, draft.model(made, n_in=2, n_out=1), inputs=[INPUT],
                       outputs=[{"name": "y", "tw:layers": ["v"]}])  # fmt: skip
    feed = np.full((1, 2, 4, 4), 0.61728, np.float32)
    feed[0, :, 0, 0] = -0.0061728
    found = measure_ranges(load_card(place), [{"x": feed}, {"x": feed / 2}])
    assert found["x"] == (-0.00618, 0.618)
    assert (-0.0124, 1.24) in found.values()
    assert (0.0, 1.24) in found.values()


def test_what_cannot_be_quantised_says_why(card, tmp_path):
    with pytest.raises(CardError, match=r"small computes numbers that are not finite"):
        measure_ranges(card, [{"x": np.full((1, 2, 64, 64), np.inf, np.float32)}])
    with pytest.raises(CardError, match="the plan has no range for"):
        quantised_card(card, {}, cache=tmp_path)
    assert quantise_obstacle(card) == ""
