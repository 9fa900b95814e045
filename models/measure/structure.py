"""What a graph's operators say without running it: how far they reach, and which of them mix the whole window.

A kernel whose taps lie far apart (an atrous convolution) falls into the padding of a short window and has no effect
there. The bound of the reach only sets the window's length; the reach itself is measured.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
from onnx import numpy_helper

from tilewright.models.measure.reach.graph import holds_values, inlined, read_structure
from tilewright.models.measure.reach.lines import UnprovenError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


KERNELS: Final = ("Conv", "ConvInteger", "QLinearConv", "MaxPool", "AveragePool", "LpPool")

WEIGHT_INPUT: Final = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3, "ConvTranspose": 1}
"""Index of the weights among an operator's inputs; their shape gives the kernel's."""

INTERPOLATION: Final = 2
"""Reach in pixels to each side of the widest kernel of Resize (cubic). Source: ONNX, Resize-19."""

SLICE_TO_END: Final = 2**30
"""Slice positions from this value on mean "to the end"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TheoreticalReach:
    """The reach of one tensor, in reference pixels: `jump` between neighbouring pixels; `reach` to each side,
    within which a pixel could depend on the input.
    """

    jump: float = 1.0
    reach: float = 0.0


def structural_reach(path: Path, *, jumps: Mapping[str, float]) -> int:
    """Reference pixels on which an output could depend to each side through kernels, resizes and slices.

    `jumps` are the reference pixels between the pixels of each input. Operators that mix the whole window do not count.
    """
    model = read_structure(path)
    # What cannot be written out is followed as it stands: the length of a window is no proof.
    with suppress(UnprovenError):
        model = inlined(model)
    reaches = {name: TheoreticalReach(jump=jump) for name, jump in jumps.items()}
    constants = _Constants(model.graph)
    for node in model.graph.node:
        inputs = [reaches[name] for name in node.input if name in reaches]
        if not inputs:
            continue
        before = TheoreticalReach(jump=max(each.jump for each in inputs), reach=max(each.reach for each in inputs))
        after = _reach_after(node, before, constants)
        reaches |= dict.fromkeys(node.output, after)
    return ceil(max((reaches[each.name].reach for each in model.graph.output if each.name in reaches), default=0))


