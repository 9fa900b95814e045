"""How two maps of classes differ, counted in one pass over their rows, of which a strip at a time is in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tilewright.tasks.compare.cells import CellCounts
from tilewright.tasks.grid.ground import is_uniform, mean_pixel_km2, pixel_km2
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.vector.shapes import ShapeStream

if TYPE_CHECKING:
    from collections.abc import Callable

    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.vector.shapes import Shapes

N_VALUES = 256
"""Values of a layer of classes, which is uint8."""

STRIP_PIXELS = 1 << 21
"""Pixels of the rows that are taken at a time, about. No figure depends on it but for the last digit of areas."""

TILE_COLS = 2048
"""Columns of a strip whose pixel areas are in memory at a time."""

PICTURE_SIZE = 1400
"""Pixels of the longer side of the picture of changes, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transitions:
    """Two maps of a grid, counted.

    ``counts`` (256, 256): pixels by their values in A (rows) and B, where both observed; ``km2``: their areas on the
    ground. ``n_only_a``, ``n_only_b``: pixels that only one observed. ``cell_both``, ``cell_differ``: of each cell of
    `CELL` pixels, the first at ``first_cell`` (row, col), the pixels that both observed and those that differ.
    ``picture``: the grid, smaller: 0 nothing observed in both, 1 the same in all pixels beneath, else 2 + the
    transition of one of them (256 a + b); ``base`` its values in B.
    """

    counts: np.ndarray
    km2: np.ndarray
    n_only_a: int
    n_only_b: int
    cell_both: np.ndarray
    cell_differ: np.ndarray
    first_cell: tuple[int, int]
    picture: np.ndarray
    base: np.ndarray

    @property
    def n(self) -> int:
        """Pixels that both observed."""
        return int(self.counts.sum())

    @property
    def n_equal(self) -> int:
        """Those of them that have the same value in both."""
        return int(np.trace(self.counts))


def count_transitions(
    grid: Grid,
    a: Callable[[int, int], np.ndarray],
    b: Callable[[int, int], np.ndarray],
    *,
    nodata: tuple[int, int],
    take: Callable[[Shapes], None],
    strip_pixels: int = STRIP_PIXELS,
) -> Transitions:
    """Count two maps (y, x) uint8 over a grid, given as functions of (start, stop) row that are asked from top down.

    ``nodata``: the markers of A and B. ``take`` gets the shapes of what differs, some at a time: the parts, joined by
    edges, of pixels of one transition, with the value 256 a + b.
    """
    height, width = grid.extent.shape
    every = -(-max(height, width) // PICTURE_SIZE)
    step = max(every, strip_pixels // width // every * every)
    count = _Tally(grid, every=every)
    stream = ShapeStream(row=grid.extent.row_start, col=grid.extent.col_start, width=width)
    for start in range(0, height, step):
        stop = min(start + step, height)
        first, second = a(start, stop), b(start, stop)
        differ, moves = count.add(start, first, second, nodata=nodata)
        edge = np.zeros(differ.shape, dtype=bool)
        edge[:, 0] = edge[:, -1] = True
        edge[0] |= start == 0
        edge[-1] |= stop == height
        for shapes in stream.take(moves, differ, edge=edge):
            take(shapes)
    for shapes in stream.end():
        take(shapes)
    return count.done()


class _Tally:
    """The figures of the strips so far."""

    def __init__(self, grid: Grid, *, every: int) -> None:
        self._grid, self._every = grid, every
        extent = grid.extent
        self._pixel = mean_pixel_km2(grid, extent) if is_uniform(grid) else None
        self._counts = np.zeros(N_VALUES**2, dtype=np.int64)
        self._km2 = np.zeros(N_VALUES**2)
        self._only = [0, 0]
        self._cells = CellCounts(extent)
        small = tuple(-(-side // every) for side in extent.shape)
        self._picture, self._base = np.zeros(small, dtype=np.int32), np.zeros(small, dtype=np.uint8)

    def add(
        self, start: int, a: np.ndarray, b: np.ndarray, *, nodata: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Count the rows from ``start`` on; returns, (y, x): where both observed and differ, and the transitions."""
        seen_a, seen_b = a != nodata[0], b != nodata[1]
        both = seen_a & seen_b
        n_both = int(both.sum())
        self._only[0] += int(seen_a.sum()) - n_both
        self._only[1] += int(seen_b.sum()) - n_both
        moves = a.astype(np.int32) * N_VALUES + b
        self._counts += np.bincount(moves[both], minlength=N_VALUES**2)
        if self._pixel is None:
            self._add_areas(start, moves, both)
        differ = both & (a != b)
        self._cells.add(start, both, differ)
        self._add_picture(start, both, np.where(differ, moves + 2, both), b)
        return differ, moves

    def _add_areas(self, start: int, moves: np.ndarray, both: np.ndarray) -> None:
        extent = self._grid.extent
        for left in range(0, moves.shape[1], TILE_COLS):
            here, part = moves[:, left : left + TILE_COLS], both[:, left : left + TILE_COLS]
            box = PixelBox.at(extent.row_start + start, extent.col_start + left, shape=here.shape)
            areas = np.broadcast_to(pixel_km2(self._grid, box), here.shape)
            self._km2 += np.bincount(here[part], weights=areas[part], minlength=N_VALUES**2)

    def _add_picture(self, start: int, both: np.ndarray, marks: np.ndarray, b: np.ndarray) -> None:
        every, (height, width) = self._every, both.shape
        first, tops = start // every, np.arange(0, height, every)
        marks = np.maximum.reduceat(marks, tops, axis=0)
        self._picture[first : first + len(tops)] = np.maximum.reduceat(marks, np.arange(0, width, every), axis=1)
        # Of a pixel that holds several classes, one that both observed, if any was.
        shown = np.maximum.reduceat(np.where(both, b.astype(np.int16) + 1, 0), tops, axis=0)
        shown = np.maximum.reduceat(shown, np.arange(0, width, every), axis=1)
        self._base[first : first + len(tops)] = np.maximum(shown - 1, 0)

    def done(self) -> Transitions:
        """What was counted."""
        km2 = self._km2 if self._pixel is None else self._counts * self._pixel
        return Transitions(
            counts=self._counts.reshape(N_VALUES, N_VALUES),
            km2=km2.reshape(N_VALUES, N_VALUES),
            n_only_a=self._only[0],
            n_only_b=self._only[1],
            cell_both=self._cells.n,
            cell_differ=self._cells.differ,
            first_cell=self._cells.first,
            picture=self._picture,
            base=self._base,
        )
