"""Pixels of a file that share their edges with the grid: copied, repeated or picked, never computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.tasks.read.pixels import Pixels

if TYPE_CHECKING:
    from affine import Affine


EDGE_TOLERANCE = 1e-6
"""Pixels by which two edges may differ and still count as one."""


def paste(dataset: Any, *, band: int, nodata: float | None, alignment: Alignment, shape: tuple[int, int]) -> Pixels:
    """The band on a grid of that shape (height, width) whose pixel edges are the file's; missing beyond the file.

    With `shrink` file pixels per grid pixel the one at the grid pixel's centre is picked, the later of two.
    """
    rows = _span(alignment.row, shape[0], alignment, dataset.height)
    cols = _span(alignment.col, shape[1], alignment, dataset.width)
    if rows.whole and cols.whole:
        valid = None if nodata is not None else np.ones(shape, dtype=bool)
        return Pixels(values=_read(dataset, band, rows, cols, alignment), nodata=nodata, valid=valid)
    values = np.full(shape, 0 if nodata is None else nodata, dtype=dataset.dtypes[band - 1])
    valid = None if nodata is not None else np.zeros(shape, dtype=bool)
    if rows.count and cols.count:
        place = rows.target, cols.target
        values[place] = _read(dataset, band, rows, cols, alignment)
        if valid is not None:
            valid[place] = True
    return Pixels(values=values, nodata=nodata, valid=valid)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    """Grid rows (or columns) that a file covers: `target` in the grid, [start, stop) in the file.

    `lead`: grid pixels of the first file pixel that are before the target, if file pixels are repeated.
    """

    target: slice
    start: int
    stop: int
    lead: int
    whole: bool

    @property
    def count(self) -> int:
        return int(self.target.stop - self.target.start)


def _span(start: int, count: int, alignment: Alignment, size: int) -> _Span:
    """The part of `count` grid rows from `start` on that a file of `size` rows covers."""
    grow, shrink = alignment.grow, alignment.shrink
    first = start + shrink // 2
    # Grid rows before the file's first and after its last, in whole grid rows.
    before = max(0, -(first // shrink))
    after = min(count, -((first - size * grow) // shrink)) if first < size * grow else 0
    if after <= before:
        return _Span(target=slice(0, 0), start=0, stop=0, lead=0, whole=False)
    begin, last = first + before * shrink, first + (after - 1) * shrink
    return _Span(
        target=slice(before, after),
        start=begin // grow,
        stop=last // grow + 1,
        lead=begin % grow,
        whole=before == 0 and after == count,
    )


def _read(dataset: Any, band: int, rows: _Span, cols: _Span, alignment: Alignment) -> np.ndarray:
    """The grid pixels of two spans, (y, x)."""
    stored: np.ndarray = dataset.read(band, window=((rows.start, rows.stop), (cols.start, cols.stop)))
    if alignment.same_size:
        return stored
    if alignment.grow > 1:
        repeated = stored.repeat(alignment.grow, axis=0).repeat(alignment.grow, axis=1)
        return repeated[rows.lead : rows.lead + rows.count, cols.lead : cols.lead + cols.count]
    return stored[:: alignment.shrink, :: alignment.shrink]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """The position of a grid in a file whose pixel edges it shares.

    `row` and `col` are the grid's upper left corner counted from the file's, in the finer of both pixels. One of `grow`
    (grid pixels per file pixel along a side) and `shrink` (file pixels per grid pixel) is 1.
    """

    row: int
    col: int
    grow: int
    shrink: int

    @property
    def same_size(self) -> bool:
        """True if both have pixels of one size."""
        return self.grow == self.shrink == 1


def align(file: Affine, grid: Affine) -> Alignment | None:
    """The alignment of two transforms of one CRS; None if their pixel edges do not coincide."""
    if file.b or file.d or grid.b or grid.d or file.a <= 0 or file.e >= 0 or grid.a <= 0 or grid.e >= 0:
        return None
    factor_x, factor_y = _whole_factor(file.a / grid.a), _whole_factor(file.e / grid.e)
    if factor_x is None or factor_x != factor_y:
        return None
    grow, shrink = factor_x
    fine_x, fine_y = (grid.a, grid.e) if grow > 1 else (file.a, file.e)
    col, row = (grid.c - file.c) / fine_x, (grid.f - file.f) / fine_y
    if abs(col - round(col)) > EDGE_TOLERANCE or abs(row - round(row)) > EDGE_TOLERANCE:
        return None
    return Alignment(row=round(row), col=round(col), grow=grow, shrink=shrink)


def _whole_factor(ratio: float) -> tuple[int, int] | None:
    """(grow, shrink) if the ratio of two pixel sizes is a whole number or one over it, as far as a granule is wide."""
    whole, inverse = round(ratio), round(1 / ratio)
    if whole >= 1 and abs(ratio - whole) <= EDGE_TOLERANCE * whole:
        return whole, 1
    if inverse >= 1 and abs(1 / ratio - inverse) <= EDGE_TOLERANCE * inverse:
        return 1, inverse
    return None
