"""Two layers of values over one grid, subtracted strip by strip: errors, where they are largest, and a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tilewright.tasks.compare.cells import CellCounts, edges
from tilewright.tasks.compare.transitions import PICTURE_SIZE, TILE_COLS

if TYPE_CHECKING:
    from tilewright.tasks.compare.difference.tolerance import SameLimits
    from tilewright.tasks.compare.finished import ValueLayer
    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.zarr.store import LayerRows

WIDE = ("float64", "int32", "uint32", "int64", "uint64")
"""Types whose differences float32 does not hold."""

MAPPED_MOST = 1e150
"""Largest amount in a map: the squares of larger ones are no numbers."""

PICTURED_MOST = float(np.finfo(np.float32).max)
"""Largest amount in the picture."""

PICTURED = 0.98
"""Share of what differs in the picture that lies inside the ends of its colours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LargestApart:
    """The largest difference B - A, at an absolute pixel; of equal ones the northern, then the western one."""

    difference: float
    row: int
    col: int


class ValueDifference:
    """The difference B - A of one layer; ``rows`` gives it from top to bottom, and sums are taken on the way.

    ``n`` pixels were observed in both: they are no nodata and finite; ``n_near`` of them differ, by no more than the
    ``limits`` allow. ``cells`` counts pixels that either observed, and those that are further apart than
    that or that only one observed; an infinite value counts there as
    observed, and is as far as can be from all but itself. Sums are taken over tiles that lie
    at fixed places of the common extent, so that none depends on how the layers are stored.
    """

    def __init__(
        self, a: ValueLayer, b: ValueLayer, rows: tuple[LayerRows, LayerRows], extent: PixelBox, limits: SameLimits
    ) -> None:
        self.layer, self.unit = a.name, a.unit.strip()
        self.dtype = "float64" if a.dtype.name in WIDE or b.dtype.name in WIDE else "float32"
        self._most = min(float(np.finfo(self.dtype).max), MAPPED_MOST)
        self._layers, self._extent, self._limits = (a, b), extent, limits
        self._rows: tuple[LayerRows, ...] = rows
        self.n = self.n_only_a = self.n_only_b = self.n_equal = self.n_apart = self.n_near = 0
        self.sum_a = self.sum_b = self.sum_difference = self.sum_absolute = self.sum_squared = 0.0
        self.least, self.greatest = math.inf, -math.inf
        self.largest: LargestApart | None = None
        self.cells = CellCounts(extent)
        self._every = -(-max(extent.shape) // PICTURE_SIZE)
        small = tuple(-(-side // self._every) for side in extent.shape)
        self._low = np.full(small, np.inf, dtype=np.float32)
        self._high = np.full(small, -np.inf, dtype=np.float32)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows of B - A, (stop - start, width) in ``dtype``, NaN where not both observed; each is asked for once.

        Raises StorageError if storage refuses, ChangedStoreError if stored bytes are corrupt.
        """
        first, second = (each.rows(start, stop) for each in self._rows)
        if stop == self._extent.shape[0]:
            # What was read last is let go of: a comparison keeps the figures of many layers.
            self._rows = ()
        strip = np.empty(first.shape, dtype=self.dtype)
        for left in range(0, first.shape[1], TILE_COLS):
            here = slice(left, left + TILE_COLS)
            with np.errstate(over="ignore", invalid="ignore"):
                found = self._add(start, left, first[:, here], second[:, here])
            # A difference beyond what the map holds is the largest that it does; figures of it are no numbers.
            strip[:, here] = np.clip(found, -self._most, self._most)
        return strip

    def _add(self, start: int, left: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        seen_a, seen_b = (_seen(each, of.nodata) for each, of in zip((first, second), self._layers, strict=True))
        both = seen_a & seen_b
        n_both = int(both.sum())
        self.n += n_both
        self.n_only_a += int(seen_a.sum()) - n_both
        self.n_only_b += int(seen_b.sum()) - n_both
        a, b = np.where(both, first, 0).astype(np.float64), np.where(both, second, 0).astype(np.float64)
        # Whole numbers of 64 bits that differ may be one as floats: these differ by 0, and are not equal.
        equal = both & (first == second)
        difference = np.where(equal, 0.0, b - a)
        amount = np.abs(difference)
        may = self._limits.atol + self._limits.rtol * np.abs(a)
        within = both & (equal | ((may > 0) & (amount <= may)))
        endless = _endless(first) | _endless(second)
        apart = (seen_a | seen_b | endless) & ~within & ~(endless & (first == second))
        self.n_equal += int(equal.sum())
        self.n_apart += int(apart.sum())
        self.n_near += int((within & ~equal).sum())
        self.cells.add(start, seen_a | seen_b | endless, apart, left=left)
        self.sum_a += float(a.sum())
        self.sum_b += float(b.sum())
        self.sum_difference += float(difference.sum())
        self.sum_absolute += float(amount.sum())
        self.sum_squared += float(np.square(difference).sum())
        if n_both:
            self._add_ends(start, left, np.where(both, amount, -1.0), difference, both)
            self._add_picture(start, left, difference, both)
        return np.where(both, difference, np.nan)

    def _add_ends(self, start: int, left: int, amount: np.ndarray, difference: np.ndarray, both: np.ndarray) -> None:
        found = difference[both]
        self.least, self.greatest = min(self.least, float(found.min())), max(self.greatest, float(found.max()))
        row, col = divmod(int(np.argmax(amount)), amount.shape[1])
        here = LargestApart(
            difference=float(difference[row, col]),
            row=self._extent.row_start + start + row,
            col=self._extent.col_start + left + col,
        )
        known = self.largest
        if known is None or (-abs(here.difference), here.row, here.col) < (
            -abs(known.difference),
            known.row,
            known.col,
        ):
            self.largest = here

    def _add_picture(self, start: int, left: int, difference: np.ndarray, both: np.ndarray) -> None:
        every = self._every
        tops, lefts = edges(start, difference.shape[0], every), edges(left, difference.shape[1], every)
        rows = slice(start // every, start // every + len(tops))
        cols = slice(left // every, left // every + len(lefts))
        for kept, empty, reduce in ((self._low, np.inf, np.minimum), (self._high, -np.inf, np.maximum)):
            shown = np.where(both, np.clip(difference, -PICTURED_MOST, PICTURED_MOST), empty).astype(np.float32)
            reduced = reduce.reduceat(reduce.reduceat(shown, tops, axis=0), lefts, axis=1)
            kept[rows, cols] = reduce(kept[rows, cols], reduced)

    def picture(self) -> np.ndarray:
        """The differences, smaller: of the pixels beneath that which is furthest from 0, NaN where there is none."""
        furthest = np.where(self._high >= -self._low, self._high, self._low)
        return np.where(np.isfinite(self._low), furthest, np.float32(np.nan))

    @property
    def limit(self) -> float:
        """The amount at the two ends of the colours: nearly all that differs lies inside. Above 0."""
        amounts = np.abs(self.picture())
        amounts = amounts[np.isfinite(amounts) & (amounts > 0)]
        return float(np.quantile(amounts, PICTURED, method="inverted_cdf")) if len(amounts) else 1.0


def _endless(pixels: np.ndarray) -> np.ndarray:
    endless: np.ndarray = np.isinf(pixels) if pixels.dtype.kind == "f" else np.zeros(pixels.shape, dtype=bool)
    return endless


def _seen(pixels: np.ndarray, nodata: float | None) -> np.ndarray:
    seen: np.ndarray = np.isfinite(pixels) if pixels.dtype.kind == "f" else np.ones(pixels.shape, dtype=bool)
    return seen if nodata is None else seen & (pixels != nodata)
