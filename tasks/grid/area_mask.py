"""The mask of the grid's pixels whose centre lies inside the requested area."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import shapely
from rasterio.features import rasterize

from tilewright.tasks.grid.blocks import block_at
from tilewright.tasks.grid.cells import block_range, box_of_cells, touched_cells
from tilewright.tasks.grid.memory_raster import memory_raster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilewright.tasks.grid.cells import PreparedArea
    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.grid.pixel_box import PixelBox


CELL = 512
"""Side in pixels of the lattice cells in which masks are rasterized: a pixel's value does not depend on the box."""


def area_mask(grid: Grid, box: PixelBox, area: PreparedArea) -> np.ndarray:
    """The mask (height, width) of ``box``: True where the pixel's centre is inside ``area`` and the grid's extent."""
    mask = np.zeros(box.shape, dtype=bool)
    for cell in _cells(box):
        inside = cell.intersect(box).intersect(grid.extent)
        if not inside.empty:
            mask[inside.slices_in(box)] = _cell_mask(grid, cell, area)[inside.slices_in(cell)]
    return mask


def n_inside(grid: Grid, area: PreparedArea) -> int:
    """The number of True pixels of ``area_mask`` over the grid's extent; only cells on the outline are rasterized."""
    total, rims = 0, set()
    for (rows, cols), whole in touched_cells(grid, area.geometry, side=CELL):
        if whole:
            total += math.prod(box_of_cells((rows, cols), side=CELL).intersect(grid.extent).shape)
        else:
            rims.add((rows.start, cols.start))
    for row, col in rims:
        cell = block_at(row=row, col=col, block=CELL, halo=0).inner
        total += int(_cell_mask(grid, cell, area)[cell.intersect(grid.extent).slices_in(cell)].sum())
    return total


def _cells(box: PixelBox) -> Iterator[PixelBox]:
    """The cells of the lattice that a box touches, in row-major order."""
    rows, cols = block_range(box, block=CELL)
    for row in rows:
        for col in cols:
            yield block_at(row=row, col=col, block=CELL, halo=0).inner


def _cell_mask(grid: Grid, cell: PixelBox, area: PreparedArea) -> np.ndarray:
    outline = shapely.box(*grid.bounds_of(cell))
    if area.holds(outline):
        return np.ones(cell.shape, dtype=bool)
    if not area.touches(outline):
        return np.zeros(cell.shape, dtype=bool)
    # Parts elsewhere draw nothing here, and an area may have 100 000 of them; a pixel around the cell is drawn with it.
    near = area.parts_near(shapely.box(*grid.bounds_of(cell.pad(1))))
    transform = grid.transform_of(cell)
    with memory_raster(cell.shape, "uint8", transform) as drawn:
        rasterize([shapely.multipolygons(near)], dst_path=drawn, transform=transform)
        return np.asarray(drawn.read(1), dtype=bool)
