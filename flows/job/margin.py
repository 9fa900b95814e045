"""The surroundings of an area in which scenes are searched: none is missed, however many parts and corners it has."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import shapely
from shapely.affinity import scale, translate

from tilewright.catalogs.footprint import WORLD

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry

METRES_PER_DEGREE = 110_574.0
"""Length of a degree of latitude at the equator, the shortest on the ellipsoid. Source: WGS 84."""

BUFFER_FACTOR = 1.05
"""Factor on a buffer's distance: buffers are polygons inside their circles, and projected pixels differ from metres."""

MOST_CORNERS = 10_000
"""Corners of an outline that is buffered as it is; the memory that takes grows faster than they do."""

MOST_PARTS = 1000
"""Parts of an area that are buffered as they are; of more, boxes around them, each once."""


def search_area(area: BaseGeometry, *, metres: float) -> BaseGeometry:
    """The area (EPSG:4326) buffered by ``metres``, cut at 180 degrees."""
    parts = shapely.get_parts(area)
    if len(parts) > MOST_PARTS:
        parts = _boxes_around(shapely.bounds(parts), metres / METRES_PER_DEGREE)
    buffered = shapely.union_all([_buffered(part, metres) for part in parts])
    west, south, east, north = buffered.bounds
    if west >= -180 and east <= 180 and south >= -90 and north <= 90:
        return buffered
    around = [translate(buffered, xoff=shift).intersection(WORLD) for shift in (-360.0, 0.0, 360.0)]
    return shapely.union_all([part for part in around if not part.is_empty])


def _boxes_around(bounds: NDArray[np.float64], side: float) -> NDArray[np.object_]:
    """Boxes around those (part, 4) of an area, on a lattice of about this side in degrees or a hundredth of all."""
    side = max(side, float(np.ptp(bounds[:, ::2])) / 100, float(np.ptp(bounds[:, 1::2])) / 100)
    cells = np.hstack([np.floor(bounds[:, :2] / side), np.floor(bounds[:, 2:] / side) + 1])
    outlines = shapely.union_all(shapely.box(*(np.unique(cells, axis=0) * side).T))
    return np.asarray(shapely.get_parts(outlines.intersection(WORLD)))


def _buffered(part: BaseGeometry, metres: float) -> BaseGeometry:
    degrees = metres * BUFFER_FACTOR / METRES_PER_DEGREE
    _, south, _, north = part.bounds
    # Degrees of longitude are shortest at the highest latitude touched; beyond 89 degrees the buffer covers all.
    shrink = math.cos(math.radians(min(89.0, max(abs(south), abs(north)) + degrees)))
    stretched = scale(part, xfact=shrink, yfact=1.0, origin=(0.0, 0.0))
    if shapely.get_num_coordinates(stretched) > MOST_CORNERS:
        # What it loses in corners it gains in width, so that no scene is missed.
        simple = stretched.simplify(degrees / 4)
        spiky = shapely.get_num_coordinates(simple) > MOST_CORNERS
        stretched, degrees = (stretched.convex_hull, degrees) if spiky else (simple, degrees * 5 / 4)
    stretched = stretched.buffer(degrees)
    return scale(stretched, xfact=1.0 / shrink, yfact=1.0, origin=(0.0, 0.0))
