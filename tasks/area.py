"""Which pixels of the grid lie inside the area asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely
from rasterio.features import rasterize

from tasks.grid import PixelBox, block_range

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

    from tasks.grid import Grid

CELL = 512
"""Pixels; masks are drawn in cells of this lattice, so that a pixel's answer does not depend on the box asked for."""


def area_mask(grid: Grid, box: PixelBox, area: BaseGeometry) -> np.ndarray:
    """True where a pixel's centre lies inside ``area`` (in the grid's CRS) and inside the grid's own area.

    Shape (height, width) of ``box``.
    """
    shapely.prepare(area)
    mask = np.zeros(box.shape, dtype=bool)
    rows, cols = block_range(box, block=CELL)
    for row in rows:
        for col in cols:
            cell = PixelBox(
                row_start=row * CELL, row_stop=(row + 1) * CELL, col_start=col * CELL, col_stop=(col + 1) * CELL
            )
            seen = cell.intersect(box).intersect(grid.area)
            if not seen.empty:
                mask[seen.slices_in(box)] = _cell_mask(grid, cell, area)[seen.slices_in(cell)]
    return mask


def _cell_mask(grid: Grid, cell: PixelBox, area: BaseGeometry) -> np.ndarray:
    outline = shapely.box(*grid.bounds_of(cell))
    if area.contains(outline):
        return np.ones(cell.shape, dtype=bool)
    if not area.intersects(outline):
        return np.zeros(cell.shape, dtype=bool)
    return rasterize([area], out_shape=cell.shape, transform=grid.transform_of(cell), dtype="uint8").astype(bool)
