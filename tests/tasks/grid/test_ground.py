"""Areas on the ground of pixels and geometries in every kind of CRS, against polygons on the ellipsoid."""

from __future__ import annotations

import math

import numpy as np
import pyproj
import pytest
import shapely

from tilewright.tasks.grid import ground
from tilewright.tasks.grid.areas import geometry_km2, pixel_metres
from tilewright.tasks.grid.crs import geographic_crs, is_geographic, metres_per_unit
from tilewright.tasks.grid.grid import Grid
from tilewright.tasks.grid.ground import is_uniform, mean_pixel_km2, pixel_km2
from tilewright.tasks.grid.pixel_box import PixelBox

EXACT = 1e-6

PLACES = {
    "EPSG:3857": (10, (0.3, 20, 48, 60, 80, 84.9)),
    "EPSG:3395": (10, (0.3, 48, 70)),
    "EPSG:32633": (15, (0.3, 48, 60, 80)),
    "EPSG:32631": (18, (48, 60)),
    "EPSG:3035": (10, (37, 48, 69)),
    "EPSG:3034": (10, (37, 48, 69)),
    "EPSG:4326": (10, (0.3, 48, 80)),
    "EPSG:4258": (10, (48,)),
    "EPSG:32662": (10, (0.3, 48, 80)),
    "EPSG:6933": (10, (0.3, 48, 80)),
    "EPSG:3995": (10, (48, 70, 89.99)),
    "EPSG:3031": (10, (-60, -75, -89.99)),
    "EPSG:2263": (-74, (40.7,)),
    "EPSG:27700": (-1, (52, 58)),
    "EPSG:2056": (8, (46.5,)),
    "EPSG:3375": (102, (3,)),
    "ESRI:54009": (10, (0.3, 48, 80)),
    "+proj=sinu +R=6371007.181 +units=m +type=crs": (10, (0.3, 48, 80)),
    "+proj=omerc +lat_0=45 +lonc=10 +alpha=30 +type=crs": (10, (20, 48, 70)),
}
"""A longitude and latitudes for each CRS."""

CASES = [(crs, lon, lat) for crs, (lon, lats) in PLACES.items() for lat in lats]


def square(crs: str, lon: float, lat: float, *, metres: float = 10, n_pixels: int = 300) -> Grid:
    """A grid of n x n pixels from a place on."""
    to_crs = pyproj.Transformer.from_crs(geographic_crs(crs), crs, always_xy=True)
    x, y = to_crs.transform(lon, lat)
    resolution = metres / (111_000 if is_geographic(crs) else metres_per_unit(crs))
    box = PixelBox.at(math.floor(-y / resolution), math.floor(x / resolution), shape=(n_pixels, n_pixels))
    return Grid(crs=crs, resolution=resolution, extent=box)


def polygon_km2(grid: Grid, box: PixelBox) -> float:
    """The area of a box on the ellipsoid."""
    ring = shapely.segmentize(shapely.box(*grid.bounds_of(box)), box.shape[0] * grid.resolution / 20).exterior
    to_degrees = pyproj.Transformer.from_crs(grid.crs, geographic_crs(grid.crs), always_xy=True)
    lons, lats = to_degrees.transform(*np.asarray(ring.coords).T)
    return abs(pyproj.CRS.from_user_input(grid.crs).get_geod().polygon_area_perimeter(lons, lats)[0]) / 1e6


@pytest.mark.parametrize(("crs", "lon", "lat"), CASES)
def test_pixels_are_as_large_as_on_the_ground(crs, lon, lat):
    grid = square(crs, lon, lat)
    box = grid.extent
    truth = polygon_km2(grid, box)
    assert np.broadcast_to(pixel_km2(grid, box), box.shape).sum() == pytest.approx(truth, rel=EXACT)
    assert mean_pixel_km2(grid, box) * math.prod(box.shape) == pytest.approx(truth, rel=EXACT)
    assert geometry_km2(shapely.box(*grid.bounds_of(box)), crs) == pytest.approx(truth, rel=EXACT)
    corner = PixelBox.at(box.row_start, box.col_start, shape=(20, 20))
    assert np.broadcast_to(pixel_km2(grid, corner), (20, 20)).sum() == pytest.approx(
        polygon_km2(grid, corner), rel=1e-5
    )


