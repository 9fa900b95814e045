"""Joins split: the same answers with no concatenation left, and left alone where the graph must stay as it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from tests.support.graphs import Draft, unet
from tilewright.models.optimise.concat import fix_sizes, split_concats

SIDE = 48


def kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def answer(model: onnx.ModelProto, feed: np.ndarray) -> np.ndarray:
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    made: np.ndarray = session.run(None, {"x": feed})[0]
    return made


def split(model: onnx.ModelProto, *, batch: int = 1) -> onnx.ModelProto | None:
    channels = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    return split_concats(fix_sizes(model, {"x": [batch, channels, SIDE, SIDE]}))


def noise(model: onnx.ModelProto, batch: int = 1) -> np.ndarray:
    channels = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    return np.random.default_rng(1).normal(size=(batch, channels, SIDE, SIDE)).astype(np.float32)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("up", ["nearest", "linear"])
def test_a_unet_without_joins_answers_as_the_one_with(batch: int, up: str) -> None:
    model = unet(width=16, depth=3, up=up)
    made = split(model, batch=batch)
    assert made is not None
    assert "Concat" not in kinds(made)
    assert kinds(made).count("Add") == 3
    feed = noise(model, batch)
    plain = answer(model, feed)
    assert np.abs(answer(made, feed) - plain).max() <= 1e-5 * np.abs(plain).max()


def joined(draft: Draft, *widths: int) -> tuple[list[str], str]:
    parts = [draft.node("Relu", draft.conv("x", 4, width)) for width in widths]
    return parts, draft.node("Concat", *parts, axis=1)


def test_three_parts_one_of_them_twice_and_a_convolution_without_bias_with_stride_and_dilation() -> None:
    draft = Draft(5)
    (first, second), _ = joined(draft, 16, 32)
    both = draft.node("Concat", first, second, first, axis=-3)
    weight = draft.constant(draft.random.normal(0, 0.1, (24, 64, 3, 3)).astype(np.float32))
    out = draft.node("Conv", both, weight, kernel_shape=[3, 3], strides=[2, 2], dilations=[2, 2], pads=[2, 2, 2, 2])
    model = draft.model(out, n_in=4, n_out=24)
    made = split(model)
    assert made is not None
    assert weight not in {each.name for each in made.graph.initializer}, "weights that nothing uses are not kept"
    plain = answer(model, noise(model))
    assert np.abs(answer(made, noise(model)) - plain).max() <= 1e-5 * np.abs(plain).max()


def test_weights_of_two_convolutions_stay_for_the_one_that_needs_them_whole() -> None:
    draft = Draft(6)
    _, both = joined(draft, 16, 16)
    weight = draft.constant(draft.random.normal(0, 0.1, (32, 32, 3, 3)).astype(np.float32))
    out = draft.node("Conv", both, weight, pads=[1, 1, 1, 1])
    model = draft.model(draft.node("Conv", out, weight, pads=[1, 1, 1, 1]), n_in=4, n_out=32)
    made = split(model)
    assert made is not None
    assert kinds(made).count("Conv") == 5
    plain = answer(model, noise(model))
    assert np.abs(answer(made, noise(model)) - plain).max() <= 1e-5 * np.abs(plain).max()


def test_a_part_of_unknown_width_has_what_the_weights_leave() -> None:
    """How many channels are gathered is known only when the graph runs."""
    draft = Draft(7)
    (first, second), _ = joined(draft, 16, 32)
    found = draft.node("NonZero", draft.constant(np.ones(32, np.float32)))
    gathered = draft.node("Gather", second, draft.node("Squeeze", found, draft.constant(np.array([0]))), axis=1)
    both = draft.node("Concat", first, gathered, axis=1)
    model = draft.model(draft.conv(both, 48, 16), n_in=4, n_out=16)
    made = split(model)
    assert made is not None
    plain = answer(model, noise(model))
    assert np.abs(answer(made, noise(model)) - plain).max() <= 1e-5 * np.abs(plain).max()


def used_twice(draft: Draft) -> str:
    _, both = joined(draft, 16, 16)
    return draft.node("Add", draft.conv(both, 32, 32), both)


def odd_widths(draft: Draft) -> str:
    _, both = joined(draft, 12, 20)
    return draft.conv(both, 32, 32)


def along_rows(draft: Draft) -> str:
    parts, _ = joined(draft, 16, 16)
    return draft.conv(draft.node("Concat", *parts, axis=2), 16, 32)


def in_groups(draft: Draft) -> str:
    _, both = joined(draft, 16, 16)
    weight = draft.constant(draft.random.normal(0, 0.1, (32, 16, 3, 3)).astype(np.float32))
    return draft.node("Conv", both, weight, group=2, pads=[1, 1, 1, 1])


def much_wider(draft: Draft) -> str:
    _, both = joined(draft, 16, 16)
    return draft.conv(both, 32, 96)


def computed_weights(draft: Draft) -> str:
    _, both = joined(draft, 16, 16)
    weight = draft.constant(draft.random.normal(0, 0.1, (32, 32, 3, 3)).astype(np.float32))
    return draft.node("Conv", both, draft.node("Abs", weight), pads=[1, 1, 1, 1])


@pytest.mark.parametrize(
    "build",
    [used_twice, odd_widths, along_rows, in_groups, much_wider, computed_weights],
    ids=lambda each: each.__name__,
)
def test_what_gains_nothing_or_would_change_stays(build: Any) -> None:
    draft = Draft(8)
    out = build(draft)
    assert split(draft.model(out, n_in=4, n_out=32)) is None


def test_a_join_that_is_also_an_answer_or_that_an_inner_graph_takes_stays() -> None:
    draft = Draft(9)
    _, both = joined(draft, 16, 16)
    model = draft.model(draft.conv(both, 32, 16), n_in=4, n_out=16)
    assert split(model) is not None
    answered = onnx.ModelProto()
    answered.CopyFrom(model)
    answered.graph.output.append(helper.make_tensor_value_info(both, TensorProto.FLOAT, [None, 32, None, None]))
    assert split(answered) is None
    inner = helper.make_graph(
        [helper.make_node("Identity", [both], ["same"])],
        "inner",
        [],
        [helper.make_tensor_value_info("same", TensorProto.FLOAT, None)],
    )
    taken = onnx.ModelProto()
    taken.CopyFrom(model)
    taken.graph.initializer.append(helper.make_tensor("yes", TensorProto.BOOL, [], [True]))
    taken.graph.node.append(helper.make_node("If", ["yes"], ["either"], then_branch=inner, else_branch=inner))
    assert split(taken) is None


def test_weights_that_a_caller_may_feed_stay() -> None:
    draft = Draft(10)
    _, both = joined(draft, 16, 16)
    model = draft.model(draft.conv(both, 32, 16), n_in=4, n_out=16)
    conv = model.graph.node[-1] if model.graph.node[-1].op_type == "Conv" else model.graph.node[-2]
    model.graph.input.append(helper.make_tensor_value_info(conv.input[1], TensorProto.FLOAT, [16, 32, 3, 3]))
    assert split(model) is None


def test_sizes_follow_from_the_inputs() -> None:
    model = fix_sizes(unet(width=16, depth=2), {"x": [2, 4, SIDE, SIDE]})
    dims = [dim.dim_value for dim in model.graph.output[0].type.tensor_type.shape.dim]
    assert dims == [2, 3, SIDE, SIDE]
    assert all(dim.dim_value for value in model.graph.value_info for dim in value.type.tensor_type.shape.dim)
