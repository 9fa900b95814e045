"""How much ground the pixels of a grid cover: square metres where the CRS is projected, by latitude where it is not."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pyproj
import shapely

from tilewright.tasks.grid.crs import is_geographic, metres_per_unit

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

    from tilewright.tasks.grid.grid import Grid


LONGEST_DEGREE = 111_700.0
"""Metres: no degree is longer. Source: WGS 84, a degree of latitude at the poles is 111 694 m."""

EDGE_SEGMENTS = 64
"""Pieces into which an area's longest side is cut, as where it is projected: its edges follow parallels."""


def pixel_metres(grid: Grid) -> tuple[float, float]:
    """(height, width) of a pixel on the ground in metres, in the middle of the grid's area."""
    if not is_geographic(grid.crs):
        side = grid.resolution * metres_per_unit(grid.crs)
        return side, side
    west, south, _, north = grid.bounds_of(grid.area)
    geod = pyproj.CRS.from_user_input(grid.crs).get_geod()
    assert geod is not None, "a geographic CRS has an ellipsoid"
    middle, half = (south + north) / 2, grid.resolution / 2
    height = geod.inv(west, middle - half, west, middle + half)[2]
    width = geod.inv(west - half, middle, west + half, middle)[2]
    return float(height), float(width)


def row_km2(grid: Grid, rows: range) -> np.ndarray:
    """Area of one pixel in each of the absolute rows, (n_rows,) float64 in km2.

    Source: J. P. Snyder, Map Projections (1987), equations 3-12 and 3-15: the zone between two parallels.
    """
    if not is_geographic(grid.crs):
        return np.full(len(rows), (grid.resolution * metres_per_unit(grid.crs) / 1000) ** 2)
    ellipsoid = pyproj.CRS.from_user_input(grid.crs).ellipsoid
    assert ellipsoid is not None, "a geographic CRS has an ellipsoid"
    flat = (ellipsoid.semi_minor_metre / ellipsoid.semi_major_metre) ** 2
    edges = np.clip(-np.arange(rows.start, rows.stop + 1) * grid.resolution, -90, 90)
    zones = _zone(np.sin(np.radians(edges)), eccentricity=math.sqrt(1 - flat))
    areas: np.ndarray = (zones[:-1] - zones[1:]) * math.radians(grid.resolution) / 2
    return areas * (ellipsoid.semi_major_metre / 1000) ** 2


def geometry_km2(geometry: BaseGeometry, crs: str) -> float:
    """Area of a geometry in a CRS, in km2."""
    if not is_geographic(crs):
        return float(geometry.area) * (metres_per_unit(crs) / 1000) ** 2
    minx, miny, maxx, maxy = geometry.bounds
    dense = shapely.segmentize(geometry, max(maxx - minx, maxy - miny) / EDGE_SEGMENTS)
    geod = pyproj.CRS.from_user_input(crs).get_geod()
    assert geod is not None, "a geographic CRS has an ellipsoid"
    # Signed by the way round that each ring is drawn.
    return float(geod.geometry_area_perimeter(shapely.orient_polygons(dense))[0]) / 1e6


def _zone(sine: np.ndarray, *, eccentricity: float) -> np.ndarray:
    """Snyder's q of the sine of a latitude: twice it on a sphere."""
    if eccentricity == 0:
        return 2 * sine
    inside = eccentricity * sine
    bent: np.ndarray = sine / (1 - inside**2) + np.arctanh(inside) / eccentricity
    return (1 - eccentricity**2) * bent
