"""Scenes read where their ground lies in them, not where the grid has it: every pixel with a shift of its own.

The shifts are rounded to parts of a pixel, and the pixels of each shift are read as a grid moved by it: a single
resampling, by the rules of any other grid, for values, classes and what is missing alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from tilewright.tasks.read.resample.pixels import Pixels

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

PARTS = 8
"""Parts of a pixel to which shifts are rounded: an error of a sixteenth, less than that of what is measured."""


@dataclass(frozen=True, slots=True)
class Piece:
    """The pixels of a geobox with one shift: they lie in ``window``, where ``here`` is True (None: everywhere).

    They are read ``south`` and ``east`` parts of a pixel away.
    """

    window: tuple[slice, slice]
    south: int
    east: int
    here: NDArray[np.bool_] | None


def cut_pieces(south: NDArray[np.int32], east: NDArray[np.int32]) -> tuple[Piece, ...]:
    """The pieces of a geobox whose pixels have these shifts, (y, x) both."""
    codes = south.astype(np.int64) * 2**31 + east
    found, firsts = np.unique(codes, return_index=True)
    pieces = []
    for code, first in zip(found.tolist(), firsts.tolist(), strict=True):
        here = codes == code
        rows, cols = np.flatnonzero(here.any(axis=1)), np.flatnonzero(here.any(axis=0))
        window = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(cols[0]), int(cols[-1]) + 1)
        inside = here[window]
        at = int(south.flat[first]), int(east.flat[first])
        pieces.append(Piece(window, *at, None if inside.all() else inside.copy()))
    return tuple(pieces)


def read_moved(geobox: GeoBox, pieces: Sequence[Piece], read: Callable[[GeoBox], Pixels | None]) -> Pixels | None:
    """The pixels of a geobox, each piece as ``read`` gives it at its place; None as soon as one is None."""
    shape = geobox.shape.yx
    whole: Pixels | None = None
    for piece in pieces:
        part = read(_moved(geobox[piece.window], piece.south, piece.east))
        if part is None or len(pieces) == 1:
            return part
        if whole is None:
            valid = None if part.valid is None else np.zeros(shape, dtype=bool)
            whole = Pixels(values=np.empty(shape, dtype=part.values.dtype), nodata=part.nodata, valid=valid)
        _put(whole.values[piece.window], part.values, piece.here)
        if whole.valid is not None and part.valid is not None:
            _put(whole.valid[piece.window], part.valid, piece.here)
    return whole


def _put(target: NDArray[Any], values: NDArray[Any], here: NDArray[np.bool_] | None) -> None:
    if here is None:
        target[...] = values
    else:
        target[here] = values[here]


def _moved(geobox: GeoBox, south: int, east: int) -> GeoBox:
    if not (south or east):
        return geobox
    return GeoBox(geobox.shape, geobox.affine * Affine.translation(east / PARTS, south / PARTS), geobox.crs)
