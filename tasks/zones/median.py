"""The weighted median of more cells than fit in memory, found in a few passes over them; the one exactextract gives.

With n distinct values in their order, w_k the weight of all cells of the k-th and W that of all, and
S_k = k w_k + (n - 1) (w_0 + ... + w_(k-1)), it is where a line through the points (S_k, value_k) passes
S = (n - 1) W / 2. The median of a layer of integers is cut to an integer.

Source: exactextract, src/weighted_quantiles.cpp and src/raster_stats.h, after
https://stats.stackexchange.com/q/13169.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

LOW = 16
"""Bits of a value by which it is told from others that begin alike."""

DIGITS = 1 << LOW

BEGINNINGS_AT_ONCE = 1024
"""Beginnings of values, each with a table of its ends of 64 KiB, that are looked at in one pass."""

Passes = Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]]
"""The cells, anew with each call: values and weights, some at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Weights:
    """The middle of the distinct values: ascending ``keys`` with their ``weights``; ``n_before`` values and the weight
    ``before`` come before the first; ``n`` values and the weight ``total`` are all there are.
    """

    keys: np.ndarray
    weights: np.ndarray
    n_before: int
    before: float
    n: int
    total: float


def weighted_median(cells: Passes, dtype: np.dtype) -> float | None:
    """The median of all cells, whose values are of one type; None if there are none."""
    known = _all_values(cells, dtype) if dtype.itemsize == 8 else _middle_values(cells, dtype)
    if known is None:
        return None
    places = known.n_before + np.arange(len(known.keys))
    below = known.before + np.concatenate([[0.0], np.cumsum(known.weights)[:-1]])
    points = places * known.weights + (known.n - 1) * below
    half = (known.n - 1) * known.total / 2
    right = int(np.searchsorted(points, half, side="right"))
    left = max(right - 1, 0)
    value = _value(int(known.keys[left]), dtype)
    if 0 < right < len(points):
        step = _value(int(known.keys[right]), dtype) - value
        value += step * float((half - points[left]) / (points[right] - points[left]))
    return float(math.trunc(value)) if dtype.kind in "iu" else value


def _middle_values(cells: Passes, dtype: np.dtype) -> _Weights | None:
    """The distinct values around the middle of values of at most 32 bits."""
    shift = np.uint64(max(8 * dtype.itemsize - LOW, 0))
    sums = np.zeros(DIGITS)
    there = np.zeros(DIGITS, dtype=bool)
    for values, weights in cells():
        begins = (_keys(values, dtype) >> shift).astype(np.int64)
        sums += np.bincount(begins, weights=weights, minlength=DIGITS)
        there[begins] = True
    begins = np.flatnonzero(there)
    if not len(begins):
        return None
    ends, total = np.cumsum(sums[begins]), float(sums.sum())
    if not shift:
        return _Weights(keys=begins, weights=sums[begins], n_before=0, before=0.0, n=len(begins), total=total)
    middle = min(int(np.searchsorted(ends, total / 2, side="right")), len(begins) - 1)
    first, last = max(middle - 1, 0), min(middle + 2, len(begins))
    near = {int(begins[number]): np.zeros(DIGITS) for number in range(first, last)}
    n_distinct = np.zeros(len(begins), dtype=np.int64)
    keys: list[np.ndarray] = []
    for start in range(0, len(begins), BEGINNINGS_AT_ONCE):
        stop = min(start + BEGINNINGS_AT_ONCE, len(begins))
        seen = _ends_seen(cells, dtype, begins[start:stop], near if start == 0 else {})
        n_distinct[start:stop] = np.count_nonzero(seen, axis=1)
        found = range(max(first, start), min(last, stop))
        keys += [(int(begins[at]) << LOW) + np.flatnonzero(seen[at - start]) for at in found]
    tables = [near[int(begins[number])] for number in range(first, last)]
    whole = np.concatenate(keys)
    return _Weights(
        keys=whole,
        weights=np.concatenate([table[each & (DIGITS - 1)] for table, each in zip(tables, keys, strict=True)]),
        n_before=int(n_distinct[:first].sum()),
        before=float(ends[first - 1]) if first else 0.0,
        n=int(n_distinct.sum()),
        total=total,
    )


def _ends_seen(cells: Passes, dtype: np.dtype, begins: np.ndarray, near: dict[int, np.ndarray]) -> np.ndarray:
    """(beginning, end) True for each value that occurs and begins so; ``near`` gains the weights of its values."""
    seen = np.zeros((len(begins), DIGITS), dtype=bool)
    row_of = np.full(DIGITS, -1)
    row_of[begins] = np.arange(len(begins))
    for values, weights in cells():
        keys = _keys(values, dtype)
        high, low = (keys >> np.uint64(LOW)).astype(np.int64), (keys & np.uint64(DIGITS - 1)).astype(np.int64)
        rows = row_of[high]
        seen[rows[rows >= 0], low[rows >= 0]] = True
        for begin, table in list(near.items()):
            chosen = high == begin
            near[begin] = table + np.bincount(low[chosen], weights=weights[chosen], minlength=DIGITS)
    return seen


def _all_values(cells: Passes, dtype: np.dtype) -> _Weights | None:
    """All distinct values, for the types of which no layer of ours is."""
    keys, sums = np.array([], dtype=np.uint64), np.array([])
    for values, weights in cells():
        keys, places = np.unique(np.concatenate([keys, _keys(values, dtype)]), return_inverse=True)
        sums = np.bincount(places, weights=np.concatenate([sums, weights]))
    if not len(keys):
        return None
    return _Weights(keys=keys, weights=sums, n_before=0, before=0.0, n=len(keys), total=float(sums.sum()))


def _keys(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Whole numbers, uint64, in the order of values of a type."""
    values = np.ascontiguousarray(values).astype(dtype)
    bits = 8 * dtype.itemsize
    if dtype.kind == "u":
        return values.astype(np.uint64)
    sign = np.uint64(1 << (bits - 1))
    if dtype.kind == "i":
        return values.view(f"u{dtype.itemsize}").astype(np.uint64) ^ sign
    # -0.0 and 0.0 are one value with two patterns.
    raw = (values + dtype.type(0)).view(f"u{dtype.itemsize}").astype(np.uint64)
    return np.where(raw & sign, ~raw & np.uint64((1 << bits) - 1), raw | sign)


def _value(key: int, dtype: np.dtype) -> float:
    """The value of a key."""
    bits = 8 * dtype.itemsize
    sign = 1 << (bits - 1)
    if dtype.kind == "u":
        return float(key)
    if dtype.kind == "i":
        return float(key - sign)
    raw = key ^ sign if key & sign else ~key & ((1 << bits) - 1)
    return float(np.array([raw], dtype=np.uint64).astype(f"u{dtype.itemsize}").view(dtype)[0])
