"""The mask of an area is that of the whole area drawn at once, however few of its parts lie near a cell."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from rasterio.features import rasterize

from tilewright.tasks.grid.area_mask import area_mask, n_inside
from tilewright.tasks.grid.cells import PreparedArea
from tilewright.tasks.grid.grid import Grid
from tilewright.tasks.grid.pixel_box import PixelBox

RANDOM = np.random.default_rng(1)
SIDE = 9000.0
AREAS = {
    "fields": shapely.multipolygons(
        [shapely.box(x, y, x + 95, y + 95) for x in range(0, 9000, 250) for y in (3, 5115)]
    ),
    "discs": shapely.union_all(
        [shapely.Point(*RANDOM.uniform(0, SIDE, 2)).buffer(RANDOM.uniform(5, 90)) for _ in range(200)]
    ),
    "triangles": shapely.union_all(
        [shapely.Polygon(RANDOM.uniform(0, 600, (3, 2)) + RANDOM.uniform(0, SIDE, 2)) for _ in range(150)]
    ),
    "one with a hole": shapely.Polygon(
        [(0, 0), (SIDE, 300), (8000, SIDE), (100, 7000)], [[(500, 500), (5900, 1500), (5900, 5900)]]
    ),
    "no part near most cells": shapely.multipolygons([shapely.box(3, 3, 40, 40), shapely.box(8803, 8803, 8899, 8899)]),
}


@pytest.mark.parametrize("name", AREAS)
def test_mask_is_that_of_the_whole_area(name: str) -> None:
    area = AREAS[name]
    extent = PixelBox(row_start=-920, row_stop=3, col_start=-3, col_stop=920)
    grid = Grid(crs="EPSG:32633", resolution=10.0, extent=extent)
    whole = rasterize([area], out_shape=extent.shape, transform=grid.transform_of(extent)).astype(bool)
    assert whole.any()
    assert (area_mask(grid, extent, PreparedArea(area)) == whole).all()
    assert n_inside(grid, PreparedArea(area)) == whole.sum()
