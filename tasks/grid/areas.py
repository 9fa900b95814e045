"""Sizes of pixels and geometries on the ground, in metres and km2, and the share of an area that footprints cover."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pyproj
import shapely

from tilewright.tasks.grid.cells import PreparedArea
from tilewright.tasks.grid.crs import geographic_crs, is_geographic, metres_per_unit, transformer
from tilewright.tasks.grid.grid import EDGE_SEGMENTS
from tilewright.tasks.grid.ground import mean_pixel_km2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shapely.geometry.base import BaseGeometry

    from tilewright.tasks.grid.grid import Grid


EDGE_SHARE = 5e-4
"""The share of an area below which a gap is one of straight edges, not one of scenes."""

NOMINAL = 0.01
"""Share by which the side of a pixel may differ from its name: by less than 0.5 % in a UTM zone and its neighbours."""

MAX_METRES_PER_DEGREE = 111_700.0
"""Metres; an upper bound for one degree. Source: WGS 84, a degree of latitude at the poles is 111 694 m."""


def pixel_metres(grid: Grid) -> tuple[float, float]:
    """(height, width) of a pixel on the ground in metres, in the middle of the grid's area.

    A projected pixel counts as a square, and as large as it is named where that is true to `NOMINAL`.
    """
    if not is_geographic(grid.crs):
        named = grid.resolution * metres_per_unit(grid.crs)
        side = 1000 * math.sqrt(mean_pixel_km2(grid, grid.extent))
        return (named, named) if abs(side / named - 1) < NOMINAL else (side, side)
    west, south, _, north = grid.bounds_of(grid.extent)
    geod = pyproj.CRS.from_user_input(grid.crs).get_geod()
    assert geod is not None, "a geographic CRS has an ellipsoid"
    middle, half = (south + north) / 2, grid.resolution / 2
    height = geod.inv(west, middle - half, west, middle + half)[2]
    width = geod.inv(west - half, middle, west + half, middle)[2]
    return float(height), float(width)


def mean_pixel_metres(grid: Grid) -> float:
    """The side in metres of a square as large as a pixel of the grid."""
    return math.sqrt(math.prod(pixel_metres(grid)))


def geometry_km2(geometry: BaseGeometry, crs: str) -> float:
    """The area on the ground of a geometry in ``crs``, in km2.

    That of the plane where a part lies beyond what the projection can show.
    """
    minx, miny, maxx, maxy = geometry.bounds
    dense = shapely.segmentize(geometry, max(maxx - minx, maxy - miny) / EDGE_SEGMENTS)
    parsed = pyproj.CRS.from_user_input(crs)
    geod = parsed.get_geod()
    assert geod is not None, "a CRS of the ground has an ellipsoid"
    if not is_geographic(crs):
        to_degrees = transformer(crs, geographic_crs(crs))
        dense = shapely.transform(dense, to_degrees.transform, interleaved=False)
        if not np.isfinite(dense.bounds).all():
            return float(geometry.area) * (metres_per_unit(crs) / 1000) ** 2
    # The sign of the area depends on the orientation of each ring.
    return float(geod.geometry_area_perimeter(shapely.orient_polygons(dense))[0]) / 1e6


def covered_share(area: BaseGeometry, footprints: Sequence[BaseGeometry]) -> float:
    """The share (0-1) of an area that the footprints cover together, all in EPSG:4326 and split at 180 degrees.

    A share that differs from the whole by less than edges drawn straight in degrees differ from straight ones on the
    ground counts as the whole.
    """
    # The same granule has the same outline on most days.
    distinct = {footprint.wkb: footprint for footprint in footprints}
    outlines = np.array(list(distinct.values()), dtype=object)
    whole = shapely.transform(area, _equal_area).area
    touching = outlines[PreparedArea(area).touched(outlines)] if len(outlines) else outlines
    if not len(touching) or whole == 0:
        return 0.0
    # Joined before they are cut to the area, which may have far more corners than they have together.
    covered = shapely.union_all(touching).intersection(area)
    share = float(shapely.transform(covered, _equal_area).area / whole)
    return 1.0 if share > 1 - EDGE_SHARE else share


def _equal_area(degrees: np.ndarray) -> np.ndarray:
    """Degrees as Lambert's cylindrical equal-area coordinates. Source: Snyder (1987), equation 10-8, on the sphere."""
    return np.column_stack([degrees[:, 0], np.degrees(np.sin(np.radians(degrees[:, 1])))])
