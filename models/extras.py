"""Inputs of a graph that are not pixels of a collection: dates, places, masks, wavelengths, constants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

ExtraKind = Literal["day_of_year", "valid_mask", "lonlat", "wavelengths", "constant"]

PARTS: Final[dict[str, tuple[str, ...]]] = {
    "day_of_year": ("day_of_year", "year", "month", "days_since_first"),
    "lonlat": ("lon", "lat"),
}
"""What the last axis of an extra input may hold, by kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraInput:
    """One input of the graph that is computed, not read.

    `of` names the input whose steps, mask or bands it speaks of; `parts` what its feature axis holds;
    `values` the constants or wavelengths (micrometres); `shift` and `gain` bring a value v to `(v - shift) * gain`.
    """

    name: str
    kind: ExtraKind
    of: str
    parts: tuple[str, ...]
    values: tuple[float, ...]
    shape: tuple[int, ...]
    dim_order: tuple[str, ...]
    data_type: str
    shift: float = 0.0
    gain: float = 1.0
