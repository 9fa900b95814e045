"""The area and the ground around it that windows see: what must be searched for scenes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import shapely
from shapely.affinity import scale, translate

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

METRES_PER_DEGREE = 110_574.0
"""Length of a degree of latitude at the equator, the shortest on the ellipsoid. Source: WGS 84."""

SLACK = 1.05
"""Buffers are polygons inside the circles they stand for, and projected pixels differ a little from metres."""

WORLD = shapely.box(-180.0, -90.0, 180.0, 90.0)


def surroundings(area: BaseGeometry, *, metres: float) -> BaseGeometry:
    """The area (EPSG:4326) and all within ``metres`` of it, cut at 180 degrees."""
    grown = shapely.union_all([_grown(part, metres) for part in shapely.get_parts(area)])
    around = [translate(grown, xoff=turn).intersection(WORLD) for turn in (-360.0, 0.0, 360.0)]
    return shapely.union_all([part for part in around if not part.is_empty])


def _grown(part: BaseGeometry, metres: float) -> BaseGeometry:
    degrees = metres * SLACK / METRES_PER_DEGREE
    _, south, _, north = part.bounds
    # Degrees of longitude are shortest at the highest latitude touched; beyond 89 degrees all of them are near.
    narrow = math.cos(math.radians(min(89.0, max(abs(south), abs(north)) + degrees)))
    wide = scale(part, xfact=narrow, yfact=1.0, origin=(0.0, 0.0)).buffer(degrees)
    return scale(wide, xfact=1.0 / narrow, yfact=1.0, origin=(0.0, 0.0))