class _Constants:
    """The constants of a graph by name, and the shapes of its weights."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._tensors = {each.name: each for each in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
                self._tensors[node.output[0]] = node.attribute[0].t

    def shape(self, node: onnx.NodeProto, index: int) -> tuple[int, ...]:
        """The shape of one input, empty if it is computed."""
        tensor = self._tensors.get(node.input[index]) if index < len(node.input) else None
        return tuple(tensor.dims) if tensor is not None else ()

    def values(self, node: onnx.NodeProto, index: int) -> list[float]:
        """The values of one small input, empty if it is computed or stored in an external file."""
        tensor = self._tensors.get(node.input[index]) if index < len(node.input) else None
        if tensor is None or not holds_values(tensor):
            return []
        return [float(each) for each in np.ravel(numpy_helper.to_array(tensor))]


def _reach_after(node: onnx.NodeProto, before: TheoreticalReach, constants: _Constants) -> TheoreticalReach:
    """The reach after one operator."""
    if node.op_type in KERNELS:
        return _reach_after_kernel(node, before, constants)
    if node.op_type == "Slice":
        return _reach_after_slice(node, before, constants)
    coarser, pixels = 1.0, 0.0
    match node.op_type:
        case "ConvTranspose":
            stride = max(_numbers(node, "strides"), default=1)
            pixels = max((ceil(size / stride) for size in _kernel(node, constants)), default=0)
            coarser = 1 / stride
        case "Resize" | "Upsample":
            scales = constants.values(node, 2 if node.op_type == "Resize" else 1)
            coarser, pixels = 1 / (max(scales[2:], default=1.0) or 1.0), INTERPOLATION
        case "DepthToSpace":
            coarser = 1 / _number(node, "blocksize", 1)
        case "SpaceToDepth":
            coarser = pixels = _number(node, "blocksize", 1)
    return TheoreticalReach(jump=before.jump * coarser, reach=before.reach + pixels * before.jump)


def _reach_after_kernel(node: onnx.NodeProto, before: TheoreticalReach, constants: _Constants) -> TheoreticalReach:
    kernel, pads = _kernel(node, constants), _numbers(node, "pads")
    same = any(each.name == "auto_pad" and each.s.startswith(b"SAME") for each in node.attribute)
    sides = []
    for axis, size in enumerate(kernel):
        first = pads[axis] if axis < len(pads) else size // 2 if same else 0
        sides.append(max(first, size - first))
    stride = max(_numbers(node, "strides"), default=1)
    return TheoreticalReach(jump=before.jump * stride, reach=before.reach + max(sides, default=0) * before.jump)


def _kernel(node: onnx.NodeProto, constants: _Constants) -> list[int]:
    """Distance between the first and the last tap per axis."""
    shape = _numbers(node, "kernel_shape") or list(constants.shape(node, WEIGHT_INPUT.get(node.op_type, 1))[2:])
    dilations = _numbers(node, "dilations") or [1] * len(shape)
    return [dilation * (size - 1) for dilation, size in zip(dilations, shape, strict=True)]


def _reach_after_slice(node: onnx.NodeProto, before: TheoreticalReach, constants: _Constants) -> TheoreticalReach:
    """The reach after a slice, which may keep every n-th pixel of a side, or shift it by cutting off the start."""
    starts, steps = constants.values(node, 1), constants.values(node, 4)
    axes = constants.values(node, 3) or list(range(len(starts)))
    spatial = [index for index, axis in enumerate(axes) if axis >= 2 or -2 <= axis < 0]
    shift = max((abs(starts[i]) for i in spatial if i < len(starts) and abs(starts[i]) < SLICE_TO_END), default=0.0)
    step = max((abs(steps[i]) for i in spatial if i < len(steps)), default=1.0)
    return TheoreticalReach(jump=before.jump * step, reach=before.reach + shift * before.jump)


def _numbers(node: onnx.NodeProto, name: str) -> list[int]:
    return next((list(each.ints) for each in node.attribute if each.name == name), [])


def _number(node: onnx.NodeProto, name: str, default: int) -> Any:
    return next((each.i for each in node.attribute if each.name == name), default)


GLOBAL_POOLS = ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")

NORMALISATIONS = ("InstanceNormalization", "GroupNormalization", "MeanVarianceNormalization")

ATTENTIONS = ("Attention", "MultiHeadAttention", "GroupQueryAttention")

RECURRENT = ("LSTM", "GRU", "RNN", "CumSum", "DFT", "STFT", "Scan", "Loop")

REDUCTIONS = (
    "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum",
    "ReduceLogSumExp", "ReduceSumSquare",
)  # fmt: skip

TRAINING_NORM = "BatchNormalization in training mode"

HALVINGS = (1, 2, 4, 8, 14, 16, 32)
"""Pixels of a window per pixel of an inner layer: strides of networks, and the patches of transformers."""

SMALLEST = 16
"""Side in pixels below which no graph's window is looked for."""

_ALWAYS_MIXING = frozenset((*GLOBAL_POOLS, *NORMALISATIONS, *ATTENTIONS, *RECURRENT))


def mixing_operators(path: Path) -> tuple[str, ...]:
    """Names of operators in the graph at `path` that can mix the whole window, in graph order, each once.

    Some count by their type (global pooling, instance and group normalisation, attention, recurrence), others by their
    use: a reduction over height and width, a softmax that feeds a matrix product, a resize whose grid depends on the
    window's size. Subgraphs are included.
    """
    model = read_structure(path)
    return tuple(dict.fromkeys(_mixing_nodes(model.graph, _constants(model.graph))))


def batch_mixers(path: Path) -> tuple[str, ...]:
    """Names of operators in the graph at `path` that can mix the windows of a batch, in graph order, each once."""
    model = read_structure(path)
    constants = _constants(model.graph)
    nodes = [node for graph in (model.graph, *model.functions) for node in _nodes(graph)]
    return tuple(dict.fromkeys(words for node in nodes if (words := _over_batch(node, constants))))


