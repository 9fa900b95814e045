"""Objects that a model tells apart: by the boundaries between them, or by a mask each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tilewright.models.fields import did_you_mean
from tilewright.models.spec.outputs import CLASS_LAYERS, BoundarySpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.models.fields import CardField
    from tilewright.models.spec.outputs import ClassSpec

LEAST_PROBABILITY: Final = 0.5
"""Where a card says no other for what is inside an object."""

WAYS: Final = ("boundary", "masks")
"""How objects are told apart."""

TABLES: Final = ("items", "places", "zones", "changes")
"""Names of tables that products have or may get beside those of a model."""


def from_masks(field: CardField) -> bool:
    """Whether an output tells of objects with a mask each. Raises CardError for objects told in no known way."""
    if not field.has("tw:instances"):
        return False
    told = field.child("tw:instances")
    return told.choice("from", WAYS) == "masks"


def read_boundary(field: CardField, classes: Sequence[ClassSpec]) -> BoundarySpec:
    """The objects that the classes of an output tell apart. Raises CardError naming the field."""
    told = field.child("tw:instances")
    told.only(("from", "interior", "boundary", "least_probability"))
    if not classes:
        raise field.refuse("classification:classes", "list the classes of which tw:instances names two")
    known = [each.name for each in classes]
    for key in ("interior", "boundary"):
        if (word := told.text(key)) not in known:
            hint = did_you_mean(word, known)
            raise told.refuse(key, f"it is no class{hint}; there are {', '.join(each[:40] for each in known[:20])}")
    if told.text("interior") == told.text("boundary"):
        raise told.refuse("boundary", "write the class between objects, another one than the interior")
    return BoundarySpec(
        name=object_layer_name(field),
        interior=told.text("interior"),
        boundary=told.text("boundary"),
        least_probability=least_probability(told),
    )


def least_probability(told: CardField) -> float:
    """The probability from which a pixel is inside an object. Raises CardError naming the field."""
    least = told.number("least_probability", LEAST_PROBABILITY)
    if not 0 < least <= 1:
        raise told.refuse("least_probability", "write a probability above 0, and at most 1")
    return least


def object_layer_name(field: CardField) -> str:
    """The name of the layer of objects in the `tw:layers` of an output. Raises CardError naming the field."""
    names = [layer for layer in field.texts("tw:layers") if layer not in CLASS_LAYERS]
    if len(names) != 1:
        raise field.refuse("tw:layers", "write one name for the layer of objects, e.g. ['fields'], beside class layers")
    if names[0] in TABLES or names[0].endswith("_polygons"):
        raise field.refuse("tw:layers", f"the table of objects cannot be called {names[0]}: other tables are")
    return names[0]
