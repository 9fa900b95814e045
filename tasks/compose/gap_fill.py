"""Values for the gaps of a time series: none, the value of the nearest date, or an interpolated one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tilewright.tasks.read.resample.pixels import convert_unit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date


GAP_RULES = ("leave", "carry", "interpolate")


def fill_gaps(steps: np.ndarray, middles: Sequence[date], *, rule: str, unit: str = "1") -> np.ndarray:
    """The steps (time, band, y, x) float32 with NaN filled along time, each pixel and band alone.

    `middles` are the steps' dates or datetimes, in any order. "leave" changes nothing. "carry" takes the value of the
    nearest date, the earlier of two at the same distance. "interpolate" is linear between the dates before and after,
    and carries before the first and after the last. Decibels are interpolated as linear power. Existing values keep
    their bits; a pixel without any value stays NaN.

    Raises ValueError for an unknown rule.
    """
    if rule not in GAP_RULES:
        raise ValueError(f"gap rule {rule!r} is not known: give one of {', '.join(GAP_RULES)}")
    if rule == "leave" or steps.shape[0] < 2:
        return steps
    order = sorted(range(len(middles)), key=lambda index: middles[index])
    days = np.array([(middles[index] - middles[order[0]]).total_seconds() / 86400.0 for index in order])
    as_power = unit == "db" and rule == "interpolate"
    filled = np.empty_like(steps)
    # One band at a time: the arrays of indices are larger than the values.
    for band in range(steps.shape[1]):
        values = steps[order, band]
        known = convert_unit(values, source="db", target="linear") if as_power else values
        fills = _fill_band(known, days, carry=rule == "carry")
        fills = convert_unit(fills, source="linear", target="db") if as_power else fills
        filled[order, band] = np.where(np.isnan(values), fills, values)
    return filled


def _fill_band(values: np.ndarray, days: np.ndarray, *, carry: bool) -> np.ndarray:
    """One band (time, y, x), its days ascending, with a fill for every step, also for those that have a value."""
    earlier, later = _last_valid_index(values), _last_valid_index(values[::-1])[::-1]
    later = np.where(later >= 0, len(days) - 1 - later, -1)
    filled = np.empty_like(values)
    for number, day in enumerate(days):
        before, after = _dated_values(values, days, earlier[number]), _dated_values(values, days, later[number])
        filled[number] = _fill_step(before, after, day, carry=carry)
    return filled


DatedValues = tuple[np.ndarray, np.ndarray]
"""Values and their days, both (y, x); NaN if there is none."""


def _last_valid_index(values: np.ndarray) -> np.ndarray:
    """The index of the last step up to each step that has a value, (time, y, x) int32; -1 before the first."""
    numbers = np.arange(values.shape[0], dtype=np.int32).reshape(-1, 1, 1)
    index: np.ndarray = np.maximum.accumulate(np.where(np.isnan(values), np.int32(-1), numbers), axis=0)
    return index


def _dated_values(values: np.ndarray, days: np.ndarray, index: np.ndarray) -> DatedValues:
    known = index >= 0
    step = np.maximum(index, 0)
    taken = np.take_along_axis(values, step[None], axis=0)[0]
    return np.where(known, taken, np.float32(np.nan)), np.where(known, days[step], np.nan)


def _fill_step(before: DatedValues, after: DatedValues, day: float, *, carry: bool) -> np.ndarray:
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
