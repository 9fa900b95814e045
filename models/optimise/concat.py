"""A concatenation that feeds one convolution, written as the sum of convolutions over its parts.

Convolving joined channels is the sum of convolving each part with its share of the weights: the same numbers but for
the order in which they are added. The joined array, often the largest of a U-Net, is then never made. ONNX Runtime adds
the parts inside the convolution where it knows all sizes, which is why `fix_sizes` comes first.
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
"""Channels of a part must be a multiple. Source: the widest block of ONNX Runtime's blocked layout (NCHWc, AVX-512)."""

CHANNEL_AXES: Final = (1, -3)
"""Of a stack of images, (batch, channel, height, width)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Join:
    """A concatenation, the one convolution that takes it, and how many channels each part has."""

    concat: onnx.NodeProto
    conv: onnx.NodeProto
    channels: tuple[int, ...]


def fix_sizes(model: onnx.ModelProto, sizes: Mapping[str, Sequence[int]]) -> onnx.ModelProto:
    """A copy whose inputs have the sizes given by name, and every other size as far as it follows from these."""
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


def split_joins(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """A copy with every join split that can be and is worth it; None where there is none.

    `model` must know the channels of what it joins (see `fix_sizes`).
    """
    joins = _joins(model)
    if not joins:
        return None
    split = onnx.ModelProto()
    split.CopyFrom(model)
    weights = _weights(model)
    by_conv = {join.conv.output[0]: join for join in joins}
    dropped = {join.concat.output[0] for join in joins}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.output[0] in by_conv:
            made, shares = _sum_of_parts(by_conv[node.output[0]], weights[node.input[1]])
            nodes.extend(made)
            split.graph.initializer.extend(shares)
        elif node.output[0] not in dropped:
            nodes.append(node)
    del split.graph.node[:]
    split.graph.node.extend(nodes)
    _drop_unused(split.graph)
    return split


def _joins(model: onnx.ModelProto) -> list[_Join]:
    graph = model.graph
    channels = {value.name: _channels(value) for value in [*graph.value_info, *graph.input]}
    uses = Counter(name for node in graph.node for name in node.input)
    uses.update(value.name for value in graph.output)
    uses.update(_captured(graph))
    concats = {node.output[0]: node for node in graph.node if node.op_type == "Concat" and not node.domain}
    weights = _weights(model)
    found = []
    for conv in graph.node:
        if conv.op_type != "Conv" or conv.domain or conv.input[0] not in concats or conv.input[1] not in weights:
            continue
        concat = concats[conv.input[0]]
        parts = _completed([channels.get(name, 0) for name in concat.input], weights[conv.input[1]].dims)
        if uses[conv.input[0]] == 1 and _worth_it(concat, conv, parts, weights[conv.input[1]]):
            found.append(_Join(concat=concat, conv=conv, channels=parts))
    return found


def _completed(parts: list[int], weight: Sequence[int]) -> tuple[int, ...]:
    """The parts' channels; one that is not known (0) is what the weights leave for it."""
    if parts.count(0) == 1 and len(weight) > 1:
        parts[parts.index(0)] = max(0, weight[1] - sum(parts))
    return tuple(parts)


def _worth_it(concat: onnx.NodeProto, conv: onnx.NodeProto, parts: tuple[int, ...], weight: onnx.TensorProto) -> bool:
    """Whether the parts are of whole channel blocks, and adding answers moves fewer bytes than joining inputs did."""
    if len(parts) < 2 or any(n <= 0 or n % CHANNELS for n in parts):
        return False
    joined = _attribute(concat, "axis") in CHANNEL_AXES and _attribute(conv, "group", 1) == 1
    n_out, n_in = weight.dims[0], weight.dims[1]
    return joined and len(weight.dims) == 4 and sum(parts) == n_in and n_out * (len(parts) - 1) <= 2 * n_in


def _sum_of_parts(join: _Join, weight: onnx.TensorProto) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """The nodes that make the convolution's output part by part, and their weights; the bias goes with the first."""
    values = numpy_helper.to_array(weight)
    cuts = np.cumsum(join.channels)[:-1]
    out, total = join.conv.output[0], ""
    nodes, shares = [], []
    for number, (part, share) in enumerate(zip(join.concat.input, np.split(values, cuts, axis=1), strict=True)):
        shares.append(numpy_helper.from_array(np.ascontiguousarray(share), f"{out}/part{number}/weight"))
        conv = onnx.NodeProto()
        conv.CopyFrom(join.conv)
        conv.name = f"{join.conv.name}/part{number}"
        del conv.input[:], conv.output[:]
        conv.input.extend([part, shares[-1].name, *(join.conv.input[2:] if number == 0 else [])])
        conv.output.append(f"{out}/part{number}")
        nodes.append(conv)
        if number:
            added = out if number == len(join.channels) - 1 else f"{out}/sum{number}"
            nodes.append(helper.make_node("Add", [conv.output[0], total], [added], name=added))
        total = nodes[-1].output[0]
    return nodes, shares


def _weights(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """Constant tensors by name that no caller can feed in place of."""
    fed = {value.name for value in model.graph.input}
    return {tensor.name: tensor for tensor in model.graph.initializer if tensor.name not in fed}


def _channels(value: onnx.ValueInfoProto) -> int:
    """The second size of four; 0 where it is not known or there are not four."""
    dims = value.type.tensor_type.shape.dim
    return int(dims[1].dim_value) if len(dims) == 4 else 0


def _captured(graph: onnx.GraphProto) -> list[str]:
    """Names that graphs inside nodes take from around them, as far as they may."""
    inner = [each for node in graph.node for attribute in node.attribute for each in _graphs(attribute)]
    names = [name for each in inner for node in each.node for name in node.input]
    return (
        names + [value.name for each in inner for value in each.output] + [n for each in inner for n in _captured(each)]
    )


def _graphs(attribute: onnx.AttributeProto) -> list[onnx.GraphProto]:
    return [attribute.g] if attribute.HasField("g") else list(attribute.graphs)


def _attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    return next((helper.get_attribute_value(each) for each in node.attribute if each.name == name), default)


def _drop_unused(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input} | set(_captured(graph))
    used |= {value.name for value in [*graph.output, *graph.input]}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
