"""The fixed lattice of a CRS and pixel size, in whose cells warping is done, and the position of a geobox on it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from affine import Affine
from odc.geo.geobox import GeoBox

from tilewright.tasks.grid.pixel_box import PixelBox

if TYPE_CHECKING:
    from collections.abc import Iterator


SNAP = 1e-6
"""Pixels by which a grid may miss the CRS origin and still count as anchored there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellGrid:
    """All pixels of one size in one CRS: pixel (0, 0) has its upper left corner at `origin` (x, y) in CRS units.

    `size_x` is positive, `size_y` negative, as in a transform. `origin` is (0, 0) for grids snapped to the CRS origin.
    """

    crs: str
    size_x: float
    size_y: float
    origin: tuple[float, float]

    def transform(self, row: int, col: int) -> Affine:
        """The transform whose upper left pixel is (row, col)."""
        x0, y0 = self.origin
        return Affine(self.size_x, 0.0, x0 + col * self.size_x, 0.0, self.size_y, y0 + row * self.size_y)

    def geobox(self, box: PixelBox) -> GeoBox:
        """The geobox of a box of absolute pixels."""
        return GeoBox(box.shape, self.transform(box.row_start, box.col_start), self.crs)


def locate(geobox: GeoBox) -> tuple[CellGrid, PixelBox]:
    """The lattice a geobox belongs to and its box there.

    Raises ValueError for a rotated, flipped or CRS-less geobox.
    """
    affine = geobox.affine
    if geobox.crs is None or affine.b or affine.d or affine.a <= 0 or affine.e >= 0:
        raise ValueError(f"the geobox {geobox} is rotated, flipped or without a CRS: give one with north up")
    col, shift_x = _snap(affine.c / affine.a)
    row, shift_y = _snap(affine.f / affine.e)
    origin = shift_x * affine.a, shift_y * affine.e
    lattice = CellGrid(crs=crs_text(geobox), size_x=affine.a, size_y=affine.e, origin=origin)
    height, width = geobox.shape.yx
    return lattice, PixelBox.at(row, col, shape=(height, width))


def crs_text(geobox: GeoBox) -> str:
    """The CRS of a geobox as an authority code where it has one, else WKT."""
    assert geobox.crs is not None, "a geobox on a lattice has a CRS"
    epsg = geobox.crs.to_epsg()
    return f"EPSG:{epsg}" if epsg is not None else str(geobox.crs.to_wkt())


def cells(box: PixelBox, *, size: int) -> Iterator[PixelBox]:
    """The cells of the lattice, `size` pixels a side, that touch a box, in row-major order."""
    for row in range(box.row_start // size, -(-box.row_stop // size)):
        for col in range(box.col_start // size, -(-box.col_stop // size)):
            yield PixelBox.at(row * size, col * size, shape=(size, size))


def _snap(position: float) -> tuple[int, float]:
    """A position in pixels as a whole number and a rest in [0, 1), rounded so that it is the same for every cut."""
    whole = math.floor(position + SNAP)
    # A position of a million pixels has ten decimals in float64; a rest of a third is cut off as late as that allows.
    rest = round(position - whole, 9 if abs(position) < 1e6 else 6)
    return whole, max(rest, 0.0) if rest < 1 - SNAP else 0.0
