"""Pixels of a file that share their edges with the grid: copied, repeated or picked, never computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.pixels import Pixels

if TYPE_CHECKING:
    from tasks.align import Alignment


def paste(dataset: Any, *, band: int, nodata: float | None, alignment: Alignment, shape: tuple[int, int]) -> Pixels:
    """The band on a grid of that shape (height, width) whose pixel edges are the file's; missing beyond the file.

    Of `shrink` file pixels a side the one that holds the grid pixel's centre is picked, the later of two that touch it.
    """
    rows = _span(alignment.row, shape[0], alignment, dataset.height)
    cols = _span(alignment.col, shape[1], alignment, dataset.width)
    if rows.whole and cols.whole:
        return Pixels(values=_read(dataset, band, rows, cols, alignment), nodata=nodata, valid=_covered(nodata, shape))
    values = np.full(shape, 0 if nodata is None else nodata, dtype=dataset.dtypes[band - 1])
    valid = None if nodata is not None else np.zeros(shape, dtype=bool)
    if rows.count and cols.count:
        place = rows.target, cols.target
        values[place] = _read(dataset, band, rows, cols, alignment)
        if valid is not None:
            valid[place] = True
    return Pixels(values=values, nodata=nodata, valid=valid)


def _covered(nodata: float | None, shape: tuple[int, int]) -> np.ndarray | None:
    return None if nodata is not None else np.ones(shape, dtype=bool)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    """Grid rows (or columns) that lie in a file: `target` in the grid, [start, stop) in the file.

    `lead` grid pixels of the first file pixel lie before the target, where file pixels are repeated.
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
    """The part of `count` grid rows from `start` on that a file of `size` rows holds."""
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
