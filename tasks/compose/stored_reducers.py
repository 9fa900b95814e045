"""Reductions of one band's stored numbers over time to physical values: the bits of `reducers`, with half the memory.

Numbers are (pass, y, x) uint16 with the largest one, 65535, for a missing one, so that it is last in order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from tilewright.tasks.compose.reducers import NETWORK_LIMIT, middle_network, parse_reducer, sorting_network
from tilewright.tasks.read.resample.pixels import MISSING, put_where

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.tasks.read.resample.pixels import Conversion


SLAB_NUMBERS: Final = 1 << 18
"""Numbers (passes x pixels) of a slab: 0.5 MB, so that all exchanges over it stay in the CPU cache."""

KINDS: Final = frozenset({"median", "min", "max"})


def takes_numbers(reducer: str, n_passes: int) -> bool:
    """True for a reducer whose result is decided by the order of numbers alone."""
    return parse_reducer(reducer)[0] in KINDS and n_passes <= NETWORK_LIMIT


def count_numbers(numbers: np.ndarray) -> np.ndarray:
    """The passes that have a number, (pass, y, x) -> (y, x) uint16."""
    total = np.zeros(numbers.shape[1:], dtype=np.uint16)
    for each in numbers:
        total += each != MISSING
    return total


def reduce_numbers(
    numbers: np.ndarray, counts: np.ndarray, reducer: str, conversion: Conversion, *, out: np.ndarray
) -> None:
    """Write the composite of numbers, of which each pixel has `counts` (y, x), to `out` (y, x) float32, NaN for none.

    `conversion` gives the physical value of each number, all of which fit. Numbers are put in order where they are.
    """
    kind, _ = parse_reducer(reducer)
    rows = max(1, SLAB_NUMBERS // max(len(numbers) * numbers.shape[2], 1))
    for start in range(0, numbers.shape[1], rows):
        part = slice(start, start + rows)
        _reduce_slab(numbers[:, part], counts[part], kind, conversion, out[part])


def _reduce_slab(numbers: np.ndarray, counts: np.ndarray, kind: str, conversion: Conversion, out: np.ndarray) -> None:
    n_passes, fewest = len(numbers), int(counts.min())
    if kind == "min":
        conversion.write(np.minimum.reduce(numbers), out)
    else:
        places = {number: _places(kind, number) for number in range(max(fewest, 1), n_passes + 1)}
        ranked = list(numbers)
        _put_in_order(ranked, sorted({place for pair in places.values() for place in pair}))
        conversion.write(_chosen(ranked, counts, {number: lower for number, (lower, _) in places.items()}), out)
        if kind == "median":
            other = np.empty_like(out)
            conversion.write(_chosen(ranked, counts, {number: upper for number, (_, upper) in places.items()}), other)
            out += other
            out *= np.float32(0.5)
    if fewest == 0:
        np.copyto(out, np.float32(np.nan), where=counts == 0)


def _chosen(ranked: list[np.ndarray], counts: np.ndarray, places: dict[int, int]) -> np.ndarray:
    """The number of each pixel (y, x) at the place that belongs to its count; places grow with the count."""
    most = max(places)
    chosen = ranked[places[most]].copy()
    for number in sorted(places, reverse=True)[1:]:
        if places[number] != places[number + 1]:
            put_where(chosen, ranked[places[number]], counts <= number)
    return chosen


def _places(kind: str, count: int) -> tuple[int, int]:
    """The places in the order of so many numbers of those that decide."""
    return (count - 1, count - 1) if kind == "max" else ((count - 1) // 2, count // 2)


def _put_in_order(ranked: list[np.ndarray], places: Sequence[int]) -> None:
    """Exchange numbers, pixel by pixel, until those at these places are there in order."""
    n_passes = len(ranked)
    few = len(places) <= 2 and places[-1] - places[0] <= 1
    pairs = middle_network(n_passes, places[0], places[-1]) if few else sorting_network(n_passes)
    spare = np.empty_like(ranked[0])
    for first, second in pairs:
        np.minimum(ranked[first], ranked[second], out=spare)
        np.maximum(ranked[first], ranked[second], out=ranked[second])
        ranked[first], spare = spare, ranked[first]
