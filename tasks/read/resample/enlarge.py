"""Bilinear pixels of a file whose own pixels are a whole number of the grid's and share their edges: 20 m on 10 m.

Each grid pixel is weighed from the four file pixels around it alone, so that it has the same bits whatever the cut.
As GDAL weighs them: a missing neighbour leaves the others their weights, and a grid pixel in a missing file pixel is
missing. Several times as fast as a warp, which projects every pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.tasks.read.resample.source_window import FileWindow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilewright.tasks.read.resample.paste import Alignment
    from tilewright.tasks.read.resample.pixels import Pixels, StoredBand


SLAB_BYTES = 1 << 20
"""Bytes of intermediate numbers at a time, to stay in the CPU's cache."""

LARGEST_GROW = 64
"""Grid pixels per file pixel up to which weighted sums of 16 bit integers fit 32 bits."""


def enlarges(alignment: Alignment | None, resampling: str, dtype: np.dtype) -> bool:
    """True if pixels of the type, so aligned, are made finer by `enlarge`."""
    numbers = dtype.kind == "f" or (dtype.kind in "iu" and dtype.itemsize <= 4)
    return alignment is not None and resampling == "bilinear" and 1 < alignment.grow <= LARGEST_GROW and numbers


def enlarge_window(alignment: Alignment, shape: tuple[int, int], file_shape: tuple[int, int]) -> FileWindow | None:
    """The file pixels that a grid of that shape (height, width) is weighed from; None where the file has none of it."""
    rows = _Axis.of(alignment.row, shape[0], alignment.grow, file_shape[0])
    cols = _Axis.of(alignment.col, shape[1], alignment.grow, file_shape[1])
    if not (rows.count and cols.count):
        return None
    return FileWindow(row_start=rows.start, row_stop=rows.stop, col_start=cols.start, col_stop=cols.stop)


