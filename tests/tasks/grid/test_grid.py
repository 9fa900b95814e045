from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from tests.support.danube import DANUBE
from tilewright.tasks.grid.area_mask import area_mask, n_inside
from tilewright.tasks.grid.blocks import covered_box, plan_blocks
from tilewright.tasks.grid.cells import PreparedArea
from tilewright.tasks.grid.grid import Grid, GridError, plan_grid, project_area, snap_bounds, utm_crs
from tilewright.tasks.grid.pixel_box import PixelBox

AOI = shapely.box(*DANUBE)


def box(row_start, row_stop, col_start, col_stop):
    return PixelBox(row_start=row_start, row_stop=row_stop, col_start=col_start, col_stop=col_stop)


def test_pixels_are_counted_from_the_origin_of_the_crs():
    grid = Grid(crs="EPSG:32633", resolution=10, extent=box(-535234, -534855, 35913, 36491))
    assert grid.transform_of(grid.extent) == Affine(10, 0, 359130, 0, -10, 5352340)
    assert grid.bounds_of(grid.extent) == (359130, 5348550, 364910, 5352340)
    assert grid.geobox.shape == (379, 578)


def test_bounds_on_pixel_edges_stay_and_others_grow_outwards():
    assert snap_bounds((359130, 5348550, 364910, 5352340), resolution=10) == box(-535234, -534855, 35913, 36491)
    assert snap_bounds((359131, 5348551, 364909, 5352339), resolution=10) == box(-535234, -534855, 35913, 36491)
    assert snap_bounds((0.3, 0.3, 0.9, 0.9), resolution=0.1) == box(-9, -3, 3, 9)


def test_the_grid_covers_the_area_and_no_pixel_more():
    grid = plan_grid(AOI, resolution=10)
    minx, miny, maxx, maxy = project_area(AOI, grid.crs).bounds
    left, bottom, right, top = grid.bounds_of(grid.extent)
    assert grid.crs == "EPSG:32633"
    for outside in (minx - left, miny - bottom, right - maxx, top - maxy):
        assert 0 <= outside < 10


@pytest.mark.parametrize(
    ("lon", "lat", "crs"),
    [
        (13.1, 48.3, "EPSG:32633"),
        (-0.1, 51.5, "EPSG:32630"),
        (0.0, 51.5, "EPSG:32631"),
        (179.9, -17, "EPSG:32760"),
        (-179.9, -17, "EPSG:32701"),
        (5.2, 60.4, "EPSG:32632"),
        (15.6, 78.2, "EPSG:32633"),
        (8.9, 78.2, "EPSG:32631"),
        (24.0, -1e-9, "EPSG:32735"),
    ],
)
def test_utm_zone_is_that_of_the_centre(lon, lat, crs):
    assert utm_crs(shapely.box(lon - 1e-10, lat - 1e-10, lon + 2e-10, lat + 1e-10)) == crs


def test_an_area_across_the_antimeridian_is_one_small_grid():
    fiji = shapely.MultiPolygon([shapely.box(179.9, -17, 180, -16.9), shapely.box(-180, -17, -179.9, -16.9)])
    grid = plan_grid(fiji, resolution=100)
    height, width = grid.extent.shape
    assert (height, width) == (pytest.approx(112, abs=4), pytest.approx(213, abs=4))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"crs": "EPSG:4326"}, "geographic"),
        ({"crs": "EPSG:nonsense"}, "is no CRS"),
        ({"bounds": (5.0, 5.0, 1.0, 9.0)}, "are empty"),
        ({"resolution": 0.0}, "positive"),
    ],
)
def test_an_impossible_grid_is_refused_with_a_reason(options, sentence):
    with pytest.raises((GridError, ZeroDivisionError), match=sentence if options != {"resolution": 0.0} else None):
        plan_grid(AOI, **{"resolution": 10.0, **options})


def test_beyond_utm_is_refused():
    with pytest.raises(GridError, match="beyond UTM"):
        utm_crs(shapely.box(0, 85, 1, 86))


