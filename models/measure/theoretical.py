"""An upper bound of a graph's reach, computed from its kernels: the length of the windows needed to measure it.

A kernel whose taps lie far apart (an atrous convolution) falls into the padding of a short window and has no effect
there. The bound only sets the window's length; the reach itself is measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
from onnx import inliner, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Mapping
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
    model = onnx.load(str(path), load_external_data=False)
    if model.functions:
        model = inliner.inline_local_functions(model)
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
        if tensor is None or tensor.data_location == onnx.TensorProto.EXTERNAL:
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
