"""The boxes of YOLO's exports: what stands along the channels of an output, by its form and its shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tilewright.models.errors import CardError
from tilewright.models.imports.found import LAYOUT, ForeignModel, classes_of
from tilewright.models.spec.boxes import CENTRE, CORNERS, OF_CLASS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilewright.models.imports.signature import Signature

FORMS: Final = ("objectness", "classes", "turned", "rows")
"""Generations 5 to 7 with objectness, later ones without, oriented heads, and rows after a graph's own suppression."""

LAYER: Final = "boxes"


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
            f"{found.graph.name} has {len(signature.outputs)} outputs; a detector of {found.format} has one: masks and "
            "key points are not imported"
        )
    ((name, port),) = signature.outputs.items()
    classes = classes_of(names)
    channels = _channels(form, [str(each["name"]) for each in classes])
    axes = _axes(port.shape, len(channels), form)
    if axes is None:
        raise CardError(
            f"output {name!r} of {found.graph.name} has the shape {list(port.shape or ())}; {found.format} with "
            f"{len(classes)} classes gives {len(channels)} numbers for each box ({', '.join(channels[:8])}, ...)"
        )
    found.tell(name, LAYOUT, list(axes), "the shape of the output")
    found.tell(name, "tasks", ["object-detection"], where)
    found.tell(name, "classification:classes", classes, where)
    found.tell(name, "tw:activation", "none", "probabilities, as its exporter's graphs give them")
    found.tell(name, "tw:layers", [LAYER], "a table of boxes")
    found.tell(name, "tw:boxes", {"channels": channels, **rule}, where)


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