def _nodes(graph: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph or function and of the graphs inside them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _nodes(attribute.g)


def _over_batch(node: onnx.NodeProto, constants: Mapping[str, tuple[int, ...]]) -> str:
    """How an operator may work over the first axis; empty if it does not."""
    if node.op_type == "BatchNormalization" and _number(node, "training_mode", 0):
        return TRAINING_NORM
    if node.op_type in {"Softmax", "LogSoftmax", "Hardmax", "Concat"} and _number(node, "axis", -1) == 0:
        return f"{node.op_type} over the batch axis"
    if node.op_type == "CumSum" and constants.get(node.input[1]) == (0,):
        return "CumSum over the batch axis"
    if node.op_type in REDUCTIONS:
        axes = _numbers(node, "axes") or (constants.get(node.input[1], (1,)) if len(node.input) > 1 else [0])
        return f"{node.op_type} over the batch axis" if 0 in axes else ""
    return ""


def built_in_sizes(path: Path, *, most: int = 1024) -> list[int]:
    """Sides of windows, in ascending order, that sizes stored in the graph at `path` may fix, of `most` pixels.

    Those are the whole numbers of its shapes and constants, the roots of square ones (a window's pixels, flattened),
    and the same before a graph halves them.
    """
    model = read_structure(path)
    numbers = {number for values in _constants(model.graph).values() for number in values}
    numbers |= {number for tensor in model.graph.initializer for number in tensor.dims}
    numbers = {number for number in numbers if number > 1}
    sides = numbers | {math.isqrt(number) for number in numbers if math.isqrt(number) ** 2 == number}
    return sorted({side * factor for side in sides for factor in HALVINGS if SMALLEST <= side * factor <= most})


def stores_single_batch(path: Path) -> bool:
    """True if a reshape or resize in the graph at `path` stores a shape of one window, as `[1, 3, 64, 64]`."""
    model = read_structure(path)
    constants = _constants(model.graph)
    places = {"Reshape": 1, "Resize": 3}
    shapes = [
        constants.get(node.input[places[node.op_type]], ())
        for node in model.graph.node
        if len(node.input) > places.get(node.op_type, len(node.input))
    ]
    return any(len(shape) > 2 and shape[0] == 1 for shape in shapes)


def fixed_resizes(path: Path) -> tuple[str, ...]:
    """The resizes in the graph at `path` to a height and width that are stored in it, as `Resize to 32 x 32`."""
    model = read_structure(path)
    constants = _constants(model.graph)
    sizes = [_last_sizes(model.graph, node, constants) for node in model.graph.node if node.op_type == "Resize"]
    return tuple(dict.fromkeys(f"Resize to {' x '.join(map(str, each))}" for each in sizes if each))


def _last_sizes(
    graph: onnx.GraphProto, resize: onnx.NodeProto, constants: Mapping[str, tuple[int, ...]]
) -> tuple[int, ...]:
    """The height and width that are stored for a resize, alone or behind computed sizes; empty if they are computed."""
    name = resize.input[3] if len(resize.input) > 3 else ""
    parts = next(
        (node.input for node in graph.node if name and name in node.output and node.op_type == "Concat"), [name]
    )
    sizes: tuple[int, ...] = ()
    for part in reversed(parts):
        if part not in constants:
            break
        sizes = (*constants[part], *sizes)
    return sizes[-2:] if len(sizes) >= 2 else ()


def _mixing_nodes(graph: onnx.GraphProto, constants: Mapping[str, tuple[int, ...]]) -> list[str]:
    softmaxes = {name for node in graph.node if node.op_type == "Softmax" for name in node.output}
    found = []
    for node in graph.node:
        if node.op_type in _ALWAYS_MIXING:
            found.append(node.op_type)
        elif node.op_type == "BatchNormalization" and _number(node, "training_mode", 0):
            found.append(TRAINING_NORM)
        elif node.op_type in REDUCTIONS and _covers_window(node, constants):
            found.append(f"{node.op_type} over height and width")
        elif node.op_type in {"Resize", "Upsample"} and (reason := _depends_on_size(graph, node, constants)):
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


def _depends_on_size(graph: onnx.GraphProto, node: onnx.NodeProto, constants: Mapping[str, tuple[int, ...]]) -> str:
    """Why a resize depends on the window's size: aligned to the corners, or to a fixed size; empty if neither."""
    modes = {each.name: each.s.decode() for each in node.attribute if each.type == onnx.AttributeProto.STRING}
    if modes.get("coordinate_transformation_mode") in {"align_corners", "half_pixel_symmetric"}:
        return f"with {modes['coordinate_transformation_mode']}"
    return "to a fixed size" if _last_sizes(graph, node, constants) else ""


def _covers_window(node: onnx.NodeProto, constants: Mapping[str, tuple[int, ...]]) -> bool:
    """True if the reduction covers more than one axis: one axis is dates or bands, two or all are height and width."""
    axes: tuple[int, ...] | None = None
    for attribute in node.attribute:
        if attribute.name == "axes":
            axes = tuple(attribute.ints)
    if axes is None and len(node.input) > 1:
        axes = constants.get(node.input[1])
    return axes is None or len(axes) > 1
