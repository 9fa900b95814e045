"""ONNX nodes that do what `preprocess` and `postprocess` do around a graph, to the same rules of rounding and ties."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from models.outputs import NODATA_BYTE

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

    from models.inputs import InputSpec
    from models.outputs import OutputSpec

AXES_AS_INPUT: Final = 18
"""Opset from which ReduceMax takes its axes as an input. Source: ONNX operator changelog, ReduceMax-18."""

FUSED_LAYERS: Final = ("class", "confidence", "probability")


class Draft:
    """Nodes and constants being collected, every name beginning with the draft's own."""

    def __init__(self, *, opset: int, name: str) -> None:
        self.opset = opset
        self.name = name
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, kind: str, inputs: Sequence[str], *, out: str = "", **attributes: Any) -> str:
        """The name of the result of one more node."""
        out = out or f"{self.name}/{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [out], **attributes))
        return out

    def constant(self, values: Any, dtype: type = np.float32) -> str:
        """The name of one more constant."""
        name = f"{self.name}/c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values, dtype=dtype), name))
        return name

    def reduced(self, kind: str, value: str, axis: int) -> str:
        """One axis of `value` reduced away."""
        if kind == "ReduceSum" or self.opset >= AXES_AS_INPUT:
            return self.add(kind, [value, self.constant([axis], np.int64)], keepdims=0)
        return self.add(kind, [value], axes=[axis], keepdims=0)


def add_scaling(draft: Draft, spec: InputSpec, *, step: float, lowest: float, out: str) -> None:
    """`spec`'s array as the model takes it, from whole numbers n that mean n * step + lowest in the input's unit."""
    gain = np.array([step * each.gain for each in spec.value_scaling])
    shift = np.array([(lowest - each.shift) * each.gain for each in spec.value_scaling])
    numbers = draft.add("Cast", [spec.name], to=TensorProto.FLOAT)
    scaled = draft.add("Mul", [numbers, draft.constant(_along_bands(spec, gain))])
    moved = draft.add("Add", [scaled, draft.constant(_along_bands(spec, shift))])
    kind = {"float16": TensorProto.FLOAT16, "float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}
    draft.add("Cast", [moved], out=out, to=kind[spec.data_type])


def _along_bands(spec: InputSpec, per_band: np.ndarray) -> np.ndarray:
    """One number per band, shaped to be spread over the input's array."""
    if "bands" not in spec.axes:
        return per_band[0]
    if spec.folded:
        steps = spec.dates.steps or 1
        per_band = np.tile(per_band, steps) if spec.fold == "time-major" else np.repeat(per_band, steps)
    shape = [1] * len(spec.axes)
    shape[spec.axes.index("bands")] = len(per_band)
    return per_band.reshape(shape)


def fusable_output(spec: OutputSpec) -> bool:
    """True for scores of classes over a plane whose layers are class, confidence and probabilities."""
    axes = spec.axes
    planar = len(axes) == 4 and axes[0] == "batch" and not spec.rows and axes.index("height") < axes.index("width")
    sources = [layer.source.partition(":")[0] for layer in spec.layer_specs()]
    return bool(spec.classes) and not spec.labels and planar and set(sources) <= set(FUSED_LAYERS)


def add_layers(draft: Draft, spec: OutputSpec, raw: str) -> dict[str, str]:
    """Names of graph outputs by layer: each (batch, height, width) uint8 as `postprocess` would make it of `raw`."""
    axis = spec.axes.index("channel")
    scores = _scores(draft, spec, draft.add("Cast", [raw], to=TensorProto.FLOAT), axis)
    # Anything times zero is zero, but for NaN and infinity.
    sums = draft.reduced("ReduceSum", draft.add("Mul", [scores, draft.constant(0.0)]), axis)
    missing = draft.add("IsNaN", [sums])
    index = _chosen(draft, spec, scores, axis)
    made = {}
    for layer in spec.layer_specs():
        name = f"{spec.name}.{layer.name}"
        if layer.kind == "class":
            values = draft.constant([each.value for each in spec.classes], np.int64)
            bytes_ = draft.add("Cast", [draft.add("Gather", [values, index])], to=TensorProto.UINT8)
        else:
            bytes_ = _percent(draft, _share(draft, spec, layer.source, scores=scores, index=index))
        nodata = draft.constant(NODATA_BYTE, np.uint8)
        made[layer.name] = draft.add("Where", [missing, nodata, bytes_], out=name)
    return made


def _scores(draft: Draft, spec: OutputSpec, raw: str, axis: int) -> str:
    if spec.activation == "softmax":
        raw = draft.add("Softmax", [raw], axis=axis)
    if spec.activation == "sigmoid":
        raw = draft.add("Sigmoid", [raw])
    if spec.channels == 1 and len(spec.classes) == 2:
        raw = draft.add("Concat", [draft.add("Sub", [draft.constant(1.0), raw]), raw], axis=axis)
    return raw


def _chosen(draft: Draft, spec: OutputSpec, scores: str, axis: int) -> str:
    if spec.threshold is None:
        return draft.add("ArgMax", [scores], axis=axis, keepdims=0)
    second = draft.add("Gather", [scores, draft.constant(1, np.int64)], axis=axis)
    passed = draft.add("GreaterOrEqual", [second, draft.constant(spec.threshold)])
    return draft.add("Cast", [passed], to=TensorProto.INT64)


def _share(draft: Draft, spec: OutputSpec, source: str, *, scores: str, index: str) -> str:
    axis = spec.axes.index("channel")
    if source.startswith("probability:"):
        number = int(source.removeprefix("probability:"))
        return draft.add("Gather", [scores, draft.constant(number, np.int64)], axis=axis)
    if spec.threshold is None:
        return draft.reduced("ReduceMax", scores, axis)
    place = draft.add("Unsqueeze", [index, draft.constant([axis], np.int64)])
    picked = draft.add("GatherElements", [scores, place], axis=axis)
    return draft.add("Squeeze", [picked, draft.constant([axis], np.int64)])


def _percent(draft: Draft, share: str) -> str:
    """Whole percent: ONNX rounds half to even, as numpy does."""
    rounded = draft.add("Round", [draft.add("Mul", [share, draft.constant(100.0)])])
    held = draft.add("Clip", [rounded, draft.constant(0.0), draft.constant(100.0)])
    return draft.add("Cast", [held], to=TensorProto.UINT8)
