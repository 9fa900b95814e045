"""Rasters in memory: they have their place when they are made, and no thread warns of one that has none."""

from __future__ import annotations

import warnings

import pytest
import shapely
from affine import Affine
from rasterio.features import rasterize

from tilewright.tasks.grid.area_mask import area_mask
from tilewright.tasks.grid.cells import PreparedArea
from tilewright.tasks.grid.grid import Grid
from tilewright.tasks.grid.memory_raster import memory_raster
from tilewright.tasks.grid.pixel_box import PixelBox

GRID = Grid(crs="EPSG:32633", resolution=10.0, extent=PixelBox.at(0, 0, shape=(64, 64)))
AREA = shapely.Polygon([(0, 0), (600, -30), (90, -640)])


def test_the_way_that_fails_in_threads_is_noticed(silenced: list[object]) -> None:
    rasterize([AREA], out_shape=(64, 64), transform=GRID.transform_of(GRID.extent), dtype="uint8")
    assert silenced, "rasterio no longer silences warnings: memory_raster may go"


def test_masks_of_areas_silence_no_warning(silenced: list[object]) -> None:
    assert 0 < area_mask(GRID, GRID.extent, PreparedArea(AREA)).sum() < 64 * 64
    assert silenced == []


@pytest.mark.parametrize("transform", [Affine.identity(), Affine(1, 0, 0, 0, -1, 0), Affine(2, 0, 0, 0, -2, 0)])
def test_a_place_that_looks_like_none_is_kept_without_a_word(transform: Affine) -> None:
    down = transform.e
    area = shapely.Polygon([(0, 0), (3 * transform.a, 0), (3 * transform.a, 2 * down), (0, 2 * down)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with memory_raster((4, 4), "uint8", transform) as raster:
            rasterize([area], dst_path=raster, transform=transform)
            drawn = raster.read(1)
    assert drawn.tolist() == [[1, 1, 1, 0], [1, 1, 1, 0], [0] * 4, [0] * 4]
