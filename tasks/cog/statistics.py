"""Counts and statistics of a layer's pixels, accumulated strip by strip, and the CRC of rows."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


SUM_ROWS = 64
"""Rows of one partial sum; fixed, so that the last digit of a mean does not depend on the size of the reads."""


COUNT_PIXELS = 2**18
"""Pixels counted at a time: numpy converts each to eight bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Statistics of a layer's valid, finite pixels as stored, without scale and offset; `stddev` of the population."""

    minimum: float
    maximum: float
    mean: float
    stddev: float
    valid_percent: float


@dataclass(slots=True)
class Tally:
    """The running counts and sums of one layer, whose rows are added from top to bottom.

    `nodata` is None, a number or NaN. NaN is never a valid pixel; infinity is one, but is left out of the statistics.
    """

    dtype: np.dtype[Any]
    nodata: float | None
    pixels: int = 0
    _n_valid_values: int = 0
    _histogram: NDArray[np.int64] | None = None
    _sums: list[tuple[int, float, float, float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.dtype.kind == "u" and self.dtype.itemsize <= 2:
            self._histogram = np.zeros(1 << (8 * self.dtype.itemsize), np.int64)

    def add(self, rows: NDArray[Any]) -> None:
        """Add rows (h, W) of the layer's dtype; h is a multiple of 64, except for the last rows of the layer."""
        self.pixels += rows.size
        if self._histogram is not None:
            flat = rows.ravel()
            for start in range(0, flat.size, COUNT_PIXELS):
                self._histogram += np.bincount(flat[start : start + COUNT_PIXELS], minlength=self._histogram.size)
            return
        for start in range(0, rows.shape[0], SUM_ROWS):
            self._add_values(rows[start : start + SUM_ROWS])

    @property
    def counts(self) -> dict[int, int]:
        """Pixels per stored value, nodata included; empty unless the layer is unsigned with 8 or 16 bits."""
        if self._histogram is None:
            return {}
        return {int(value): int(self._histogram[value]) for value in np.flatnonzero(self._histogram)}

    @property
    def n_valid(self) -> int:
        """The number of pixels that are neither nodata nor NaN."""
        if self._histogram is None:
            return self._n_valid_values
        return sum(count for value, count in self.counts.items() if value != self.nodata)

    def statistics(self) -> Statistics | None:
        """The statistics of the added rows; None if no pixel is valid and finite."""
        moments = self._moments_of_counts() if self._histogram is not None else self._moments_of_sums()
        if moments is None:
            return None
        minimum, maximum, mean, variance = moments
        return Statistics(
            minimum=minimum,
            maximum=maximum,
            mean=mean,
            stddev=math.sqrt(variance),
            valid_percent=100 * self.n_valid / self.pixels,
        )

    def _add_values(self, strip: NDArray[Any]) -> None:
        valid = ~np.isnan(strip) if strip.dtype.kind == "f" else np.ones(strip.shape, bool)
        if self.nodata is not None and not math.isnan(self.nodata):
            valid &= strip != self.nodata
        self._n_valid_values += int(np.count_nonzero(valid))
        numbers = strip[valid & np.isfinite(strip)].astype(np.float64)
        if numbers.size:
            mean = float(numbers.mean())
            squares = float(np.square(numbers - mean).sum())
            self._sums.append((numbers.size, mean, squares, float(numbers.min()), float(numbers.max())))

    def _moments_of_counts(self) -> tuple[float, float, float, float] | None:
        # Integer arithmetic: exact for any number of pixels.
        counts = {value: count for value, count in self.counts.items() if value != self.nodata}
        n = sum(counts.values())
        if n == 0:
            return None
        total = sum(value * count for value, count in counts.items())
        squares = sum(value * value * count for value, count in counts.items())
        return float(min(counts)), float(max(counts)), total / n, (n * squares - total * total) / (n * n)

    def _moments_of_sums(self) -> tuple[float, float, float, float] | None:
        if not self._sums:
            return None
        mean, variance = _pooled([(count, mean, squares) for count, mean, squares, _, _ in self._sums])
        return min(part[3] for part in self._sums), max(part[4] for part in self._sums), mean, variance


def merge_statistics(parts: Sequence[tuple[int, Statistics | None]], *, pixels: int) -> Statistics | None:
    """The statistics of a layer of `pixels` from (valid pixels, statistics) of its parts; None if no part has any."""
    known = [(n, part) for n, part in parts if part is not None]
    if not known:
        return None
    mean, variance = _pooled([(n, part.mean, n * part.stddev**2) for n, part in known])
    return Statistics(
        minimum=min(part.minimum for _, part in known),
        maximum=max(part.maximum for _, part in known),
        mean=mean,
        stddev=math.sqrt(variance),
        valid_percent=100 * sum(n for n, _ in parts) / pixels,
    )


def _pooled(sums: Sequence[tuple[int, float, float]]) -> tuple[float, float]:
    """(mean, population variance) from (count, mean, sum of squared deviations) of disjoint parts.

    Source: Chan, Golub, LeVeque, Updating Formulae and a Pairwise Algorithm for Sample Variances (1979), eq. 2.1.
    """
    n, mean, squares = 0, 0.0, 0.0
    for count, part_mean, part_squares in sums:
        shift = part_mean - mean
        squares += part_squares + shift * shift * n * count / (n + count)
        mean += shift * count / (n + count)
        n += count
    return mean, squares / n


def rows_crc32(rows: NDArray[Any]) -> int:
    """The CRC-32 of the rows' bytes, by which rows that are read back are compared with those that were written."""
    return zlib.crc32(np.ascontiguousarray(rows).data)
