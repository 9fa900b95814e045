"""Pixels of a file that share their edges with the grid: copied, repeated or picked, never computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.pixels import Pixels

if TYPE_CHECKING:
    from tasks.align import Alignment


def paste(dataset: Any, *, band: int, nodata: float | None, alignment: Alignment, shape: tuple[int, int]) -> Pixels:
    """The band on a grid of that shape (height, width) whose pixel edges are the file's; missing beyond the file.

    Of `shrink` file pixels a side the one that holds the grid pixel's centre is picked, the later of two that touch it.
    """
    rows = _places(alignment.row, shape[0], alignment)
    cols = _places(alignment.col, shape[1], alignment)
    inside_rows, inside_cols = _inside(rows, dataset.height), _inside(cols, dataset.width)
    values = np.full(shape, 0 if nodata is None else nodata, dtype=dataset.dtypes[band - 1])
    if _length(inside_rows) and _length(inside_cols):
        rows, cols = rows[inside_rows], cols[inside_cols]
        window = ((int(rows[0]), int(rows[-1]) + 1), (int(cols[0]), int(cols[-1]) + 1))
        stored = dataset.read(band, window=window)
        if alignment.same_size and stored.shape == shape:
            values = stored
        else:
            values[inside_rows, inside_cols] = stored[rows - rows[0]][:, cols - cols[0]]
    valid = None
    if nodata is None:
        valid = np.zeros(shape, dtype=bool)
        valid[inside_rows, inside_cols] = True
    return Pixels(values=values, nodata=nodata, valid=valid)


def _places(start: int, count: int, alignment: Alignment) -> np.ndarray:
    """Index in the file of each grid row (or column), possibly beyond it."""
    steps = np.arange(count, dtype=np.int64)
    if alignment.grow > 1:
        return (start + steps) // alignment.grow
    return start + steps * alignment.shrink + alignment.shrink // 2


def _inside(places: np.ndarray, size: int) -> slice:
    """The grid rows (or columns) that lie in a file of that size; places ascend."""
    start, stop = np.searchsorted(places, [0, size])
    return slice(int(start), int(stop))


def _length(part: slice) -> int:
    return int(part.stop - part.start)
