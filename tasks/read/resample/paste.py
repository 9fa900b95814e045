"""Pixels of a file that share their edges with the grid: copied, repeated or picked, never computed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine

from tilewright.tasks.read.resample.pixels import Pixels

if TYPE_CHECKING:
    from tilewright.tasks.read.resample.pixels import StoredBand


EDGE_TOLERANCE = 1e-6
"""Pixels by which two edges may differ and still count as one."""


STRIP = 1 << 24
"""File pixels read at a time where a coarser grid picks some of them, so that memory grows with the grid alone."""


def paste(band: StoredBand, *, alignment: Alignment, shape: tuple[int, int], out: np.ndarray | None = None) -> Pixels:
    """The band on a grid of that shape (height, width) whose pixel edges are the file's; missing beyond the file.

    A grid that lies in the file, pixel on pixel, is read into `out` where that has its shape and the file's type.
    With `shrink` file pixels per grid pixel the one at the grid pixel's centre is picked, the later of two.
    """
    signs, marker = band.signs, band.signs.marker
    rows = _span(alignment.row, shape[0], alignment, band.dataset.height)
    cols = _span(alignment.col, shape[1], alignment, band.dataset.width)
    masked = marker is None or not (signs.plain or signs.dtype.kind == "f")
    if rows.whole and cols.whole:
        if out is not None and alignment.same_size and signs.plain and (out.shape, out.dtype) == (shape, signs.dtype):
            band.dataset.read(band.index, window=((rows.start, rows.stop), (cols.start, cols.stop)), out=out)
            return Pixels(values=out, nodata=marker, valid=np.ones(shape, dtype=bool) if masked else None)
        values, there = _read(band, rows, cols, alignment)
        valid = (np.ones(shape, dtype=bool) if there is None else there) if masked else None
        return Pixels(values=values, nodata=marker, valid=valid)
    values = np.full(shape, 0 if marker is None else marker, dtype=signs.dtype)
    valid = np.zeros(shape, dtype=bool) if masked else None
    if rows.count and cols.count:
        place = rows.target, cols.target
        values[place], there = _read(band, rows, cols, alignment)
        if valid is not None:
            valid[place] = True if there is None else there
    return Pixels(values=values, nodata=marker, valid=valid)


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


def _read(band: StoredBand, rows: _Span, cols: _Span, alignment: Alignment) -> tuple[np.ndarray, np.ndarray | None]:
    """The grid pixels of two spans and which of them are there, (y, x) each; None where values and marker say it.

    Floats that any sign calls missing become the marker.
    """
    step = alignment.shrink
    height = rows.stop - rows.start
    strip = height if step == 1 else max(1, STRIP // ((cols.stop - cols.start) * step)) * step
    parts = [
        _read_rows(band, (start, min(start + strip, rows.stop)), cols, step)
        for start in range(rows.start, rows.stop, strip)
    ]
    values, there = parts[0] if len(parts) == 1 else (np.concatenate([part[0] for part in parts]), None)
    if len(parts) > 1 and parts[0][1] is not None:
        there = np.concatenate([part[1] for part in parts if part[1] is not None])
    if alignment.grow == 1:
        return values, there
    return _repeated(values, rows, cols, alignment), None if there is None else _repeated(there, rows, cols, alignment)


def _read_rows(band: StoredBand, rows: tuple[int, int], cols: _Span, step: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Every `step`-th pixel of the rows [start, stop) of the file, as `_read` gives them."""
    window = rows, (cols.start, cols.stop)
    if band.signs.plain:
        stored = band.dataset.read(band.index, window=window)
        # A copy, so that the picked pixels do not hold on to all the others.
        return (stored if step == 1 else stored[::step, ::step].copy()), None
    stored, missing = (part[::step, ::step] for part in band.read(window))
    if band.signs.dtype.kind != "f":
        return stored, ~missing
    stored[missing] = band.signs.marker
    return stored, None


def _repeated(stored: np.ndarray, rows: _Span, cols: _Span, alignment: Alignment) -> np.ndarray:
    """Each file pixel as a square of grid pixels, cut to the spans."""
    # Along rows first, since whole rows are then repeated at once.
    repeated = stored.repeat(alignment.grow, axis=1).repeat(alignment.grow, axis=0)
    return repeated[rows.lead : rows.lead + rows.count, cols.lead : cols.lead + cols.count]


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


def whole_pixels(file: Affine, grid: Affine) -> tuple[Affine, int] | None:
    """The transform from file to grid pixels, counted in the finer of both, and how many of these a grid pixel is wide.

    None if the pixel edges of two transforms of one CRS do not coincide. The file's rows and columns may run any way.
    """
    matrix = ~grid * file
    factor = _whole_factor(math.hypot(matrix.a, matrix.d))
    if factor is None:
        return None
    shrink = factor[1]
    numbers = [number * shrink for number in matrix[:6]]
    whole = [round(number) for number in numbers]
    tolerance = EDGE_TOLERANCE * max(factor)
    if any(abs(number - near) > tolerance for number, near in zip(numbers, whole, strict=True)):
        return None
    return Affine(*whole), shrink
