"""ONNX nodes equivalent to `preprocess` and `postprocess`, with the same rules for rounding and ties."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tilewright.models.spec.outputs import NODATA_BYTE
from tilewright.models.transforms.resize import nearest_source, resize_weights

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

    from tilewright.models.spec.inputs import InputSpec
    from tilewright.models.spec.outputs import OutputSpec


AXES_AS_INPUT: Final = 18
"""Opset from which ReduceMax takes its axes as an input. Source: ONNX operator changelog, ReduceMax-18."""

FLOATS: Final = {"float16": TensorProto.FLOAT16, "float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}

CHANNEL: Final = 1
"""The axis of classes once an output is laid out as (batch, channel, height, width)."""


class Draft:
    """A collection of nodes and constants whose names all begin with the draft's name."""

    def __init__(self, *, opset: int, name: str) -> None:
        self.opset = opset
        self.name = name
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, kind: str, inputs: Sequence[str], *, out: str = "", **attributes: Any) -> str:
        """The name of the result of one added node."""
        out = out or f"{self.name}/{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [out], **attributes))
        return out

    def constant(self, values: Any, dtype: type = np.float32) -> str:
        """The name of one added constant."""
        name = f"{self.name}/c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values, dtype=dtype), name))
        return name

    def reduced(self, kind: str, value: str) -> str:
        """The name of `value` with its channels reduced to one."""
        if kind == "ReduceSum" or self.opset >= AXES_AS_INPUT:
            return self.add(kind, [value, self.constant([CHANNEL], np.int64)], keepdims=1)
        return self.add(kind, [value], axes=[CHANNEL], keepdims=1)

    def channel(self, value: str, number: int) -> str:
        """The name of one channel of `value`; the axis is kept."""
        return self.add("Gather", [value, self.constant([number], np.int64)], axis=CHANNEL)


def add_input(draft: Draft, spec: InputSpec, fused: InputSpec, *, scale: float, offset: float, out: str) -> None:
    """Add the nodes that make the model's input `spec` from `fused`, whose n means n * scale + offset in its unit.

    Scaling comes before resizing, with which it commutes (the weights sum to one); clipping comes after.
    """
    gain = np.array([scale * each.gain for each in spec.value_scaling])
    shift = np.array([(offset - each.shift) * each.gain for each in spec.value_scaling])
    value = draft.add("Cast", [spec.name], to=TensorProto.FLOAT)
    if (gain != 1).any():
        value = draft.add("Mul", [value, draft.constant(_along_bands(spec, gain))])
    if shift.any():
        value = draft.add("Add", [value, draft.constant(_along_bands(spec, shift))])
    if spec.resize is not None and fused.resize is None:
        assert fused.window is not None, "a resized input has a fixed window"
        assert spec.window is not None, "a resized input has a fixed size"
        sides = spec.axes.index("height"), spec.axes.index("width")
        value = add_resize(draft, value, sides=sides, size=(fused.window, spec.window), method=spec.resize)
    for kind, limits in (("Max", [each.low for each in spec.value_scaling]),
                         ("Min", [each.high for each in spec.value_scaling])):  # fmt: skip
        if any(limit is not None for limit in limits):
            none = -math.inf if kind == "Max" else math.inf
            clipped = np.array([none if limit is None else limit for limit in limits])
            value = draft.add(kind, [value, draft.constant(_along_bands(spec, clipped))])
    draft.add("Cast", [value], out=out, to=FLOATS[spec.data_type])


def add_resize(draft: Draft, value: str, *, sides: tuple[int, int], size: tuple[int, int], method: str) -> str:
    """The name of `value` resized from size[0] to size[1] pixels per side, as `models/transforms/resize.py` does."""
    source, target = size
    if source == target:
        return value
    if method == "interpolation-nearest":
        indices = draft.constant(nearest_source(source, target), np.int64)
        return draft.add("Gather", [draft.add("Gather", [value, indices], axis=sides[0]), indices], axis=sides[1])
    weights = resize_weights(source, target, method)
    across = draft.add("MatMul", [value, draft.constant(np.ascontiguousarray(weights.T))])
    return draft.add("MatMul", [draft.constant(weights), across])


def _along_bands(spec: InputSpec, per_band: np.ndarray) -> np.ndarray:
    """One number per band, in a shape that broadcasts over the input's array."""
    if "bands" not in spec.axes:
        return per_band[:1].reshape(())
    if spec.folded:
        steps = spec.dates.steps or 1
        per_band = np.tile(per_band, steps) if spec.fold == "time-major" else np.repeat(per_band, steps)
    shape = [1] * len(spec.axes)
    shape[spec.axes.index("bands")] = len(per_band)
    return per_band.reshape(shape)


