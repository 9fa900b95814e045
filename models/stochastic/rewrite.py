"""A graph rewritten to be given what it drew: each random operator becomes an input, and what it made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tilewright.models.card.graph import DOMAINS, LARGEST_GRAPH
from tilewright.models.errors import CardError
from tilewright.models.spec.draws.stochastic import FIELD
from tilewright.models.spec.inputs import ExtraInput

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tilewright.models.card.card import ModelCard
    from tilewright.models.stochastic.layouts import Layout
    from tilewright.models.stochastic.sites import Site


ROOM: Final = 2**20
"""Bytes that what is written into a graph has at most."""

AXES_AS_INPUT: Final = 13
"""The opset from which Unsqueeze takes its axes as an input. Source: ONNX, Unsqueeze-13."""


def drawn_inputs(
    model: onnx.ModelProto, card: ModelCard, sites: Sequence[Site], layouts: Sequence[Layout], *, seed: int
) -> list[ExtraInput]:
    """The inputs in place of the sites of a card's graph, in their order. One without pixels has its numbers along one
    axis.
    """
    prefix = _free_prefix(model)
    made: list[ExtraInput] = []
    for number, (site, layout) in enumerate(zip(sites, layouts, strict=True)):
        name = f"{prefix}{number}"
        kept = site.draw.law == "kept"
        shape, axes = layout.shape, layout.axes
        if layout.ratio is None:
            own = int(np.prod(layout.shape[1:]))
            shape, axes = ((own,), ("bands",)) if layout.shape[0] == 1 else ((layout.shape[0], own), ("batch", "bands"))
        made.append(
            ExtraInput(
                name=name,
                kind="drawn",
                of=card.inputs[0].name,
                parts=(),
                values=(),
                shape=shape,
                dim_order=axes,
                data_type="bool" if kept else layout.data_type,
                scale=float(layout.ratio or 1),
                seed=seed * len(sites) + number,
                draw=site.draw,
            )
        )
    return made


def _free_prefix(model: onnx.ModelProto) -> str:
    """The beginning of a name with which nothing in the graph begins."""
    taken = {name for node in model.graph.node for name in (*node.input, *node.output)}
    taken |= {each.name for each in (*model.graph.input, *model.graph.initializer)}
    prefix = "drawn#"
    while any(name.startswith(prefix) for name in taken):
        prefix += "#"
    return prefix


def whole_graph(card: ModelCard) -> onnx.ModelProto:
    """The graph of a card with all its weights. Raises CardError above 2 GiB."""
    files = (card.model_path, *card.weights)
    if sum(path.stat().st_size for path in files) > LARGEST_GRAPH - ROOM:
        raise CardError(
            f"properties.{FIELD}: the graph of {card.name} and its weights have more than 2 GiB; leave it out"
        )
    return onnx.load(str(card.model_path))


def rewritten(
    model: onnx.ModelProto, sites: Sequence[Site], layouts: Sequence[Layout], inputs: Sequence[ExtraInput]
) -> bytes:
    """A graph, which is changed, with the `inputs` in place of its sites."""
    opset = next((each.version for each in model.opset_import if each.domain in DOMAINS[:2]), 0)
    at = {site.index: (site, layout, extra) for site, layout, extra in zip(sites, layouts, inputs, strict=True)}
    nodes: list[onnx.NodeProto] = []
    for index, node in enumerate(model.graph.node):
        if index not in at:
            nodes.append(node)
            continue
        site, layout, extra = at[index]
        drawn = extra.name
        if layout.ratio is None:
            drawn = f"{extra.name}/placed"
            nodes.extend(_placed(extra.name, drawn, layout, opset=opset))
        nodes.extend(_after(node, site, drawn, layout, own=extra.name))
    model.graph.input.extend(_port(extra) for extra in inputs)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    del model.graph.value_info[:]
    return bytes(model.SerializeToString(deterministic=True))


def _port(extra: ExtraInput) -> onnx.ValueInfoProto:
    sizes = [n if n > 0 else f"{extra.name}/{axis}" for n, axis in zip(extra.shape, extra.dim_order, strict=True)]
    element = (
        TensorProto.BOOL if extra.data_type == "bool" else helper.np_dtype_to_tensor_dtype(np.dtype(extra.data_type))
    )
    return helper.make_tensor_value_info(extra.name, element, sizes)


def _placed(name: str, result: str, layout: Layout, *, opset: int) -> Iterator[onnx.NodeProto]:
    """The numbers of a site without pixels in its own shape, with an axis of windows in front."""
    batched, own = layout.shape[0] != 1, layout.shape[1:]
    if all(length == 1 for length in own[1:]):
        axes = [*([] if batched else [0]), *range(2, len(layout.shape))]
        if not axes:
            yield helper.make_node("Identity", [name], [result])
        elif opset < AXES_AS_INPUT:
            yield helper.make_node("Unsqueeze", [name], [result], axes=axes)
        else:
            yield _constant(np.array(axes, np.int64), f"{name}/axes")
            yield helper.make_node("Unsqueeze", [name, f"{name}/axes"], [result])
        return
    # 0: the length that it has.
    yield _constant(np.array([0 if batched else 1, *own], np.int64), f"{name}/shape")
    yield helper.make_node("Reshape", [name, f"{name}/shape"], [result])


def _after(node: onnx.NodeProto, site: Site, drawn: str, layout: Layout, *, own: str) -> Iterator[onnx.NodeProto]:
    """The operator with what it draws given to it; further names begin with `own`."""
    result = node.output[0]
    if site.op == "Dropout":
        # As the operator is defined: what is kept is divided by the share that is kept. Source: ONNX, Dropout-13.
        (share,) = site.draw.numbers
        element = helper.np_dtype_to_tensor_dtype(np.dtype(layout.data_type))
        yield helper.make_node("Cast", [drawn], [f"{own}/kept"], to=element)
        yield _constant(np.array(1 / (1 - share), layout.data_type), f"{own}/gain")
        yield helper.make_node("Mul", [f"{own}/kept", f"{own}/gain"], [f"{own}/factor"])
        yield helper.make_node("Mul", [node.input[0], f"{own}/factor"], [result], name=node.name)
        if len(node.output) > 1 and node.output[1]:
            yield helper.make_node("Identity", [drawn], [node.output[1]])
    elif site.op == "Bernoulli":
        stated = next((each.i for each in node.attribute if each.name == "dtype"), 0)
        yield helper.make_node("Cast", [node.input[0]], [f"{own}/chance"], to=TensorProto.FLOAT)
        yield helper.make_node("Less", [drawn, f"{own}/chance"], [f"{own}/drawn"], name=node.name)
        if stated:
            yield helper.make_node("Cast", [f"{own}/drawn"], [result], to=stated)
        else:
            yield helper.make_node("CastLike", [f"{own}/drawn", node.input[0]], [result])
    else:
        yield helper.make_node("Identity", [drawn], [result], name=node.name)


def _constant(values: np.ndarray, name: str) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(values, name))
