"""The boxes and masks of YOLO's exports: what stands along the channels of an output, by its form and its shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tilewright.models.errors import CardError
from tilewright.models.imports.found import LAYOUT, ForeignModel, classes_of
from tilewright.models.spec.boxes import CENTRE, COEFFICIENT, CORNERS, OF_CLASS, PROTOTYPE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilewright.models.imports.signature import Signature

FORMS: Final = ("objectness", "classes", "turned", "rows")
"""Generations 5 to 7 with objectness, later ones without, oriented heads, and rows after a graph's own suppression."""

LAYER: Final = "boxes"

OBJECTS: Final = "objects"


def tell_boxes(
    found: ForeignModel,
    signature: Signature,
    names: Mapping[int, str],
    *,
    form: str,
    rule: Mapping[str, Any],
    where: str,
) -> None:
    """Note the boxes of a graph's only output. Raises CardError if its shape is not that of form and classes."""
    if len(signature.outputs) != 1:
        raise CardError(
            f"{found.graph.name} has {len(signature.outputs)} outputs; a detector of {found.format} has one: key "
            "points are not imported"
        )
    (name,) = signature.outputs
    channels = _tell_rows(found, signature, names, name=name, form=form, where=where)
    found.tell(name, "tasks", ["object-detection"], where)
    found.tell(name, "tw:activation", "none", "probabilities, as its exporter's graphs give them")
    found.tell(name, "tw:layers", [LAYER], "a table of boxes")
    found.tell(name, "tw:boxes", {"channels": channels, **rule}, where)


def tell_masks(found: ForeignModel, signature: Signature, names: Mapping[int, str], *, form: str, where: str) -> None:
    """Note the objects of a graph that gives boxes with coefficients, and prototypes of masks.

    Raises CardError if its two outputs have not the shapes of form and classes.
    """
    by_rank = {len(port.shape or ()): name for name, port in signature.outputs.items()}
    rows, prototypes = by_rank.get(3), by_rank.get(4)
    if len(signature.outputs) != 2 or rows is None or prototypes is None:
        shapes = ", ".join(f"{name} {list(port.shape or ())}" for name, port in signature.outputs.items())
        raise CardError(
            f"{found.graph.name} has the outputs {shapes}; a model of masks of {found.format} gives boxes with their "
            "coefficients (1, channel, box) and prototypes (1, channel, height, width)"
        )
    shape = signature.outputs[prototypes].shape
    assert shape is not None, "it has a rank"
    channels = _tell_rows(found, signature, names, name=rows, form=form, where=where, n_coefficients=shape[1])
    for name, of_it in ((rows, channels), (prototypes, [PROTOTYPE])):
        found.tell(name, "tasks", ["instance-segmentation"], where)
        found.tell(name, "tw:activation", "none", "probabilities, as its exporter's graphs give them")
        found.tell(name, "tw:layers", [OBJECTS], "a layer of objects")
        found.tell(name, "tw:instances", {"from": "masks", "channels": of_it}, where)
    found.tell(prototypes, LAYOUT, ["batch", "channel", "height", "width"], "the shape of the output")


def _tell_rows(
    found: ForeignModel,
    signature: Signature,
    names: Mapping[int, str],
    *,
    name: str,
    form: str,
    where: str,
    n_coefficients: int = 0,
) -> list[str]:
    """Note the axes and the classes of an output of boxes; what stands along its channels."""
    classes, port = classes_of(names), signature.outputs[name]
    channels = _channels(form, [str(each["name"]) for each in classes])
    n_channels = len(channels) + n_coefficients
    axes = _axes(port.shape, n_channels, form)
    if axes is None:
        raise CardError(
            f"output {name!r} of {found.graph.name} has the shape {list(port.shape or ())}; {found.format} with "
            f"{len(classes)} classes gives {n_channels} numbers for each box ({', '.join(channels[:8])}, ...)"
        )
    found.tell(name, LAYOUT, list(axes), "the shape of the output")
    found.tell(name, "classification:classes", classes, where)
    return [*channels, *([COEFFICIENT] if n_coefficients else [])]


def _channels(form: str, classes: list[str]) -> list[str]:
    scores = [f"{OF_CLASS}{each}" for each in classes]
    if form == "objectness":
        return [*CENTRE, "objectness", *scores]
    if form == "turned":
        return [*CENTRE, *scores, "angle"]
    return [*CORNERS, "score", "class"] if form == "rows" else [*CENTRE, *scores]


def _axes(shape: tuple[int, ...] | None, n_channels: int, form: str) -> tuple[str, ...] | None:
    """The axes of an array (1, a, b), one of which has the channels; by habit the last one where both could."""
    if shape is None or len(shape) != 3:
        return None
    last = form in {"objectness", "rows"}
    order = [("batch", "box", "channel"), ("batch", "channel", "box")]
    for axes in order if last else order[::-1]:
        if shape[axes.index("channel")] == n_channels:
            return axes
    return None
