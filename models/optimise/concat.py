"""Replaces a concatenation that feeds one convolution by the sum of convolutions over its parts.

Convolving concatenated channels equals the sum of convolving each part with its slice of the weights, except for the
order of additions. The concatenated array, often the largest of a U-Net, is then never allocated. ONNX Runtime adds the
parts inside the convolution if it knows all sizes, so `fix_sizes` comes first.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
from onnx import helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


CHANNELS: Final = 16
"""The channels of each part must be a multiple of it.

Source: the widest block of ONNX Runtime's blocked layout (NCHWc, AVX-512).
"""

CHANNEL_AXES: Final = (1, -3)
"""The channel axis of (batch, channel, height, width), counted from either end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _ConcatConv:
    """A concatenation, the only convolution that consumes it, and the channels of each part."""

    concat: onnx.NodeProto
    conv: onnx.NodeProto
    channels: tuple[int, ...]


def fix_sizes(model: onnx.ModelProto, sizes: Mapping[str, Sequence[int]]) -> onnx.ModelProto:
    """A copy whose inputs have the `sizes` by name, and every other size that can be inferred from them."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for value in fixed.graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, sizes.get(value.name, ()), strict=False):
            dim.dim_value = size
    del fixed.graph.value_info[:]
    for value in fixed.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            if dim.HasField("dim_param"):
                dim.Clear()
    return onnx.shape_inference.infer_shapes(fixed, data_prop=True)


def split_concats(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """A copy in which every concatenation that can be split at a gain is split; None if there is none.

    `model` must know the channels of the concatenated arrays (see `fix_sizes`).
    """
    pairs = _splittable(model)
    if not pairs:
        return None
    split = onnx.ModelProto()
    split.CopyFrom(model)
    weights = _weights(model)
    by_conv = {pair.conv.output[0]: pair for pair in pairs}
    dropped = {pair.concat.output[0] for pair in pairs}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.output[0] in by_conv:
            convs, slices = _sum_of_parts(by_conv[node.output[0]], weights[node.input[1]])
            nodes.extend(convs)
            split.graph.initializer.extend(slices)
        elif node.output[0] not in dropped:
            nodes.append(node)
    del split.graph.node[:]
    split.graph.node.extend(nodes)
    _drop_unused(split.graph)
    return split


def _splittable(model: onnx.ModelProto) -> list[_ConcatConv]:
    graph = model.graph
    channels = {value.name: _channels(value) for value in [*graph.value_info, *graph.input]}
    uses = Counter(name for node in graph.node for name in node.input)
    uses.update(value.name for value in graph.output)
    uses.update(_captured(graph))
    concats = {node.output[0]: node for node in graph.node if node.op_type == "Concat" and not node.domain}
    weights = _weights(model)
    pairs = []
    for conv in graph.node:
        if conv.op_type != "Conv" or conv.domain or conv.input[0] not in concats or conv.input[1] not in weights:
            continue
        concat = concats[conv.input[0]]
        parts = _known_channels([channels.get(name, 0) for name in concat.input], weights[conv.input[1]].dims)
        if uses[conv.input[0]] == 1 and _is_cheaper(concat, conv, parts, weights[conv.input[1]]):
            pairs.append(_ConcatConv(concat=concat, conv=conv, channels=parts))
    return pairs


def _known_channels(parts: list[int], weight: Sequence[int]) -> tuple[int, ...]:
    """The channels of the parts; a single unknown one (0) is the remainder of the weights' input channels."""
    if parts.count(0) == 1 and len(weight) > 1:
        parts[parts.index(0)] = max(0, weight[1] - sum(parts))
    return tuple(parts)


def _is_cheaper(concat: onnx.NodeProto, conv: onnx.NodeProto, parts: tuple[int, ...], weight: onnx.TensorProto) -> bool:
    """Whether the parts have whole channel blocks, and adding outputs moves fewer bytes than concatenating inputs."""
    if len(parts) < 2 or any(n <= 0 or n % CHANNELS for n in parts):
        return False
    splittable = _attribute(concat, "axis") in CHANNEL_AXES and _attribute(conv, "group", 1) == 1
    n_out, n_in = weight.dims[0], weight.dims[1]
    return splittable and len(weight.dims) == 4 and sum(parts) == n_in and n_out * (len(parts) - 1) <= 2 * n_in


def _sum_of_parts(pair: _ConcatConv, weight: onnx.TensorProto) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """The nodes that compute the convolution's output part by part, and their weights; the first part has the bias."""
    values = numpy_helper.to_array(weight)
    cuts = np.cumsum(pair.channels)[:-1]
    out, total = pair.conv.output[0], ""
    nodes, slices = [], []
    for number, (part, weight_slice) in enumerate(zip(pair.concat.input, np.split(values, cuts, axis=1), strict=True)):
        slices.append(numpy_helper.from_array(np.ascontiguousarray(weight_slice), f"{out}/part{number}/weight"))
        conv = onnx.NodeProto()
        conv.CopyFrom(pair.conv)
        conv.name = f"{pair.conv.name}/part{number}"
        del conv.input[:], conv.output[:]
        conv.input.extend([part, slices[-1].name, *(pair.conv.input[2:] if number == 0 else [])])
        conv.output.append(f"{out}/part{number}")
        nodes.append(conv)
        if number:
            added = out if number == len(pair.channels) - 1 else f"{out}/sum{number}"
            nodes.append(helper.make_node("Add", [conv.output[0], total], [added], name=added))
        total = nodes[-1].output[0]
    return nodes, slices


def _weights(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """Constant tensors by name, without those that a caller can feed."""
    fed = {value.name for value in model.graph.input}
    return {tensor.name: tensor for tensor in model.graph.initializer if tensor.name not in fed}


def _channels(value: onnx.ValueInfoProto) -> int:
    """The channels of an array with four axes; 0 if they are unknown or the array has other axes."""
    dims = value.type.tensor_type.shape.dim
    return int(dims[1].dim_value) if len(dims) == 4 else 0


def _captured(graph: onnx.GraphProto) -> list[str]:
    """All names that graphs inside nodes use, and so may capture from the graph around them."""
    attributes = [attribute for node in graph.node for attribute in node.attribute]
    names: list[str] = []
    for attribute in attributes:
        for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
            names += [name for node in inner.node for name in node.input]
            names += [value.name for value in inner.output]
            names += _captured(inner)
    return names


def _attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    return next((helper.get_attribute_value(each) for each in node.attribute if each.name == name), default)


def _drop_unused(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input} | set(_captured(graph))
    used |= {value.name for value in [*graph.output, *graph.input]}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
