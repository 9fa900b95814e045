"""What a card says of a band's values as the model was trained on them: mean and deviation, or their range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.models.fields import CardField
    from tilewright.models.spec.scaling import Scaling


KEY: Final = "tw:statistics"

FIELDS: Final = ("mean", "stddev", "minimum", "maximum", "count", "valid_percent")
"""The fields of a band's statistics; the last two are read by nobody.

Source: STAC 1.1, common metadata, Statistics Object.
"""

PER_DEVIATION, PER_RANGE = 2**10, 2**12
"""Units of counting (``BandStatistics.quantum``) to a deviation, and to a range."""


LEAST, MOST = 1e-100, 1e100
"""The sizes of the quanta and of the origin; no unit has values beyond."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BandStatistics:
    """The values of a band before scaling, in the input's unit: mean and deviation, least and greatest value, or both.

    ``stated`` is False where ``value_scaling`` implies them.
    """

    mean: float | None = None
    stddev: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    stated: bool = True

    @property
    def origin(self) -> float:
        """The value from which values are counted in quanta."""
        found = self.mean if self.mean is not None else self.minimum
        assert found is not None, "statistics have a mean or a range"
        return found

    @property
    def quantum(self) -> float:
        """The unit in which values are counted: a small part of the deviation, or of the range."""
        if self.stddev is not None:
            return self.stddev / PER_DEVIATION
        assert self.maximum is not None, "statistics have a deviation or a range"
        return (self.maximum - self.origin) / PER_RANGE

    @property
    def countable(self) -> bool:
        """Whether sums of values in quanta stay far from the ends of a float."""
        return LEAST <= self.quantum <= MOST and abs(self.origin) <= MOST


def read_statistics(
    field: CardField, bands: Sequence[str], scalings: Sequence[Scaling]
) -> tuple[BandStatistics | None, ...]:
    """The statistics of each band of an input: those that its card states, else those that its scaling implies.

    None for a band of which neither tells. One scaling for all bands is a way to scale, and implies nothing of any.
    Raises CardError naming the field.
    """
    if not field.has(KEY):
        implied = len(field.content.get("value_scaling") or ()) == len(bands)
        return tuple(_implied(scaling) if implied else None for scaling in scalings)
    entries = field.children(KEY)
    if len(entries) != len(bands):
        raise field.refuse(KEY, f"write one object for each of the {len(bands)} bands, in their order")
    return tuple(_stated(entry) for entry in entries)


def _stated(field: CardField) -> BandStatistics | None:
    field.only(FIELDS)
    for first, second in (("mean", "stddev"), ("minimum", "maximum")):
        if field.has(first) != field.has(second):
            raise field.refuse(second if field.has(first) else first, f"write {first} and {second} together")
    if not field.has("mean") and not field.has("minimum"):
        return None
    found = BandStatistics(
        mean=field.number("mean") if field.has("mean") else None,
        stddev=field.number("stddev", positive=True) if field.has("mean") else None,
        minimum=field.number("minimum") if field.has("minimum") else None,
        maximum=field.number("maximum") if field.has("minimum") else None,
    )
    if found.minimum is not None and found.maximum is not None:
        if not found.minimum < found.maximum:
            raise field.refuse("maximum", f"write a number greater than minimum ({found.minimum:g})")
        if found.mean is not None and not found.minimum <= found.mean <= found.maximum:
            raise field.refuse("mean", f"write a number from minimum to maximum ({found.minimum:g}-{found.maximum:g})")
    if not found.countable:
        key = "stddev" if found.mean is not None else "maximum"
        raise field.refuse(key, "write numbers of a size that values have, between 1e-90 and 1e90")
    return found


def _implied(scaling: Scaling) -> BandStatistics | None:
    """Those of a z-score or a range; its gain is 1 / deviation, of which the last digits are rounding."""
    if scaling.kind not in {"z-score", "min-max"}:
        return None
    width = float(f"{1 / scaling.gain:.12g}")
    if scaling.kind == "z-score":
        found = BandStatistics(mean=scaling.shift, stddev=width, stated=False)
    else:
        maximum = float(f"{scaling.shift + width:.12g}")
        found = BandStatistics(minimum=scaling.shift, maximum=maximum, stated=False)
    return found if found.countable else None
