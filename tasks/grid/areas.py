"""Ground areas of pixels and geometries: from the unit of a projected CRS, or by latitude in a geographic one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pyproj
import shapely

from tilewright.tasks.grid.crs import is_geographic, metres_per_unit
from tilewright.tasks.grid.grid import EDGE_SEGMENTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shapely.geometry.base import BaseGeometry

    from tilewright.tasks.grid.grid import Grid


EDGE_SHARE = 5e-4
"""The share of an area below which a gap is one of straight edges, not one of scenes."""

MAX_METRES_PER_DEGREE = 111_700.0
"""Metres; an upper bound for one degree. Source: WGS 84, a degree of latitude at the poles is 111 694 m."""


def pixel_metres(grid: Grid) -> tuple[float, float]:
    """(height, width) of a pixel on the ground in metres, in the middle of the grid's area."""
    if not is_geographic(grid.crs):
        side = grid.resolution * metres_per_unit(grid.crs)
        return side, side
    west, south, _, north = grid.bounds_of(grid.extent)
    geod = pyproj.CRS.from_user_input(grid.crs).get_geod()
    assert geod is not None, "a geographic CRS has an ellipsoid"
    middle, half = (south + north) / 2, grid.resolution / 2
    height = geod.inv(west, middle - half, west, middle + half)[2]
    width = geod.inv(west - half, middle, west + half, middle)[2]
    return float(height), float(width)


def row_km2(grid: Grid, rows: range) -> np.ndarray:
    """The area of one pixel in each of the absolute ``rows``, (n_rows,) float64 in km2.

    Source: J. P. Snyder, Map Projections (1987), equations 3-12 and 3-15: the zone between two parallels.
    """
    if not is_geographic(grid.crs):
        return np.full(len(rows), (grid.resolution * metres_per_unit(grid.crs) / 1000) ** 2)
    ellipsoid = pyproj.CRS.from_user_input(grid.crs).ellipsoid
    assert ellipsoid is not None, "a geographic CRS has an ellipsoid"
    axis_ratio_squared = (ellipsoid.semi_minor_metre / ellipsoid.semi_major_metre) ** 2
    edges = np.clip(-np.arange(rows.start, rows.stop + 1) * grid.resolution, -90, 90)
    zones = _zone(np.sin(np.radians(edges)), eccentricity=math.sqrt(1 - axis_ratio_squared))
    areas: np.ndarray = (zones[:-1] - zones[1:]) * math.radians(grid.resolution) / 2
    return areas * (ellipsoid.semi_major_metre / 1000) ** 2


def geometry_km2(geometry: BaseGeometry, crs: str) -> float:
    """The area of a geometry in ``crs``, in km2."""
    if not is_geographic(crs):
        return float(geometry.area) * (metres_per_unit(crs) / 1000) ** 2
    minx, miny, maxx, maxy = geometry.bounds
    dense = shapely.segmentize(geometry, max(maxx - minx, maxy - miny) / EDGE_SEGMENTS)
    geod = pyproj.CRS.from_user_input(crs).get_geod()
    assert geod is not None, "a geographic CRS has an ellipsoid"
    # The sign of the area depends on the orientation of each ring.
    return float(geod.geometry_area_perimeter(shapely.orient_polygons(dense))[0]) / 1e6


def covered_share(area: BaseGeometry, footprints: Sequence[BaseGeometry]) -> float:
    """The share (0-1) of an area that the footprints cover together, all in EPSG:4326 and split at 180 degrees.

    A share that differs from the whole by less than edges drawn straight in degrees differ from straight ones on the
    ground counts as the whole.
    """
    touching = [footprint.intersection(area) for footprint in footprints if footprint.intersects(area)]
    whole = shapely.transform(area, _equal_area).area
    if not touching or whole == 0:
        return 0.0
    share = float(shapely.transform(shapely.union_all(touching), _equal_area).area / whole)
    return 1.0 if share > 1 - EDGE_SHARE else share


def _equal_area(degrees: np.ndarray) -> np.ndarray:
    """Degrees as Lambert's cylindrical equal-area coordinates. Source: Snyder (1987), equation 10-8, on the sphere."""
    return np.column_stack([degrees[:, 0], np.degrees(np.sin(np.radians(degrees[:, 1])))])


def _zone(sine: np.ndarray, *, eccentricity: float) -> np.ndarray:
    """Snyder's q (equation 3-12) of the sine of a latitude; twice the sine on a sphere."""
    if eccentricity == 0:
        return 2 * sine
    scaled = eccentricity * sine
    total: np.ndarray = sine / (1 - scaled**2) + np.arctanh(scaled) / eccentricity
    return (1 - eccentricity**2) * total
