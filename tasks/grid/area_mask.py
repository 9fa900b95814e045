"""Which pixels of the grid lie inside the area asked for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import shapely
from rasterio.features import rasterize

from tilewright.tasks.grid.blocks import block_at, block_range

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shapely.geometry.base import BaseGeometry

    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.grid.pixel_box import PixelBox


CELL = 512
"""Pixels; masks are drawn in cells of this lattice, so that a pixel's answer does not depend on the box asked for."""


def area_mask(grid: Grid, box: PixelBox, area: BaseGeometry) -> np.ndarray:
    """True where a pixel's centre lies inside ``area`` (in the grid's CRS) and inside the grid's own area.

    Shape (height, width) of ``box``.
    """
    shapely.prepare(area)
    mask = np.zeros(box.shape, dtype=bool)
    for cell in _cells(box):
        seen = cell.intersect(box).intersect(grid.area)
        if not seen.empty:
            mask[seen.slices_in(box)] = _cell_mask(grid, cell, area)[seen.slices_in(cell)]
    return mask


def n_inside(grid: Grid, area: BaseGeometry) -> int:
    """How many pixels of the grid's own area ``area_mask`` finds inside ``area``; drawn only along its outline."""
    shapely.prepare(area)
    total = 0
    for cell in _cells(grid.area):
        seen = cell.intersect(grid.area)
        if area.contains(shapely.box(*grid.bounds_of(cell))):
            total += math.prod(seen.shape)
        else:
            total += int(_cell_mask(grid, cell, area)[seen.slices_in(cell)].sum())
    return total


def _cells(box: PixelBox) -> Iterator[PixelBox]:
    """The cells of the lattice that a box touches, in row-major order."""
    rows, cols = block_range(box, block=CELL)
    for row in rows:
        for col in cols:
            yield block_at(row=row, col=col, block=CELL, halo=0).inner


def _cell_mask(grid: Grid, cell: PixelBox, area: BaseGeometry) -> np.ndarray:
    outline = shapely.box(*grid.bounds_of(cell))
    if area.contains(outline):
        return np.ones(cell.shape, dtype=bool)
    if not area.intersects(outline):
        return np.zeros(cell.shape, dtype=bool)
    return rasterize([area], out_shape=cell.shape, transform=grid.transform_of(cell), dtype="uint8").astype(bool)
