"""Composes a model's own graph with the nodes that replace its card's pre- and postprocessing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import onnx
from onnx import compose

from tilewright.models.errors import CardError
from tilewright.models.optimise.fuse_nodes import Draft, add_input, add_layers
from tilewright.models.optimise.fuse_specs import quantisation, resized, training_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilewright.models.card.card import ModelCard


PREFIX: Final = "model/"


def compose_graph(card: ModelCard, fused: ModelCard, model: onnx.ModelProto) -> bytes:
    """The bytes of the graph that takes `fused.inputs` and gives `fused.outputs`, around `model`, the graph of `card`.

    Raises CardError if the result is not valid, which is a fault of the original graph.
    """
    inner = compose.add_prefix(model, PREFIX)
    before, after = Draft(opset=opset(model), name="in"), Draft(opset=opset(model), name="out")
    inputs = _inputs(card, fused, {each.name: each for each in inner.graph.input}, before)
    outputs = _outputs(card, fused, {each.name: each for each in inner.graph.output}, after)
    return _serialise(card, inner, (before, after), inputs=inputs, outputs=outputs)


def opset(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operator set that a graph uses, 0 for none."""
    return next((int(each.version) for each in model.opset_import if each.domain in {"", "ai.onnx"}), 0)


def _inputs(
    card: ModelCard, fused: ModelCard, inner: Mapping[str, onnx.ValueInfoProto], before: Draft
) -> list[onnx.ValueInfoProto]:
    """The composed graph's inputs; nodes added to `before` connect each to the inner graph's input."""
    inputs = []
    for spec, fused_spec in zip(card.inputs, fused.inputs, strict=True):
        value = inner[PREFIX + spec.name]
        if fused_spec is spec:
            before.add("Identity", [spec.name], out=value.name)
            inputs.append(_renamed(value, spec.name))
        else:
            scale, offset = quantisation(spec)
            add_input(before, spec, fused_spec, scale=scale, offset=offset, out=value.name)
            inputs.append(_value_info(fused_spec.name, fused_spec.data_type, fused_spec.shape, value))
    for extra in card.extras:
        value = inner[PREFIX + extra.name]
        before.add("Identity", [extra.name], out=value.name)
        inputs.append(_renamed(value, extra.name))
    return inputs


def _outputs(
    card: ModelCard, fused: ModelCard, inner: Mapping[str, onnx.ValueInfoProto], after: Draft
) -> list[onnx.ValueInfoProto]:
    outputs = []
    for output, layered in zip(card.outputs, fused.outputs, strict=True):
        value = inner[PREFIX + output.name]
        if layered is output:
            after.add("Identity", [value.name], out=output.name)
            outputs.append(_renamed(value, output.name))
        else:
            size = training_size(card, output) if resized(card) else None
            add_layers(after, output, value.name, size=size, out=output.name)
            outputs.append(_value_info(output.name, "uint8", layered.shape, None))
    return outputs


def _serialise(
    card: ModelCard,
    inner: onnx.ModelProto,
    drafts: tuple[Draft, Draft],
    *,
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
) -> bytes:
    before, after = drafts
    graph = onnx.helper.make_graph(
        [*before.nodes, *inner.graph.node, *after.nodes],
        "fused",
        inputs,
        outputs,
        [*before.weights, *inner.graph.initializer, *after.weights],
        sparse_initializer=list(inner.graph.sparse_initializer),
    )
    composed = onnx.helper.make_model(
        graph, producer_name="tilewright", opset_imports=list(inner.opset_import), functions=list(inner.functions)
    )
    composed.ir_version = inner.ir_version
    try:
        onnx.checker.check_model(composed)
    except onnx.checker.ValidationError as error:
        raise CardError(f"{card.model_path.name} cannot be fused: {' '.join(str(error).split())}") from error
    content: bytes = composed.SerializeToString(deterministic=True)
    return content


def _renamed(value: onnx.ValueInfoProto, name: str) -> onnx.ValueInfoProto:
    renamed = onnx.ValueInfoProto()
    renamed.CopyFrom(value)
    renamed.name = name
    return renamed


def _value_info(name: str, dtype: str, shape: Sequence[int], like: onnx.ValueInfoProto | None) -> onnx.ValueInfoProto:
    """A port of the composed graph; free sizes keep the inner graph's symbols, so that equal ones stay equal."""
    inner_dims = like.type.tensor_type.shape.dim if like is not None else ()
    symbols = [each.dim_param for each in inner_dims] if len(inner_dims) == len(shape) else [""] * len(shape)
    sizes = [n if n > 0 else symbol or f"{name}/{i}" for i, (n, symbol) in enumerate(zip(shape, symbols, strict=True))]
    element_type = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    port: onnx.ValueInfoProto = onnx.helper.make_tensor_value_info(name, element_type, sizes)
    return port