@given(
    start=st.tuples(st.integers(-9000, 9000), st.integers(-9000, 9000)),
    size=st.tuples(st.integers(1, 700), st.integers(1, 700)),
    block=st.sampled_from([64, 96, 256]),
    halo=st.integers(0, 40),
)
def test_blocks_cover_each_pixel_of_the_area_exactly_once(start, size, block, halo):
    area = box(start[0], start[0] + size[0], start[1], start[1] + size[1])
    grid = Grid(crs="EPSG:32633", resolution=10, extent=area)
    whole = covered_box(grid, block=block)
    count = np.zeros(whole.shape, dtype=int)
    for cut in plan_blocks(grid, block=block, halo=halo):
        assert cut.inner.row_start == cut.row * block
        assert cut.outer.shape == (block + 2 * halo, block + 2 * halo)
        count[cut.inner.slices_in(whole)] += 1
    assert (count == 1).all()
    assert whole.intersect(area) == area
    assert math.prod(whole.shape) < (size[0] + 2 * block) * (size[1] + 2 * block)


def test_blocks_outside_the_outline_are_left_out():
    grid = Grid(crs="EPSG:32633", resolution=10, extent=box(0, 400, 0, 400))
    triangle = shapely.Polygon([(0, -10), (0, -4000), (3990, -4000)])
    assert {(cut.row, cut.col) for cut in plan_blocks(grid, block=200, halo=0, area=triangle)} == {
        (0, 0), (1, 0), (1, 1),
    }  # fmt: skip


def test_more_blocks_than_asked_for_are_refused_without_cutting_them_all():
    grid = Grid(crs="EPSG:32633", resolution=1e-4, extent=box(0, 10**9, 0, 10**9))
    with pytest.raises(GridError, match=r"more than limits.blocks = 3 blocks of 512 px"):
        plan_blocks(grid, block=512, halo=0, max_blocks=3)
    assert (
        len(plan_blocks(Grid(crs="EPSG:32633", resolution=10, extent=box(0, 4, 0, 4)), block=4, halo=0, max_blocks=1))
        == 1
    )


def test_a_resolution_too_fine_to_count_is_refused():
    with pytest.raises(GridError, match="too fine"):
        snap_bounds((1e5, 5e6, 2e5, 6e6), resolution=1e-305)


@given(
    x=st.floats(-9000, 9000), y=st.floats(-9000, 9000), radius=st.floats(1, 9000), rows=st.integers(1, 1400)
)  # fmt: skip
def test_pixels_inside_are_those_of_the_mask(x, y, radius, rows):
    grid = Grid(crs="EPSG:32633", resolution=10, extent=box(-rows // 2, rows, -300, 600))
    outline = shapely.Point(x, y).buffer(radius)
    assert n_inside(grid, PreparedArea(outline)) == area_mask(grid, grid.extent, PreparedArea(outline)).sum()


def test_the_area_mask_of_a_pixel_does_not_depend_on_the_box_asked_for():
    grid = Grid(crs="EPSG:32633", resolution=10, extent=box(-700, 700, -700, 700))
    outline = shapely.Point(123.4, 55.5).buffer(6400.7)
    whole = area_mask(grid, box(-700, 700, -700, 700), PreparedArea(outline))
    part = box(-333, 451, -600, -17)
    assert (area_mask(grid, part, PreparedArea(outline)) == whole[part.slices_in(box(-700, 700, -700, 700))]).all()
    assert whole.sum() * 100 == pytest.approx(outline.area, rel=1e-3)


def test_the_area_mask_ends_with_the_grid():
    grid = Grid(crs="EPSG:32633", resolution=10, extent=box(0, 2, 0, 3))
    mask = area_mask(grid, box(-1, 3, -1, 4), PreparedArea(shapely.box(-100, -100, 100, 100)))
    assert mask.tolist() == [
        [False] * 5,
        [False, True, True, True, False],
        [False, True, True, True, False],
        [False] * 5,
    ]
