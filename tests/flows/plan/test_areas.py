"""Areas smaller than a pixel and caps around a pole, from the job to the mask, counted by centres of pixels."""

from __future__ import annotations

import numpy as np
import pytest
from pyproj import Transformer
from shapely.geometry import box

from tests.support.graphs import pointwise
from tests.support.worlds import COL, CRS, ROW, World, write_card
from tilewright.flows.job.areas.area import read_area
from tilewright.flows.job.job import JobError, make_job
from tilewright.flows.plan.make import plan_job
from tilewright.tasks.grid.area_mask import area_mask, n_inside
from tilewright.tasks.grid.cells import PreparedArea
from tilewright.tasks.grid.grid import plan_grid, project_area

LEFT, TOP = COL * 10.0, -ROW * 10.0
"""A corner of four pixels; their centres lie 5 m beside and below it."""


def outline(*corners: tuple[float, float]) -> str:
    """WKT of a polygon given in metres from the world's corner."""
    places = [(LEFT + 200 + x, TOP - 200 + y) for x, y in (*corners, corners[0])]
    return f"SRID={CRS[5:]};POLYGON(({', '.join(f'{x} {y}' for x, y in places)}))"


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path / "world")
    for band in ("red", "nir"):
        made.add(np.full((64, 64), 0.5, np.float32), band, unit="reflectance")
    return made


def job_over(world, folder, area, **grid):
    card = write_card(
        folder / "card",
        pointwise(),
        inputs=[{"name": "x", "bands": ["red", "nir"]}],
        outputs=[{"name": "y", "tw:layers": ["one", "two"]}],
    )
    plain = {
        "area": area,
        "period": "2023-06",
        "source": world.source,
        "model": str(card),
        "grid": {"crs": CRS, **grid},
    }
    return make_job(plain, base=folder)


@pytest.mark.parametrize(
    "corners",
    [
        [(-2, -2), (2, -2), (0, 2)],
        [(-4.9, -4.9), (4.9, -4.9), (4.9, 4.9), (-4.9, 4.9)],
        [(-100, -1), (100, -1), (100, 1), (-100, 1)],
        [(5.5, 5.5), (14.5, 5.5), (14.5, 14.5), (5.5, 14.5)],
        [(1, 1), (1.001, 1), (1.001, 1.001)],
    ],
)
def test_an_area_between_the_centres_of_pixels_is_refused(world, tmp_path, corners):
    with pytest.raises(
        JobError, match=r"area: it holds no pixel's centre of the grid of 10 m, so nothing would be mapped"
    ):
        plan_job(job_over(world, tmp_path, outline(*corners)))


@pytest.mark.parametrize(
    ("corners", "n"),
    [
        ([(4, 4), (6, 4), (6, 6), (4, 6)], 1),
        ([(-5.5, -5.5), (5.5, -5.5), (5.5, 5.5), (-5.5, 5.5)], 4),
        ([(-96, 4), (96, 4), (96, 6), (-96, 6)], 20),
    ],
)
def test_an_area_that_holds_a_centre_is_mapped_there(world, tmp_path, corners, n):
    raster = plan_job(job_over(world, tmp_path, outline(*corners))).raster
    assert n_inside(raster.grid, raster.area) == n


def test_an_area_outside_the_bounds_of_the_grid_is_refused(world, tmp_path):
    bounds = [LEFT + 500, TOP - 600, LEFT + 600, TOP - 500]
    with pytest.raises(JobError, match="move grid.bounds if they miss the area"):
        plan_job(job_over(world, tmp_path, outline((0, 0), (50, 0), (50, 50)), bounds=bounds))


@pytest.mark.parametrize(
    ("crs", "area", "latitude"),
    [
        ("EPSG:3413", "-180,82,180,90", 82),
        ("EPSG:3031", "-180,-90,180,-75", -75),
        ("EPSG:5041", "POLYGON((-180 86, 0 86, 180 86, 180 90, 0 90, -180 90, -180 86))", 86),
        ("EPSG:3976", "POLYGON((0 -90, 180 -90, 180 -80, 0 -80, 0 -90))", -80),
        ("EPSG:3995", "POLYGON((180 84, 90 84, -180 84, -180 90, 180 90, 180 84))", 84),
    ],
)
def test_a_cap_around_a_pole_has_neither_slit_nor_hole(crs, area, latitude):
    aoi = read_area(area).geometry
    grid = plan_grid(aoi, crs=crs, resolution=20_000)
    mask = area_mask(grid, grid.extent, PreparedArea(project_area(aoi, grid.crs)))
    rows, cols = np.indices(mask.shape) + 0.5
    west, _, _, north = grid.bounds_of(grid.extent)
    lon, lat = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(west + cols * 2e4, north - rows * 2e4)
    right = (np.abs(lat) > abs(latitude)) & (lat * latitude > 0)
    if aoi.bounds[0] == 0:
        right &= lon > 0
    # A parallel between two of its corners is drawn as a chord: one pixel at its edge may differ.
    nearly = np.abs(np.abs(lat) - abs(latitude)) < 0.02
    assert right.sum() > 1000
    assert (mask == right)[~nearly].all()


def test_a_polar_box_of_a_map_is_the_box_again():
    outlined = box(-600_000, -600_000, 600_000, 600_000)
    aoi = read_area(f"SRID=3995;{outlined.wkt}").geometry
    grid = plan_grid(aoi, crs="EPSG:3995", resolution=20_000)
    assert grid.extent.shape == (60, 60)
    assert area_mask(grid, grid.extent, PreparedArea(project_area(aoi, grid.crs))).all()
