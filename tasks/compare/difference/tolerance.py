"""How far two products may lie apart and still be the same: shares of pixels and objects, absolute and relative."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Final

from tilewright.models.fields import did_you_mean
from tilewright.tasks.compare.lattice import CompareError, listed_names

if TYPE_CHECKING:
    from collections.abc import Collection

Given = float | str | Mapping[str, float] | Sequence[str | float] | None
"""A tolerance as it is given: one number for all, numbers by layer, or texts such as "0.001" and "height=0.05"."""

ALL: Final = ""
"""The name that stands for every layer and table without a number of its own."""

NAMED = re.compile(r"\s*(?:([A-Za-z0-9][A-Za-z0-9_.-]{0,127})\s*=)?\s*([^=\s]+)\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class SameLimits:
    """The tolerances of one layer or table.

    ``differ``: the share (0-1) of pixels or objects that may differ. A value differs where it is further from A's than
    ``atol`` + ``rtol`` times A's amount. ``iou``: the overlap from which two objects are one.
    """

    differ: float = 0.0
    atol: float = 0.0
    rtol: float = 0.0
    iou: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerances:
    """Tolerances by the name of a layer or table, each of its own kind; `ALL` stands for those that are not named."""

    differ: Mapping[str, float] = field(default_factory=dict)
    atol: Mapping[str, float] = field(default_factory=dict)
    rtol: Mapping[str, float] = field(default_factory=dict)
    iou: Mapping[str, float] = field(default_factory=dict)

    def of(self, name: str) -> SameLimits:
        """The tolerances of a layer or table."""
        told = {each.name: getattr(self, each.name) for each in fields(self)}
        found = {key: by_name.get(name, by_name.get(ALL)) for key, by_name in told.items()}
        return SameLimits(**{key: value for key, value in found.items() if value is not None})

    def check_names(self, classes: Collection[str], values: Collection[str], tables: Collection[str]) -> None:
        """Check that a tolerance is named after something that both products have, of a kind that has such a one.

        Raises CompareError.
        """
        both = [*classes, *values, *tables]
        takes = {"differ": both, "atol": [*values, *tables], "rtol": [*values, *tables], "iou": [*tables]}
        for key, known in takes.items():
            for name in getattr(self, key):
                if name == ALL or name in known:
                    continue
                if name in both:
                    kind = "a layer of classes" if name in classes else "a layer of values"
                    others = ", ".join(f"--{other}" for other, takers in takes.items() if name in takers)
                    raise CompareError(f"--{key} {name}: {name} is {kind}, which has no {key}: give {others} for it.")
                raise CompareError(
                    f"--{key} {name}: A and B have no {name} in common{did_you_mean(name, both)}: they have "
                    f"{listed_names(both)}."
                )


def read_tolerances(*, differ: Given = None, atol: Given = None, rtol: Given = None, iou: Given = None) -> Tolerances:
    """Tolerances as they are given; those that are not are 0, and an ``iou`` of 1. Raises CompareError."""
    return Tolerances(
        differ=_numbers("differ", differ, most=1.0),
        atol=_numbers("atol", atol),
        rtol=_numbers("rtol", rtol),
        iou=_numbers("iou", iou, most=1.0),
    )


def any_given(*given: Given) -> bool:
    """Whether any of the tolerances is given."""
    return any(each is not None and (isinstance(each, (int, float)) or len(each) > 0) for each in given)


def _numbers(key: str, given: Given, *, most: float = math.inf) -> dict[str, float]:
    if given is None:
        return {}
    if isinstance(given, Mapping):
        pairs: list[tuple[str, object]] = [(str(name), value) for name, value in given.items()]
    else:
        words = [given] if isinstance(given, (str, int, float)) else list(given)
        pairs = [_named(key, word) for word in words]
    found: dict[str, float] = {}
    for name, value in pairs:
        if name in found:
            raise CompareError(f"--{key} is given twice for {name or 'all'}: give it once.")
        found[name] = _number(key, value, most=most)
    return found


def _named(key: str, word: object) -> tuple[str, object]:
    if not isinstance(word, str):
        return ALL, word
    match = NAMED.fullmatch(word)
    if match is None:
        raise CompareError(f"--{key} {word[:60]!r}: expected a number, or LAYER=NUMBER.")
    return match[1] or ALL, match[2]


def _number(key: str, value: object, *, most: float) -> float:
    least = "above 0" if key == "iou" else "from 0 on"
    wanted = f"a number {least}" if most == math.inf else f"a share {least} and at most 1, such as 0.001"
    try:
        found = float(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        found = math.nan
    if not (math.isfinite(found) and 0 <= found <= most) or (key == "iou" and found == 0):
        raise CompareError(f"--{key} {str(value)[:60]}: expected {wanted}.")
    return found
