"""Exact sums of the values of a band: the same whatever the blocks, their order and the machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from tilewright.models.spec.statistics import BandStatistics

PIECE = 2**16
"""Values that are counted at a time: in the processor's cache, and few enough for whole numbers in float64."""

MOST_QUANTA = 2.0**36
"""Quanta from the origin at most; a value beyond, millions of deviations away, counts as that far."""

HALF = 2.0**18

WHOLE = 2.0**53
"""Below it float64 holds every whole number."""

InputSums = dict[str, list[list[int]]]
"""The sums of a ledger entry, by input: of each band those of ``BandSums``, an empty list without statistics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BandSums:
    """``count`` values of a band, the sum of their quanta from the origin and of their squares, and the numbers of
    those ``below`` and ``above`` the range that the card states.

    Each value is rounded to a whole number of quanta (``BandStatistics.quantum``), so that all sums are exact.
    """

    count: int = 0
    total: int = 0
    squares: int = 0
    below: int = 0
    above: int = 0

    def __add__(self, other: BandSums) -> BandSums:
        return BandSums.from_json([a + b for a, b in zip(self.to_json(), other.to_json(), strict=True)])

    def to_json(self) -> list[int]:
        """The sums as a list."""
        return [self.count, self.total, self.squares, self.below, self.above]

    @classmethod
    def from_json(cls, plain: Sequence[int]) -> BandSums:
        """The sums that ``to_json`` wrote."""
        count, total, squares, below, above = plain
        return cls(count=count, total=total, squares=squares, below=below, above=above)


def sums_of(values: NDArray[np.float32], statistics: BandStatistics) -> BandSums:
    """The sums of values (n,) in the unit of the statistics; what is not finite does not count."""
    found = BandSums()
    for start in range(0, len(values), PIECE):
        found += _sums_of_piece(values[start : start + PIECE], statistics)
    return found


def _sums_of_piece(values: NDArray[np.float32], statistics: BandStatistics) -> BandSums:
    quanta = values.astype(np.float64)
    quanta -= statistics.origin
    quanta *= 1 / statistics.quantum
    np.rint(quanta, out=quanta)
    most = max(quanta.max(initial=0.0), -quanta.min(initial=0.0))
    if not most <= MOST_QUANTA:
        # Some are far off or not finite; NaN is not less than anything.
        finite = np.isfinite(values)
        values, quanta = values[finite], np.clip(quanta[finite], -MOST_QUANTA, MOST_QUANTA)
        most = np.abs(quanta).max(initial=0.0)
    below = above = 0
    if statistics.minimum is not None and statistics.maximum is not None:
        # In float32, in which a value that is the range's end is that end; beyond all of them it is infinite.
        with np.errstate(over="ignore"):
            least, greatest = np.float32(statistics.minimum), np.float32(statistics.maximum)
        below, above = int(np.count_nonzero(values < least)), int(np.count_nonzero(values > greatest))
    return BandSums(
        count=len(quanta), total=int(quanta.sum()), squares=_squares(quanta, most), below=below, above=above
    )


def _squares(quanta: NDArray[np.float64], most: float) -> int:
    """The sum of squares of whole numbers, of which the greatest magnitude is ``most``."""
    if most * most * len(quanta) < WHOLE:
        return int(np.einsum("i,i->", quanta, quanta))
    # (high * 2^18 + low)^2, each part of which a float64 sums without loss.
    high = np.floor(quanta / HALF)
    low = quanta - high * HALF
    half = int(HALF)
    parts = (int(np.einsum("i,i->", a, b)) for a, b in ((high, high), (high, low), (low, low)))
    first, mixed, last = parts
    return first * half * half + 2 * mixed * half + last


def add_sums(parts: Iterable[Mapping[str, Sequence[Sequence[int]]]]) -> InputSums:
    """The sums of all parts, which have the same inputs and bands."""
    total: InputSums = {}
    for part in parts:
        for name, bands in part.items():
            known = total.get(name, [[]] * len(bands))
            total[name] = [
                [a + b for a, b in zip(before, band, strict=True)] if before else list(band)
                for before, band in zip(known, bands, strict=True)
            ]
    return total
