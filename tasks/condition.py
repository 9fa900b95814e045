"""A sentence over bands that is true or false per pixel: `blue > 0.25`, `(green - nir) / (green + nir) >= 0.4`."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.expression import Expression, parse_expression

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np

_COMPARISON = re.compile(r"<=|>=|<|>")
_TRUE: dict[str, Callable[[Any, Any], Any]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Two sides compared: their difference, and how it must lie to 0."""

    text: str
    difference: Expression
    comparison: str

    def __call__(self, bands: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """(true, unknown) per pixel, bool, in the shape of the bands; unknown where the arithmetic has no answer."""
        value = self.difference(bands)
        unknown: np.ndarray = value != value  # noqa: PLR0124 - NaN alone differs from itself
        return _TRUE[self.comparison](value, 0), unknown


def parse_condition(text: str, *, field: str) -> Condition:
    """The condition in `text`: arithmetic over bands, one of < <= > >=, arithmetic again.

    Raises ValueError naming `field` for anything else.
    """
    found = _COMPARISON.findall(text)
    left, right = [*_COMPARISON.split(text), ""][:2]
    if len(found) != 1 or not left.strip() or not right.strip():
        raise ValueError(f"{field} is {text!r}: compare two sides once with <, <=, > or >=, e.g. 'blue > 0.25'")
    # Each side by itself first: a bracket that closes on the other side is no arithmetic.
    for side in (left, right):
        parse_expression(f"({side}) + band", field=field)
    return Condition(text=text, difference=parse_expression(f"({left}) - ({right})", field=field), comparison=found[0])
