"""The graph composed of a model's own and of the nodes that stand for its card around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import onnx
from onnx import compose

from tilewright.models.errors import CardError
from tilewright.models.optimise.fuse_nodes import Draft, add_input, add_layers
from tilewright.models.optimise.fuse_specs import input_step, resized, training_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilewright.models.card.card import ModelCard


PREFIX: Final = "model/"


def composed(card: ModelCard, fused: ModelCard, model: onnx.ModelProto) -> bytes:
    """The bytes of the graph that takes `fused.inputs` and gives `fused.outputs`, around `model`, which is `card`'s.

    Raises CardError where it is not valid, which is a fault of the graph it was made from.
    """
    inner = compose.add_prefix(model, PREFIX)
    before, after = Draft(opset=opset(model), name="in"), Draft(opset=opset(model), name="out")
    given = _inputs(card, fused, {each.name: each for each in inner.graph.input}, before)
    made = _outputs(card, fused, {each.name: each for each in inner.graph.output}, after)
    return _serialised(card, inner, (before, after), given=given, made=made)


def opset(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operators that a graph uses, 0 for none."""
    return next((int(each.version) for each in model.opset_import if each.domain in {"", "ai.onnx"}), 0)


def _inputs(
    card: ModelCard, fused: ModelCard, inner: Mapping[str, onnx.ValueInfoProto], before: Draft
) -> list[onnx.ValueInfoProto]:
    """The composed graph's inputs, each joined to the inner graph's own by nodes added to `before`."""
    given = []
    for spec, carried in zip(card.inputs, fused.inputs, strict=True):
        value = inner[PREFIX + spec.name]
        if carried is spec:
            before.add("Identity", [spec.name], out=value.name)
            given.append(_renamed(value, spec.name))
        else:
            step, lowest = input_step(spec)
            add_input(before, spec, carried, step=step, lowest=lowest, out=value.name)
            given.append(_port(carried.name, carried.data_type, carried.shape, value))
    for extra in card.extras:
        value = inner[PREFIX + extra.name]
        before.add("Identity", [extra.name], out=value.name)
        given.append(_renamed(value, extra.name))
    return given


def _outputs(
    card: ModelCard, fused: ModelCard, inner: Mapping[str, onnx.ValueInfoProto], after: Draft
) -> list[onnx.ValueInfoProto]:
    made = []
    for output, layered in zip(card.outputs, fused.outputs, strict=True):
        value = inner[PREFIX + output.name]
        if layered is output:
            after.add("Identity", [value.name], out=output.name)
            made.append(_renamed(value, output.name))
        else:
            size = training_size(card, output) if resized(card) else None
            add_layers(after, output, value.name, size=size, out=output.name)
            made.append(_port(output.name, "uint8", layered.shape, None))
    return made


def _serialised(
    card: ModelCard,
    inner: onnx.ModelProto,
    drafts: tuple[Draft, Draft],
    *,
    given: list[onnx.ValueInfoProto],
    made: list[onnx.ValueInfoProto],
) -> bytes:
    before, after = drafts
    graph = onnx.helper.make_graph(
        [*before.nodes, *inner.graph.node, *after.nodes],
        "fused",
        given,
        made,
        [*before.weights, *inner.graph.initializer, *after.weights],
        sparse_initializer=list(inner.graph.sparse_initializer),
    )
    whole = onnx.helper.make_model(
        graph, producer_name="tilewright", opset_imports=list(inner.opset_import), functions=list(inner.functions)
    )
    whole.ir_version = inner.ir_version
    try:
        onnx.checker.check_model(whole)
    except onnx.checker.ValidationError as error:
        raise CardError(f"{card.model_path.name} cannot be fused: {' '.join(str(error).split())}") from error
    content: bytes = whole.SerializeToString(deterministic=True)
    return content


def _renamed(value: onnx.ValueInfoProto, name: str) -> onnx.ValueInfoProto:
    fresh = onnx.ValueInfoProto()
    fresh.CopyFrom(value)
    fresh.name = name
    return fresh


def _port(name: str, dtype: str, shape: Sequence[int], like: onnx.ValueInfoProto | None) -> onnx.ValueInfoProto:
    """A port of the composed graph; a free size keeps the inner graph's word for it, so that equal ones stay equal."""
    theirs = like.type.tensor_type.shape.dim if like is not None else ()
    words = [each.dim_param for each in theirs] if len(theirs) == len(shape) else [""] * len(shape)
    sides = [n if n > 0 else word or f"{name}/{i}" for i, (n, word) in enumerate(zip(shape, words, strict=True))]
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    port: onnx.ValueInfoProto = onnx.helper.make_tensor_value_info(name, kind, sides)
    return port