@pytest.mark.parametrize("metres", [0.1, 1, 100, 1000, 20_000])
@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:3995", "ESRI:54009"])
def test_pixels_of_any_size_have_their_area(crs, metres):
    grid = square(crs, 10, 62, metres=metres, n_pixels=40)
    truth = polygon_km2(grid, grid.extent)
    assert pixel_km2(grid, grid.extent).sum() == pytest.approx(truth, rel=1e-4)


@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:32633", "EPSG:4326"])
def test_a_pixel_has_one_area_in_every_box(crs):
    grid = square(crs, 15, 48)
    box = grid.extent
    part = PixelBox.at(box.row_start + 70, box.col_start + 131, shape=(33, 5))
    areas = np.broadcast_to(pixel_km2(grid, box), box.shape)
    inside = areas[part.slices_in(box)]
    assert np.allclose(np.broadcast_to(pixel_km2(grid, part), part.shape), inside, rtol=1e-12, atol=0)


def test_a_grid_over_the_pole_and_one_over_180_degrees_have_their_areas():
    pole = Grid(crs="EPSG:3995", resolution=100, extent=PixelBox.at(-100, -100, shape=(200, 200)))
    ring = polygon_km2(pole, PixelBox.at(20, 20, shape=(80, 80))) / 6400
    assert pixel_km2(pole, pole.extent).mean() == pytest.approx(ring, rel=1e-3)
    over = square("EPSG:32601", -179.99, 65, n_pixels=400)
    across = PixelBox.at(over.extent.row_start, over.extent.col_start - 200, shape=(400, 400))
    assert pixel_km2(over, across).sum() == pytest.approx(polygon_km2(over, across), rel=1e-6)


def test_pixels_beyond_a_projection_are_as_large_as_the_next_ones():
    whole = Grid(crs="ESRI:54009", resolution=100_000, extent=PixelBox.at(-90, -181, shape=(180, 362)))
    areas = pixel_km2(whole, whole.extent)
    assert np.isfinite(areas).all()
    assert areas.min() > 0


@pytest.mark.parametrize(
    ("crs", "lon", "lat", "uniform"),
    [
        ("EPSG:32633", 15, 48, True),
        ("EPSG:3035", 10, 48, True),
        ("EPSG:3857", 10, 48, False),
        ("EPSG:4326", 10, 48, False),
    ],
)
def test_pixels_that_differ_are_told_from_equal_ones(crs, lon, lat, uniform):
    assert is_uniform(square(crs, lon, lat, n_pixels=8000)) == uniform


def test_a_pixel_has_the_size_it_is_named_after_where_that_is_true():
    assert pixel_metres(square("EPSG:32633", 15, 48)) == (10, 10)
    assert pixel_metres(square("EPSG:3857", 10, 60)) == pytest.approx((5.01, 5.01), abs=0.02)
    assert pixel_metres(square("EPSG:2263", -74, 40.7)) == pytest.approx((10, 10))


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:3857", "EPSG:4326", "ESRI:54009"])
def test_many_boxes_have_the_areas_of_each_and_ask_the_projection_seldom(
    crs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolution = 0.001 if crs == "EPSG:4326" else 1000.0
    grid = Grid(crs=crs, resolution=resolution, extent=PixelBox.at(-6000, 0, shape=(4000, 40_000)))
    # The last ones lie beyond the world of Mollweide's projection.
    boxes = [PixelBox.at(row, col, shape=(64, 80)) for row in range(-6000, -4000, 200) for col in range(0, 40_000, 900)]
    each = [ground.mean_pixel_km2(grid, box) for box in boxes]
    asked: list[int] = []
    real = ground.transformer
    monkeypatch.setattr(ground, "transformer", lambda *crs_pair: asked.append(1) or real(*crs_pair))
    assert ground.mean_pixels_km2(grid, boxes) == pytest.approx(each, rel=1e-13)
    assert all(area > 0 for area in each)
    assert len(asked) <= 4
    assert ground.mean_pixels_km2(grid, []) == []
