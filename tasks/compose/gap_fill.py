"""What stands at a step where a pixel was not seen: nothing, the nearest date's value, or one between dates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tilewright.tasks.read.pixels import convert_unit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date


GAP_RULES = ("leave", "carry", "interpolate")


def fill_gaps(steps: np.ndarray, middles: Sequence[date], *, rule: str, unit: str = "1") -> np.ndarray:
    """Steps (time, band, y, x) float32 with their NaN filled along time, each pixel and band by itself.

    `middles` are the steps' dates or moments, in any order. "leave" changes nothing; "carry" takes the value of the
    nearest date, the earlier of two alike; "interpolate" draws a line between the dates around, and carries beyond the
    first and last. A pixel never seen stays NaN. Decibels are interpolated as linear power. What was seen keeps its
    bits. Raises ValueError for an unknown rule.
    """
    if rule not in GAP_RULES:
        raise ValueError(f"gap rule {rule!r} is not known: give one of {', '.join(GAP_RULES)}")
    if rule == "leave" or steps.shape[0] < 2:
        return steps
    order = sorted(range(len(middles)), key=lambda place: middles[place])
    days = np.array([(middles[place] - middles[order[0]]).total_seconds() / 86400.0 for place in order])
    as_power = unit == "db" and rule == "interpolate"
    filled = np.empty_like(steps)
    # A band at a time: the tables of indices are larger than the values.
    for band in range(steps.shape[1]):
        values = steps[order, band]
        working = convert_unit(values, source="db", target="linear") if as_power else values
        made = _fill_band(working, days, carry=rule == "carry")
        made = convert_unit(made, source="linear", target="db") if as_power else made
        filled[order, band] = np.where(np.isnan(values), made, values)
    return filled


def _fill_band(values: np.ndarray, days: np.ndarray, *, carry: bool) -> np.ndarray:
    """One band (time, y, x), its days ascending, with its gaps filled."""
    earlier, later = _nearest_seen(values), _nearest_seen(values[::-1])[::-1]
    later = np.where(later >= 0, len(days) - 1 - later, -1)
    filled = np.empty_like(values)
    for number, day in enumerate(days):
        before, after = _at(values, days, earlier[number]), _at(values, days, later[number])
        filled[number] = _between(before, after, day, carry=carry)
    return filled


Seen = tuple[np.ndarray, np.ndarray]
"""Values and their days, both (y, x); NaN where there is none."""


def _nearest_seen(values: np.ndarray) -> np.ndarray:
    """Index of the last step up to each step that has a value, (time, y, x); -1 before the first."""
    numbers = np.arange(values.shape[0], dtype=np.int32).reshape(-1, 1, 1)
    seen: np.ndarray = np.maximum.accumulate(np.where(np.isnan(values), np.int32(-1), numbers), axis=0)
    return seen


def _at(values: np.ndarray, days: np.ndarray, index: np.ndarray) -> Seen:
    known = index >= 0
    place = np.maximum(index, 0)
    taken = np.take_along_axis(values, place[None], axis=0)[0]
    return np.where(known, taken, np.float32(np.nan)), np.where(known, days[place], np.nan)


def _between(before: Seen, after: Seen, day: float, *, carry: bool) -> np.ndarray:
    (low, low_day), (high, high_day) = before, after
    to_low, to_high = day - low_day, high_day - day
    if carry:
        filled = np.where(to_low <= to_high, low, high)
    else:
        gap = to_low + to_high
        share = np.divide(to_low, gap, out=np.zeros_like(gap), where=gap > 0)
        filled = low + (high - low) * share.astype(np.float32)
    filled = np.where(np.isnan(low), high, np.where(np.isnan(high), low, filled))
    return filled.astype(np.float32)
