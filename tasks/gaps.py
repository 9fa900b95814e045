"""What stands at a step where a pixel was not seen: nothing, the nearest date's value, or one between dates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

GAP_RULES = ("leave", "carry", "interpolate")


def fill_gaps(steps: np.ndarray, middles: Sequence[datetime], *, rule: str) -> np.ndarray:
    """Steps (time, band, y, x) float32 with their NaN filled along time, each pixel and band by itself.

    `middles` are the steps' dates, ascending. "leave" changes nothing; "carry" takes the value of the nearest date, the
    earlier of two alike; "interpolate" draws a line between the dates around, and carries beyond the first and last.
    A pixel never seen stays NaN. Raises ValueError for an unknown rule.
    """
    if rule not in GAP_RULES:
        raise ValueError(f"gap rule {rule!r} is not known: give one of {', '.join(GAP_RULES)}")
    if rule == "leave" or steps.shape[0] < 2:
        return steps
    days = np.array([(middle - middles[0]).total_seconds() / 86400.0 for middle in middles])
    earlier, later = _nearest_seen(steps), _nearest_seen(steps[::-1])[::-1]
    later = np.where(later >= 0, steps.shape[0] - 1 - later, -1)
    filled = steps.copy()
    for number, day in enumerate(days):
        before, after = _at(steps, days, earlier[number]), _at(steps, days, later[number])
        filled[number] = _between(before, after, day, carry=rule == "carry")
    return filled


Seen = tuple[np.ndarray, np.ndarray]
"""Values and their days, both (band, y, x); NaN where there is none."""


def _nearest_seen(steps: np.ndarray) -> np.ndarray:
    """Index of the last step up to each step that has a value, (time, band, y, x); -1 before the first."""
    numbers = np.arange(steps.shape[0]).reshape(-1, 1, 1, 1)
    seen: np.ndarray = np.maximum.accumulate(np.where(np.isnan(steps), -1, numbers), axis=0)
    return seen


def _at(steps: np.ndarray, days: np.ndarray, index: np.ndarray) -> Seen:
    known = index >= 0
    place = np.maximum(index, 0)
    values = np.take_along_axis(steps, place[None], axis=0)[0]
    return np.where(known, values, np.float32(np.nan)), np.where(known, days[place], np.nan)


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
