"""The operators of a graph that draw random numbers, and what each draws; one that cannot be given it is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from tilewright.models.card.graph import DOMAINS, DRAWING, DROPOUTS
from tilewright.models.errors import CardError
from tilewright.models.fields import shorten
from tilewright.models.spec.draws.stochastic import FIELD, Draw

if TYPE_CHECKING:
    from collections.abc import Iterator


FLOATS: Final = {TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16", TensorProto.DOUBLE: "float64"}
"""Types of numbers that can be drawn."""

SWITCHED: Final = 12
"""The opset from which a dropout has its share and its switch as inputs. Source: ONNX, Dropout-12."""

UNIFORM, NORMAL = ("RandomUniform", "RandomUniformLike"), ("RandomNormal", "RandomNormalLike")

SIZED: Final = {
    "Reshape": (1,), "Expand": (1,), "Tile": (1,), "Slice": (1, 2, 3, 4), "Pad": (1, 3), "ConstantOfShape": (0,),
    "Range": (0, 1, 2), "TopK": (1,), "OneHot": (1,), "Resize": (1, 2, 3), "Upsample": (1,), "Split": (1,),
    "NonZero": (0,), "Compress": (0, 1), "Unique": (0,), "NonMaxSuppression": (0, 1, 2, 3, 4), "If": (0,),
    "Loop": (0, 1), "CenterCropPad": (1,), "Squeeze": (1,), "Unsqueeze": (1,),
}  # fmt: skip
"""Inputs of operators that decide the sizes of their results."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """An operator that draws: its place among the graph's nodes, what it draws, and its name for a person.

    `broadcast`: one number may serve all windows, since what it is joined with has their shape.
    """

    index: int
    op: str
    draw: Draw
    label: str
    broadcast: bool


def find_sites(model: onnx.ModelProto, *, name: str) -> tuple[Site, ...]:
    """The operators of the graph that draw, dropouts among them whether their switch is set or not.

    Raises CardError naming the operator that cannot be drawn for, or where the graph draws nothing.
    """
    opset = next((each.version for each in model.opset_import if each.domain in DOMAINS[:2]), 0)
    constants = _constants(model.graph)
    inner = next((node for graph in _inner(model) for node in graph.node if _draws(node)), None)
    if inner is not None:
        raise _refused(
            name,
            inner,
            "it stands inside a Loop, an If, a Scan or a function, where no input reaches it: export it outside",
        )
    trained = next((each for each in model.graph.node if _trains(each)), None)
    if trained is not None:
        raise CardError(
            f"properties.{FIELD}: {_label(trained)} of {name} is in training mode too, so that windows of a call would "
            "change each other: export with the layers of dropout alone in training (TrainingMode.PRESERVE)"
        )
    sites = []
    for index, node in enumerate(model.graph.node):
        if not _draws(node):
            continue
        if not (node.output and node.output[0] and (node.input or node.op_type in {"RandomUniform", "RandomNormal"})):
            raise _refused(name, node, "it has no input or no result")
        try:
            draw = _draw(node, constants, opset=opset, name=name)
        except CardError:
            raise
        except (TypeError, ValueError, OverflowError) as error:
            raise _refused(name, node, "its attributes are not those of the operator") from error
        if draw is None:
            continue
        broadcast = node.op_type in {"Dropout", "Bernoulli"}
        sites.append(Site(index=index, op=node.op_type, draw=draw, label=_label(node), broadcast=broadcast))
    if not sites:
        raise CardError(
            f"properties.{FIELD}: the graph of {name} draws nothing: export it with the layers of dropout alone in "
            "training (TrainingMode.PRESERVE), or leave the field out"
        )
    _refuse_sizes(model.graph, sites, name=name)
    return tuple(sites)


def refuse_site(name: str, label: str, reason: str) -> CardError:
    """The error for a random operator that cannot be drawn for."""
    return CardError(f"properties.{FIELD}: {label} of {name} cannot be drawn: {reason}")


def _refused(name: str, node: onnx.NodeProto, reason: str) -> CardError:
    return refuse_site(name, _label(node), reason)


def _label(node: onnx.NodeProto) -> str:
    return f"{node.op_type} {shorten(node.name or ', '.join(node.output))}"


def _draws(node: onnx.NodeProto) -> bool:
    return node.domain in DOMAINS and (node.op_type in DRAWING or node.op_type in DROPOUTS)


def _trains(node: onnx.NodeProto) -> bool:
    return node.op_type == "BatchNormalization" and any(
        each.name == "training_mode" and each.i for each in node.attribute
    )


def _draw(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto], *, opset: int, name: str) -> Draw | None:
    """What an operator draws; None where it drops nothing."""
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    if node.op_type == "Dropout":
        share = _share(node, constants, attributes, opset=opset, name=name)
        return Draw(law="kept", numbers=(share,)) if share else None
    if node.op_type == "Bernoulli":
        return Draw(law="uniform", numbers=(0.0, 1.0))
    if node.op_type in UNIFORM:
        low, high = float(attributes.get("low", 0.0)), float(attributes.get("high", 1.0))
        if not np.isfinite([low, high]).all() or low > high:
            raise _refused(name, node, f"its range is {low:g} to {high:g}")
        return Draw(law="uniform", numbers=(low, high))
    if node.op_type in NORMAL:
        mean, scale = float(attributes.get("mean", 0.0)), float(attributes.get("scale", 1.0))
        if not np.isfinite([mean, scale]).all() or scale < 0:
            raise _refused(name, node, f"its mean and scale are {mean:g} and {scale:g}")
        return Draw(law="normal", numbers=(mean, scale))
    raise _refused(name, node, "export it as Dropout, Bernoulli, RandomUniform or RandomNormal, or their Like")


def _share(
    node: onnx.NodeProto, constants: dict[str, onnx.TensorProto], attributes: dict[str, Any], *, opset: int, name: str
) -> float:
    share: Any = attributes.get("ratio", 0.5)
    if opset >= SWITCHED:
        share = 0.5
        if len(node.input) > 1 and node.input[1]:
            tensor = constants.get(node.input[1])
            if tensor is None:
                raise _refused(name, node, "its share is computed: export it as a constant")
            share = numpy_helper.to_array(tensor)
    try:
        share = float(np.asarray(share).reshape(()))
    except (ValueError, TypeError) as error:
        raise _refused(name, node, "its share is no number") from error
    if not 0 <= share < 1:
        raise _refused(name, node, f"its share is {share:g}: write 0 or above, and below 1")
    return share


def _constants(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    found = {each.name: each for each in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            found.update((node.output[0], each.t) for each in node.attribute if each.HasField("t"))
    return found


def _inner(model: onnx.ModelProto) -> Iterator[Any]:
    """The bodies of functions and of loops and branches."""
    pending: list[Any] = [*model.functions]
    pending += [graph for node in model.graph.node for graph in _bodies(node)]
    while pending:
        graph = pending.pop()
        yield graph
        pending += [body for node in graph.node for body in _bodies(node)]


def _bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        yield from [attribute.g] if attribute.HasField("g") else attribute.graphs


def _refuse_sizes(graph: onnx.GraphProto, sites: list[Site], *, name: str) -> None:
    """Refuse a graph whose sizes hang on what it draws: no two passes could be added up."""
    drawn: dict[str, str] = {}
    by_index = {site.index: site.label for site in sites}
    for index, node in enumerate(graph.node):
        told = next((drawn[each] for each in node.input if each in drawn), by_index.get(index, ""))
        if not told:
            continue
        sizes = SIZED.get(node.op_type, ())
        if index not in by_index and any(at < len(node.input) and node.input[at] in drawn for at in sizes):
            raise refuse_site(name, told, f"{_label(node)} takes its sizes from what is drawn")
        # A shape is the same whatever the numbers are.
        if node.op_type not in {"Shape", "Size"}:
            drawn |= dict.fromkeys((each for each in node.output if each), told)