def add_layers(draft: Draft, spec: OutputSpec, raw: str, *, size: tuple[int, int] | None, out: str) -> None:
    """Add the nodes that make the layers of `spec` from `raw`, (batch, layer, height, width) uint8, as `postprocess`.

    `size` is (source, target) pixels per side if the result is resized back from a training size.
    """
    planes = _planes(draft, spec, raw)
    if spec.labels:
        if size is not None:
            planes = add_resize(draft, planes, sides=(2, 3), size=size, method="interpolation-nearest")
        draft.add("Gather", [_label_table(draft, spec), _table_index(draft, planes)], out=out)
        return
    planes = draft.add("Cast", [planes], to=TensorProto.FLOAT)
    if size is not None:
        method = "interpolation-area" if size[1] < size[0] else "interpolation-linear"
        planes = add_resize(draft, planes, sides=(2, 3), size=size, method=method)
    scores = _scores(draft, spec, planes)
    # Every number times zero is zero, except NaN and infinity.
    sums = draft.reduced("ReduceSum", draft.add("Mul", [scores, draft.constant(0.0)]))
    missing = draft.add("IsNaN", [sums])
    index = _class_index(draft, spec, scores)
    nodata = draft.constant(NODATA_BYTE, np.uint8)
    layers = []
    for layer in spec.layer_specs():
        if layer.kind == "class":
            values = draft.constant([each.value for each in spec.classes], np.int64)
            stored = draft.add("Cast", [draft.add("Gather", [values, index])], to=TensorProto.UINT8)
        else:
            stored = _percent(draft, _fraction(draft, spec, layer.source, scores=scores, index=index))
        layers.append(draft.add("Where", [missing, nodata, stored]))
    draft.add("Concat", layers, out=out, axis=CHANNEL)


def _planes(draft: Draft, spec: OutputSpec, raw: str) -> str:
    """The raw output laid out as (batch, channel, height, width)."""
    axes = spec.axes
    if "channel" not in axes:
        raw, axes = draft.add("Unsqueeze", [raw, draft.constant([len(axes)], np.int64)]), (*axes, "channel")
    order = [axes.index(axis) for axis in ("batch", "channel", "height", "width")]
    return raw if order == [0, 1, 2, 3] else draft.add("Transpose", [raw], perm=order)


def _label_table(draft: Draft, spec: OutputSpec) -> str:
    """The table that maps a class value v at index v + 1 to itself if the card lists it, else to nodata."""
    table = np.full(NODATA_BYTE + 2, NODATA_BYTE)
    for each in spec.classes:
        table[each.value + 1] = each.value
    return draft.constant(table, np.uint8)


def _table_index(draft: Draft, labels: str) -> str:
    whole = draft.add("Cast", [labels], to=TensorProto.INT64)
    clipped = draft.add("Clip", [whole, draft.constant(-1, np.int64), draft.constant(NODATA_BYTE, np.int64)])
    return draft.add("Add", [clipped, draft.constant(1, np.int64)])


def _scores(draft: Draft, spec: OutputSpec, raw: str) -> str:
    if spec.activation == "softmax":
        raw = draft.add("Softmax", [raw], axis=CHANNEL)
    if spec.activation == "sigmoid":
        raw = draft.add("Sigmoid", [raw])
    if spec.channels == 1 and len(spec.classes) == 2:
        raw = draft.add("Concat", [draft.add("Sub", [draft.constant(1.0), raw]), raw], axis=CHANNEL)
    return raw


def _class_index(draft: Draft, spec: OutputSpec, scores: str) -> str:
    if spec.threshold is None:
        return draft.add("ArgMax", [scores], axis=CHANNEL, keepdims=1)
    # Not GreaterOrEqual: some providers lack that composite operator.
    below = draft.add("Less", [draft.channel(scores, 1), draft.constant(spec.threshold)])
    return draft.add("Cast", [draft.add("Not", [below])], to=TensorProto.INT64)


def _fraction(draft: Draft, spec: OutputSpec, source: str, *, scores: str, index: str) -> str:
    """The quantity of one percent layer, 0 to 1."""
    if source.startswith("probability:"):
        return draft.channel(scores, int(source.removeprefix("probability:")))
    if source == "confidence" and spec.threshold is None:
        return draft.reduced("ReduceMax", scores)
    if source == "confidence":
        return draft.add("GatherElements", [scores, index], axis=CHANNEL)
    if source == "margin":
        best, places = f"{draft.name}/best", f"{draft.name}/places"
        two = draft.constant([2], np.int64)
        draft.nodes.append(helper.make_node("TopK", [scores, two], [best, places], axis=CHANNEL))
        return draft.add("Sub", [draft.channel(best, 0), draft.channel(best, 1)])
    return _entropy(draft, spec, scores)


def _entropy(draft: Draft, spec: OutputSpec, scores: str) -> str:
    one = draft.constant(1.0)
    p = draft.add("Clip", [scores, draft.constant(0.0), one])
    if spec.activation == "sigmoid" and spec.channels > 1:
        both = draft.add("Add", [_plogp(draft, p), _plogp(draft, draft.add("Sub", [one, p]))])
        fraction = 1 / (spec.channels * math.log(2))
    else:
        both, fraction = _plogp(draft, p), 1 / math.log(len(spec.classes))
    return draft.add("Mul", [draft.reduced("ReduceSum", both), draft.constant(fraction)])


def _plogp(draft: Draft, p: str) -> str:
    """-p log p, and 0 where p is 0."""
    positive = draft.add("Greater", [p, draft.constant(0.0)])
    logs = draft.add("Log", [draft.add("Where", [positive, p, draft.constant(1.0)])])
    return draft.add("Neg", [draft.add("Mul", [p, logs])])


def _percent(draft: Draft, fraction: str) -> str:
    """Whole percent: ONNX rounds half to even, as numpy does."""
    rounded = draft.add("Round", [draft.add("Mul", [fraction, draft.constant(100.0)])])
    clipped = draft.add("Clip", [rounded, draft.constant(0.0), draft.constant(100.0)])
    return draft.add("Cast", [clipped], to=TensorProto.UINT8)
