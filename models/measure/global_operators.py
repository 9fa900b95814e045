"""Operators of a graph that spread a pixel over the whole window: the likely causes of an unbounded receptive field."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


GLOBAL_POOLS = ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")

NORMALISATIONS = ("InstanceNormalization", "GroupNormalization", "MeanVarianceNormalization")

ATTENTIONS = ("Attention", "MultiHeadAttention", "GroupQueryAttention")

RECURRENT = ("LSTM", "GRU", "RNN", "CumSum", "DFT", "STFT", "Scan", "Loop")

REDUCTIONS = (
    "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum",
    "ReduceLogSumExp", "ReduceSumSquare",
)  # fmt: skip

_ALWAYS_MIXING = frozenset((*GLOBAL_POOLS, *NORMALISATIONS, *ATTENTIONS, *RECURRENT))


def mixing_operators(path: Path) -> tuple[str, ...]:
    """Names of operators in the graph at `path` that can mix the whole window, in graph order, each once.

    Some count by their type (global pooling, instance and group normalisation, attention, recurrence), others by their
    use: a reduction over height and width, a softmax that feeds a matrix product, a resize whose grid depends on the
    window's size. Subgraphs are included.
    """
    model = onnx.load(str(path), load_external_data=False)
    return tuple(dict.fromkeys(_mixing_nodes(model.graph, _constants(model.graph))))


def _mixing_nodes(graph: onnx.GraphProto, constants: Mapping[str, tuple[int, ...]]) -> list[str]:
    softmaxes = {name for node in graph.node if node.op_type == "Softmax" for name in node.output}
    found = []
    for node in graph.node:
        if node.op_type in _ALWAYS_MIXING:
            found.append(node.op_type)
        elif node.op_type in REDUCTIONS and _covers_window(node, constants):
            found.append(f"{node.op_type} over height and width")
        elif node.op_type in {"Resize", "Upsample"} and (reason := _depends_on_size(node, constants)):
            found.append(f"{node.op_type} {reason}")
        elif node.op_type == "MatMul" and softmaxes.intersection(node.input):
            found.append("attention (Softmax then MatMul)")
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                found.extend(_mixing_nodes(attribute.g, constants))
    return found


def _constants(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    """Small integer tensors by name: the constants that hold axes and sizes."""
    tensors = [(each.name, each) for each in graph.initializer]
    for node in graph.node:
        if node.op_type == "Constant":
            tensors.extend((node.output[0], each.t) for each in node.attribute if each.name == "value")
    return {
        name: tuple(int(each) for each in onnx.numpy_helper.to_array(tensor).ravel())
        for name, tensor in tensors
        if tensor.data_type == onnx.TensorProto.INT64 and sum(tensor.dims) <= 8 and not tensor.external_data
    }


def _depends_on_size(node: onnx.NodeProto, constants: Mapping[str, tuple[int, ...]]) -> str:
    """Why a resize depends on the window's size: aligned to the corners, or to a fixed size; empty if neither."""
    modes = {each.name: each.s.decode() for each in node.attribute if each.type == onnx.AttributeProto.STRING}
    if modes.get("coordinate_transformation_mode") in {"align_corners", "half_pixel_symmetric"}:
        return f"with {modes['coordinate_transformation_mode']}"
    return "to a fixed size" if len(node.input) > 3 and node.input[3] in constants else ""


def _covers_window(node: onnx.NodeProto, constants: Mapping[str, tuple[int, ...]]) -> bool:
    """True if the reduction covers more than one axis: one axis is dates or bands, two or all are height and width."""
    axes: tuple[int, ...] | None = None
    for attribute in node.attribute:
        if attribute.name == "axes":
            axes = tuple(attribute.ints)
    if axes is None and len(node.input) > 1:
        axes = constants.get(node.input[1])
    return axes is None or len(axes) > 1
