"""How far a graph could see at most, by the arithmetic of its kernels: how long a window must be to measure it.

A kernel whose taps lie far apart (an atrous convolution) falls into the padding of a short window, where nothing of it
is felt. This bound only says where to look: what is felt there is measured.
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

WEIGHT: Final = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3, "ConvTranspose": 1}
"""Place of the weights among an operator's inputs, where its kernel's shape is read from."""

INTERPOLATION: Final = 2
"""Pixels that the widest kernel of Resize (cubic) reaches to each side. Source: ONNX, Resize-19."""

FURTHEST: Final = 2**30
"""Ends of slices above it mean "to the end"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TheoreticalReach:
    """Of one tensor: reference pixels between its pixels, and those a pixel of it could depend on to each side."""

    jump: float = 1.0
    reach: float = 0.0


def structural_reach(path: Path, *, jumps: Mapping[str, float]) -> int:
    """Reference pixels that an output could depend on to each side through kernels, resizings and slices.

    `jumps` are the reference pixels between the pixels of each input. What joins the whole window is not counted.
    """
    model = onnx.load(str(path), load_external_data=False)
    if model.functions:
        model = inliner.inline_local_functions(model)
    spans = {name: TheoreticalReach(jump=jump) for name, jump in jumps.items()}
    facts = _Facts(model.graph)
    for node in model.graph.node:
        given = [spans[name] for name in node.input if name in spans]
        if not given:
            continue
        before = TheoreticalReach(jump=max(each.jump for each in given), reach=max(each.reach for each in given))
        after = _through(node, before, facts)
        spans |= dict.fromkeys(node.output, after)
    return ceil(max((spans[each.name].reach for each in model.graph.output if each.name in spans), default=0))


class _Facts:
    """Constants of a graph by name, and shapes of its weights."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._tensors = {each.name: each for each in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
                self._tensors[node.output[0]] = node.attribute[0].t

    def shape(self, node: onnx.NodeProto, place: int) -> tuple[int, ...]:
        """The shape of one input, empty where it is computed."""
        known = self._tensors.get(node.input[place]) if place < len(node.input) else None
        return tuple(known.dims) if known is not None else ()

    def values(self, node: onnx.NodeProto, place: int) -> list[float]:
        """The values of one small input, empty where it is computed or kept in a file of its own."""
        known = self._tensors.get(node.input[place]) if place < len(node.input) else None
        if known is None or known.data_location == onnx.TensorProto.EXTERNAL:
            return []
        return [float(each) for each in np.ravel(numpy_helper.to_array(known))]


def _through(node: onnx.NodeProto, before: TheoreticalReach, facts: _Facts) -> TheoreticalReach:
    """The span behind one operator."""
    if node.op_type in KERNELS:
        return _convolved(node, before, facts)
    if node.op_type == "Slice":
        return _sliced(node, before, facts)
    coarser, pixels = 1.0, 0.0
    match node.op_type:
        case "ConvTranspose":
            stride = max(_numbers(node, "strides"), default=1)
            pixels = max((ceil(size / stride) for size in _kernel(node, facts)), default=0)
            coarser = 1 / stride
        case "Resize" | "Upsample":
            scales = facts.values(node, 2 if node.op_type == "Resize" else 1)
            coarser, pixels = 1 / (max(scales[2:], default=1.0) or 1.0), INTERPOLATION
        case "DepthToSpace":
            coarser = 1 / _number(node, "blocksize", 1)
        case "SpaceToDepth":
            coarser = pixels = _number(node, "blocksize", 1)
    return TheoreticalReach(jump=before.jump * coarser, reach=before.reach + pixels * before.jump)


def _convolved(node: onnx.NodeProto, before: TheoreticalReach, facts: _Facts) -> TheoreticalReach:
    kernel, pads = _kernel(node, facts), _numbers(node, "pads")
    sides = []
    for axis, size in enumerate(kernel):
        first = pads[axis] if axis < len(pads) else size // 2 if _padded(node) else 0
        sides.append(max(first, size - first))
    stride = max(_numbers(node, "strides"), default=1)
    return TheoreticalReach(jump=before.jump * stride, reach=before.reach + max(sides, default=0) * before.jump)


def _kernel(node: onnx.NodeProto, facts: _Facts) -> list[int]:
    """Distance between the first and the last tap per axis."""
    shape = _numbers(node, "kernel_shape") or list(facts.shape(node, WEIGHT.get(node.op_type, 1))[2:])
    dilations = _numbers(node, "dilations") or [1] * len(shape)
    return [dilation * (size - 1) for dilation, size in zip(dilations, shape, strict=True)]


def _sliced(node: onnx.NodeProto, before: TheoreticalReach, facts: _Facts) -> TheoreticalReach:
    """Every second pixel and so on along height or width, and shifts by cutting off the beginning."""
    starts, steps = facts.values(node, 1), facts.values(node, 4)
    axes = facts.values(node, 3) or list(range(len(starts)))
    spatial = [place for place, axis in enumerate(axes) if axis >= 2 or -2 <= axis < 0]
    shift = max((abs(starts[i]) for i in spatial if i < len(starts) and abs(starts[i]) < FURTHEST), default=0.0)
    step = max((abs(steps[i]) for i in spatial if i < len(steps)), default=1.0)
    return TheoreticalReach(jump=before.jump * step, reach=before.reach + shift * before.jump)


def _padded(node: onnx.NodeProto) -> bool:
    return any(each.name == "auto_pad" and each.s.startswith(b"SAME") for each in node.attribute)


def _numbers(node: onnx.NodeProto, name: str) -> list[int]:
    return next((list(each.ints) for each in node.attribute if each.name == name), [])


def _number(node: onnx.NodeProto, name: str, default: int) -> Any:
    return next((each.i for each in node.attribute if each.name == name), default)
