"""Graphs that make of a window's size, or of other pixels, numbers or channels where nobody looks for them."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from tests.adversary.graphs import Build, ints, number, where_rare
from tests.support.graphs import Draft


def in_64s(draft: Draft) -> str:
    """The rows of the window in units of 64."""
    rows = draft.node("Slice", draft.node("Shape", "x"), ints(draft, 2), ints(draft, 3))
    return draft.node("Div", rows, ints(draft, 64))


def eightfold(draft: Draft) -> str:
    return draft.node("Concat", *(draft.node("Mul", "x", number(draft, each)) for each in range(1, 9)), axis=1)


def summed_channels(draft: Draft, x: str) -> str:
    return where_rare(draft, draft.node("ReduceSum", x, ints(draft, 1), keepdims=1))


def tiled_by_size(op: str) -> Build:
    """Tile or Expand to as many channels as the window is large."""

    def build(draft: Draft) -> str:
        one = ints(draft, 1)
        target = draft.node("Concat", one, in_64s(draft), one, one, axis=0)
        return summed_channels(draft, draft.node(op, "x", target))

    return build


def laundered_size(draft: Draft) -> str:
    """The number of channels times that of rows is no number that is unknown."""
    channels = draft.node("Slice", draft.node("Shape", "x"), ints(draft, 1), ints(draft, 2))
    one = ints(draft, 1)
    target = draft.node("Concat", one, draft.node("Mul", channels, in_64s(draft)), one, one, axis=0)
    return summed_channels(draft, draft.node("Tile", "x", target))


def top_by_size(draft: Draft) -> str:
    draft.nodes.append(helper.make_node("TopK", [eightfold(draft), in_64s(draft)], ["top", "places"], axis=1))
    return summed_channels(draft, "top")


def split_by_size(draft: Draft) -> str:
    first = in_64s(draft)
    sizes = draft.node("Concat", first, draft.node("Sub", ints(draft, 8), first), axis=0)
    draft.nodes.append(helper.make_node("Split", [eightfold(draft), sizes], ["first", "rest"], axis=1))
    return summed_channels(draft, "first")


def sliced_by_size(draft: Draft) -> str:
    kept = draft.node("Slice", eightfold(draft), ints(draft, 0), in_64s(draft), ints(draft, 1))
    return summed_channels(draft, kept)


def channels_resized_by_size(draft: Draft) -> str:
    shape = draft.node("Shape", "x")
    first, last = (draft.node("Slice", shape, ints(draft, a), ints(draft, b)) for a, b in ((0, 1), (2, 4)))
    sizes = draft.node("Concat", first, in_64s(draft), last, axis=0)
    return summed_channels(draft, draft.node("Resize", eightfold(draft), "", "", sizes, mode="nearest"))


def grouped_by_size(draft: Draft) -> str:
    last = draft.node("Slice", draft.node("Shape", "x"), ints(draft, 2), ints(draft, 4))
    target = draft.node("Concat", ints(draft, 0), in_64s(draft), ints(draft, -1), last, axis=0)
    groups = draft.node("ReduceSum", draft.node("Reshape", eightfold(draft), target), ints(draft, 2), keepdims=0)
    return where_rare(draft, draft.node("Slice", groups, ints(draft, 0), ints(draft, 1), ints(draft, 1)))


def channels_last(draft: Draft) -> str:
    return draft.node("Transpose", draft.node("Concat", "x", draft.node("Mul", "x", "x"), axis=1), perm=[0, 2, 3, 1])


def first_channel(draft: Draft, x: str) -> str:
    planes = draft.node("Transpose", x, perm=[0, 3, 1, 2])
    return where_rare(draft, draft.node("Slice", planes, ints(draft, 0), ints(draft, 1), ints(draft, 1)))


def normed_by_size(draft: Draft) -> str:
    scale = draft.node("Cast", draft.node("Concat", in_64s(draft), in_64s(draft), axis=0), to=TensorProto.FLOAT)
    return first_channel(draft, draft.node("LayerNormalization", channels_last(draft), scale, axis=-1))


def normed_by_far(draft: Draft) -> str:
    """A layer norm whose scale is the pixel 40 px above."""
    pixels = channels_last(draft)
    padded = draft.node("Pad", pixels, ints(draft, 0, 40, 0, 0, 0, 0, 0, 0))
    far = draft.node("Slice", padded, ints(draft, 0), ints(draft, -40), ints(draft, 1))
    return first_channel(draft, draft.node("LayerNormalization", pixels, far, axis=-1))


def quantised_by_size(draft: Draft) -> str:
    middle = draft.constant(np.array(128, np.uint8))
    pixels = draft.node("QuantizeLinear", "x", number(draft, 0.01), middle)
    scalar = draft.node("Reshape", in_64s(draft), draft.constant(np.array([], np.int64)))
    scale = draft.node("Cast", scalar, to=TensorProto.FLOAT)
    weights = draft.constant(np.full((1, 1, 1, 1), 3, np.uint8))
    zero = draft.constant(np.array(0, np.uint8))
    made = draft.node(
        "QLinearConv", pixels, scale, middle, weights, number(draft, 0.01), zero, number(draft, 0.05), middle
    )
    return where_rare(draft, draft.node("DequantizeLinear", made, number(draft, 0.01), middle))
