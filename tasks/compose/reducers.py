"""Reductions of one band over time: numpy kernels whose bits do not depend on how the area is cut."""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from tilewright.models.spec.inputs import REDUCERS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


NETWORK_LIMIT = 32
"""The number of dates up to which a sorting network is faster than numpy's sort of each pixel."""

SLAB_VALUES = 1 << 19
"""Values (dates x pixels) of a slab: 2 MB of float32, so that all passes over it stay in the CPU cache."""

AVERAGING_REDUCERS = frozenset({"median", "mean", "percentile"})
"""Reducers that average values, for which backscatter must be linear power."""

SELECTING_REDUCERS = frozenset({"medoid", "best-pixel"})
"""Reducers that select one date per pixel from all of its bands."""

ORDERED_REDUCERS = frozenset({"first", "last", "least-cloudy"})
"""Reducers that take the first value in an order of scenes."""

DATE_SCORING_REDUCERS = frozenset({"best-pixel"})
"""Reducers that score a date by its distance from the middle of its step."""

CLOUD_DISTANCE_M = 1500.0
"""Metres from the nearest unusable pixel at which the score of the distance reaches its maximum.

Source: White et al., Pixel-based image compositing for large-area dense time series applications (2014), table 2:
50 pixels of 30 m.
"""


def first_valid(values: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """The first value along time in `order` (indices), (time, y, x) -> (y, x), NaN if there is none."""
    chosen = np.full(values.shape[1:], np.nan, dtype=values.dtype)
    for index in order:
        np.copyto(chosen, values[index], where=np.isnan(chosen))
    return chosen


def least_ranked(values: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """The value of the least rank along time, (time, y, x) both -> (y, x), NaN if there is none; ranks are unlike."""
    chosen = np.full(values.shape[1:], np.nan, dtype=values.dtype)
    least = np.full(values.shape[1:], np.iinfo(ranks.dtype).max, dtype=ranks.dtype)
    for value, rank in zip(values, ranks, strict=True):
        better = (rank < least) & ~np.isnan(value)
        np.copyto(chosen, value, where=better)
        np.copyto(least, rank, where=better)
    return chosen


def mean(values: np.ndarray) -> np.ndarray:
    """The mean of the values along time, summed in float64 in the order of time, NaN if there is none."""
    total = np.zeros(values.shape[1:], dtype=np.float64)
    count = np.zeros(values.shape[1:], dtype=np.int32)
    for day in values:
        valid = ~np.isnan(day)
        np.add(total, day, out=total, where=valid)
        count += valid
    average = np.full(total.shape, np.nan)
    np.divide(total, count, out=average, where=count > 0)
    return average.astype(values.dtype)


def minimum(values: np.ndarray) -> np.ndarray:
    """The least value along time, NaN if there is none."""
    least: np.ndarray = np.fmin.reduce(values, axis=0)
    return least


def maximum(values: np.ndarray) -> np.ndarray:
    """The greatest value along time, NaN if there is none."""
    greatest: np.ndarray = np.fmax.reduce(values, axis=0)
    return greatest


def median(values: np.ndarray) -> np.ndarray:
    """The median of the values along time, the mean of the middle two if their number is even, NaN if there is none."""
    if values.shape[0] > NETWORK_LIMIT:
        return percentile(values, 50.0)
    return _by_slabs(values, _median_slab)


def _by_slabs(values: np.ndarray, reduce: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """A reduction by slabs of rows; columns outside of all scenes are reduced apart, as missing values are slower."""
    out = np.empty(values.shape[1:], dtype=values.dtype)
    rows = max(1, SLAB_VALUES // max(values.shape[0] * values.shape[2], 1))
    for start in range(0, values.shape[1], rows):
        for cols in _column_parts(values[:, start : start + rows]):
            part = slice(start, start + rows), cols
            out[part] = reduce(values[(slice(None), *part)])
    return out


def _column_parts(slab: np.ndarray) -> list[slice]:
    """The column ranges before, between and after the first and last column with a value in the slab's middle row."""
    found = np.flatnonzero(~np.isnan(slab[:, slab.shape[1] // 2]).all(axis=0))
    edges = [0, int(found[0]), int(found[-1]) + 1, slab.shape[2]] if found.size else [0, slab.shape[2]]
    return [slice(first, last) for first, last in itertools.pairwise(edges) if first < last]


def _median_slab(values: np.ndarray) -> np.ndarray:
    """The median by a sorting network pruned to the middle.

    Missing values become +inf and -inf in turn, so that the middle of the valid values stays in the middle of all
    values. Only whether the median is one value or the mean of two depends on the pixel.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        all_finite = np.isfinite(np.add.reduce(values, axis=None))
    if all_finite:
        return _median_of_finite(values)
    n_dates = values.shape[0]
    rows, odd = _balanced(values)
    low = max((n_dates - 2) // 2 if n_dates % 2 == 0 else (n_dates - 3) // 2, 0)
    high = min(low + 1, n_dates - 1)
    _exchange(rows, middle_network(n_dates, low, high))
    with np.errstate(invalid="ignore"):
        both = (rows[low] + rows[high]) / 2
    single = rows[low] if n_dates % 2 == 0 else rows[high]
    middle = _select(odd == (n_dates % 2 == 0), single, both)
    middle[np.isinf(middle)] = np.nan
    return middle


def _median_of_finite(values: np.ndarray) -> np.ndarray:
    """The median of values that are all finite: the same bits as the general case, in fewer passes."""
    n_dates = values.shape[0]
    low, high = (n_dates - 1) // 2, n_dates // 2
    rows = list(values.copy())
    _exchange(rows, middle_network(n_dates, low, high))
    return rows[high] if low == high else (rows[low] + rows[high]) / 2


def _exchange(rows: list[np.ndarray], pairs: Sequence[tuple[int, int]]) -> None:
    """Order each pair of rows, pixel by pixel, in place."""
    spare = np.empty_like(rows[0])
    for first, second in pairs:
        np.minimum(rows[first], rows[second], out=spare)
        np.maximum(rows[first], rows[second], out=rows[second])
        rows[first], spare = spare, rows[first]


def _balanced(values: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """The dates with +inf and -inf in turn for missing values, and the mask of pixels with an odd number of those."""
    odd = np.zeros(values.shape[1:], dtype=bool)
    rows = []
    for day in values:
        odd ^= np.isnan(day)
        with np.errstate(invalid="ignore"):
            # fmin and fmax return the other value if one is NaN, without the branches of np.where.
            upper = odd.astype(values.dtype) * values.dtype.type(np.inf)
        rows.append(np.fmax(np.fmin(day, upper), values.dtype.type(-np.inf)))
    return rows, odd


def _select(condition: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """`one` where the condition holds, else `other`; branch-free, as np.where is slow on irregular cloud masks."""
    kind = f"u{one.dtype.itemsize}"
    mask = np.negative(condition.astype(kind))
    bits = ((one.view(kind) ^ other.view(kind)) & mask) ^ other.view(kind)
    chosen: np.ndarray = bits.view(one.dtype)
    return chosen


def percentile(values: np.ndarray, percent: float) -> np.ndarray:
    """The percentile of the values along time, interpolated linearly, NaN if there is none.

    Source: R. Hyndman and Y. Fan, Sample Quantiles in Statistical Packages (1996), definition 7, as numpy's default.
    """
    return _by_slabs(values, lambda slab: _percentile_slab(slab, percent))


def _percentile_slab(values: np.ndarray, percent: float) -> np.ndarray:
    ordered, count = sort_valid(values)
    position = (count - 1) * (percent / 100.0)
    low = np.floor(position).astype(np.intp)
    share = (position - low).astype(values.dtype)
    low = np.maximum(low, 0)
    high = np.minimum(low + 1, np.maximum(count - 1, 0))
    below, above = _take(ordered, low), _take(ordered, high)
    with np.errstate(invalid="ignore"):
        between: np.ndarray = (below + above) / 2 if percent == 50.0 else below + (above - below) * share
    between = np.where(share == 0, below, between)
    return np.where(count == 0, values.dtype.type(np.nan), between)


def sort_valid(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values ascending along time, +inf for missing ones, and the number of values: (time, y, x) and (y, x)."""
    count = (~np.isnan(values)).sum(axis=0, dtype=np.intp)
    ordered = np.fmin(values, values.dtype.type(np.inf))
    if values.shape[0] > NETWORK_LIMIT:
        return np.moveaxis(np.sort(np.ascontiguousarray(np.moveaxis(ordered, 0, -1)), axis=-1), -1, 0), count
    spare = np.empty(ordered.shape[1:], dtype=ordered.dtype)
    for low, high in sorting_network(values.shape[0]):
        np.minimum(ordered[low], ordered[high], out=spare)
        np.maximum(ordered[low], ordered[high], out=ordered[high])
        ordered[low] = spare
    return ordered, count


def _take(ordered: np.ndarray, index: np.ndarray) -> np.ndarray:
    return np.take_along_axis(ordered, index[None], axis=0)[0]


@lru_cache(maxsize=NETWORK_LIMIT)
def sorting_network(size: int) -> tuple[tuple[int, int], ...]:
    """The pairs (low, high) that sort `size` values when they are compared and exchanged in this order.

    Source: K. Batcher, Sorting networks and their applications (1968), odd-even merge; for sizes between powers of two
    the pairs beyond the end are left out.
    """
    pairs = []
    span = 1
    while span < size:
        step = span
        while step >= 1:
            pairs += _merge_stage(size, span, step)
            step //= 2
        span *= 2
    return tuple(pairs)


@lru_cache(maxsize=NETWORK_LIMIT)
def middle_network(size: int, low: int, high: int) -> tuple[tuple[int, int], ...]:
    """The pairs of `sorting_network` that decide the values at positions `low` and `high`."""
    needed, kept = {low, high}, []
    for pair in reversed(sorting_network(size)):
        if needed & set(pair):
            needed |= set(pair)
            kept.append(pair)
    return tuple(reversed(kept))


def _merge_stage(size: int, span: int, step: int) -> list[tuple[int, int]]:
    return [
        (low, low + step)
        for start in range(step % span, size - step, 2 * step)
        for low in range(start, min(start + step, size - step))
        if low // (2 * span) == (low + step) // (2 * span)
    ]


def parse_reducer(reducer: str) -> tuple[str, float]:
    """(kind, percent) of a reducer's name; percent is 50 if it has none. Raises ValueError for an unknown one."""
    kind, separator, number = reducer.partition(":")
    if not separator and kind in REDUCERS:
        return kind, 50.0
    try:
        percent = float(number)
    except ValueError:
        percent = math.nan
    if kind == "percentile" and 0 <= percent <= 100:
        return kind, percent
    raise ValueError(f"reducer {reducer!r} is not known: give one of {', '.join(REDUCERS)} or percentile:p, p 0 to 100")


def reducer_radius_px(reducer: str, resolution: float) -> int:
    """The pixels around a pixel that its composite depends on, which the halo of a block must include."""
    return math.ceil(CLOUD_DISTANCE_M / resolution) if reducer == "best-pixel" else 0
