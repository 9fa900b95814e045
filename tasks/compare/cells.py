"""Where two maps differ most: pixels counted in cells of an absolute lattice, and the cells with the largest shares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tilewright.tasks.grid.pixel_box import PixelBox

CELL = 64
"""Pixels along a side of the cells in which differences are sought, at multiples of it from the CRS origin."""

SEEN_SHARE = 0.5
"""Share of a cell that must be compared for it to be listed, if any cell is seen as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApartCell:
    """A cell in which maps differ: its pixels inside the map, how many were compared and what share of them differs."""

    box: PixelBox
    n: int
    share: float


class CellCounts:
    """Pixels of each cell (row, col) of an extent: ``n`` compared, ``differ`` of them; ``first`` is the first cell."""

    def __init__(self, extent: PixelBox) -> None:
        self._extent = extent
        self.first = extent.row_start // CELL, extent.col_start // CELL
        shape = (-(-extent.row_stop // CELL) - self.first[0], -(-extent.col_stop // CELL) - self.first[1])
        self.n, self.differ = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)

    def add(self, start: int, compared: np.ndarray, differ: np.ndarray, *, left: int = 0) -> None:
        """Count pixels (y, x) bool, the first at a row ``start`` and a column ``left`` of the extent."""
        row, col = self._extent.row_start + start, self._extent.col_start + left
        tops, lefts = edges(row, compared.shape[0], CELL), edges(col, compared.shape[1], CELL)
        down, across = row // CELL - self.first[0], col // CELL - self.first[1]
        for counts, marks in ((self.n, compared), (self.differ, differ)):
            sums = np.add.reduceat(marks, tops, axis=0, dtype=np.int32)
            counts[down : down + len(tops), across : across + len(lefts)] += np.add.reduceat(sums, lefts, axis=1)


def most_apart(
    n: np.ndarray, differ: np.ndarray, *, first: tuple[int, int], extent: PixelBox, most: int
) -> list[ApartCell]:
    """The cells with the greatest share of compared pixels that differ, among those of which enough was compared.

    Of cells with one share the one with more pixels comes first, then the northern, then the western one.
    """
    listed, seen = differ > 0, n >= SEEN_SHARE * CELL**2
    rows, cols = np.nonzero(listed & seen if (listed & seen).any() else listed)
    share = differ[rows, cols] / n[rows, cols]
    order = np.lexsort([cols, rows, -differ[rows, cols], -share])[:most]
    top, left = first
    return [
        ApartCell(
            box=PixelBox.at((top + int(rows[i])) * CELL, (left + int(cols[i])) * CELL, shape=(CELL, CELL)).intersect(
                extent
            ),
            n=int(n[rows[i], cols[i]]),
            share=float(share[i]),
        )
        for i in order
    ]


def edges(start: int, length: int, side: int) -> np.ndarray:
    """Where, in a range of pixels that begins at ``start``, cells of a side begin; the first at 0."""
    inner = np.arange(-(-start // side) * side, start + length, side) - start
    return inner if len(inner) and inner[0] == 0 else np.concatenate([[0], inner])