def enlarge(band: StoredBand, into: Pixels, *, alignment: Alignment) -> Pixels:
    """`into` (y, x), in which every pixel is missing, with the pixels that the file has; `alignment` is that of both.

    Integers are weighed in whole numbers and rounded half up, floats in float64.
    """
    rows = _Axis.of(alignment.row, into.values.shape[0], alignment.grow, band.dataset.height)
    cols = _Axis.of(alignment.col, into.values.shape[1], alignment.grow, band.dataset.width)
    stored, missing = _stored(band, rows, cols)
    target = into.values[rows.target, cols.target]
    step = max(1, SLAB_BYTES // (8 * cols.count))
    for start in range(0, rows.count, step):
        slab = slice(start, min(start + step, rows.count))
        near, far = rows.near[slab], rows.far[slab]
        lines = slice(near[0], near[-1] + 2)
        part, lost = stored[lines], None if missing is None else missing[lines]
        made = _weighed_pixels(part, lost, near - near[0], far, cols, marker=into.nodata)
        if lost is not None:
            there = ~lost[rows.own[slab] - near[0]][:, cols.own]
            made[~there] = 0 if into.nodata is None else into.nodata
        target[slab] = made
        if into.valid is not None:
            into.valid[rows.target, cols.target][slab] = True if lost is None else there
    return into


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    """The grid pixels `target` of an axis that a file covers, made of its pixels [start, stop).

    Of each of them `near` is the file pixel before its centre, `own` the one it lies in, both counted from the first of
    [start - before, stop + after), whose pixels beyond the file repeat its last one. `far` is the weight of the pixel
    after `near`, in parts of `2 * grow`.
    """

    target: slice
    start: int
    stop: int
    before: int
    after: int
    grow: int
    near: np.ndarray
    own: np.ndarray
    far: np.ndarray

    @classmethod
    def of(cls, start: int, count: int, grow: int, size: int) -> _Axis:
        """The axis of `count` grid pixels, the first of them `start` from the file's, in a file of `size` pixels."""
        first, last = max(0, start), min(start + count, size * grow)
        places = np.arange(first, max(first, last))
        near, far = np.divmod(2 * places + 1 - grow, 2 * grow)
        low, high = (int(near[0]), int(near[-1]) + 2) if places.size else (0, 0)
        begin, end = max(0, low), min(size, high)
        return cls(
            target=slice(first - start, max(first, last) - start), start=begin, stop=end, before=begin - low,
            after=high - end, grow=grow, near=near - low, own=places // grow - low, far=far,
        )  # fmt: skip

    @property
    def count(self) -> int:
        return len(self.near)

    def phases(self) -> Iterator[tuple[slice, slice, int]]:
        """(grid pixels, their `near` ones, `far`): one of each place within a file pixel, every one of them once."""
        for first in range(min(self.grow, self.count)):
            pixels = slice(first, None, self.grow)
            near = self.near[pixels]
            yield pixels, slice(int(near[0]), int(near[-1]) + 1), int(self.far[first])


def _stored(band: StoredBand, rows: _Axis, cols: _Axis) -> tuple[np.ndarray, np.ndarray | None]:
    """The file pixels of two axes (y, x), and which of them are missing: None for none. Missing floats are 0."""
    window = (rows.start, rows.stop), (cols.start, cols.stop)
    stored, missing = band.read(window)
    lost = missing if missing.any() else None
    if lost is not None and stored.dtype.kind == "f":
        stored[lost] = 0
    beyond = (rows.before, rows.after), (cols.before, cols.after)
    if not any(sum(beyond, ())):
        return stored, lost
    return np.pad(stored, beyond, "edge"), None if lost is None else np.pad(lost, beyond, "edge")


def _weighed_pixels(
    stored: np.ndarray, missing: np.ndarray | None, near: np.ndarray, far: np.ndarray, cols: _Axis, *, marker: Any
) -> np.ndarray:
    """Grid pixels of stored ones, both (y, x), in their type; anything where all four are missing."""
    full, dtype = 4 * cols.grow**2, stored.dtype
    if missing is None and dtype.kind == "u" and dtype.itemsize <= 2:
        sums = _weighed(stored.astype(np.uint32), near, far, cols)
        sums += np.uint32(full // 2)
        if full & (full - 1):
            sums //= np.uint32(full)
        else:
            sums >>= np.uint32(full.bit_length() - 1)
        made = sums.astype(dtype)
    else:
        numbers = stored.astype(np.float64)
        weights: Any = float(full)
        if missing is not None:
            numbers[missing] = 0
            weights = np.maximum(_weighed((~missing).astype(np.float64), near, far, cols), 1)
        sums = _weighed(numbers, near, far, cols) / weights
        made = (sums if dtype.kind == "f" else np.floor(sums + 0.5)).astype(dtype)
    return made if marker is None else _beside(made, marker)


def _weighed(numbers: np.ndarray, near: np.ndarray, far: np.ndarray, cols: _Axis) -> np.ndarray:
    """Sums (y, x) of neighbours by their weights, which are `4 * grow**2` together, of numbers (y, x) in their type."""
    whole, kind = 2 * cols.grow, numbers.dtype.type
    weights = far.astype(numbers.dtype)[:, np.newaxis]
    lines = numbers[near] * (kind(whole) - weights)
    lines += numbers[near + 1] * weights
    sums = np.empty((len(near), cols.count), dtype=numbers.dtype)
    for pixels, left, weight in cols.phases():
        right = slice(left.start + 1, left.stop + 1)
        sums[:, pixels] = lines[:, left] * kind(whole - weight) + lines[:, right] * kind(weight)
    return sums


def _beside(made: np.ndarray, marker: float) -> np.ndarray:
    """The pixels, with those that happen to be the marker moved by the least there is, as GDAL does."""
    if made.dtype.kind == "f":
        beside = np.nextafter(made.dtype.type(marker), made.dtype.type(np.inf))
    else:
        least = np.iinfo(made.dtype).min
        beside = made.dtype.type(marker + 1 if marker == least else marker - 1)
    made[made == made.dtype.type(marker)] = beside
    return made
