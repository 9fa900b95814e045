"""The extents of rasters, and how far one reaches beyond another."""

from __future__ import annotations

import math
from functools import lru_cache

from affine import Affine

from tilewright.tasks.grid.crs import is_geographic, metres_per_unit, same_crs, transformer

Placed = tuple[str, tuple[int, int], tuple[float, ...]]
"""(CRS, (height, width), the six numbers a b c d e f of the transform) of a raster."""

EDGE_POINTS = 21
"""Points per edge of a rectangle that are projected to find its extent in another CRS."""

SLACK_PIXELS = 2.0
"""Pixels by which a raster may reach beyond another and still lie in it."""

EDGE_SHARE = 0.001
"""The same as a share of its side, for the curvature of edges in another CRS."""

MOST_DEGREES = 720.0
"""Coordinate up to which a raster in degrees may reach: some count longitudes on beyond 180 or 360."""

LEAST_METRES = 1e-3
"""Side of a pixel below which the coordinates of a projected CRS are degrees."""


@lru_cache(maxsize=4096)
def no_place(crs: str, shape: tuple[int, int], numbers: tuple[float, ...]) -> str | None:
    """The reason why a geotransform, a to f of an affine, gives a file no place in its CRS, None if it does."""
    transform = Affine(*numbers)
    if not all(map(math.isfinite, numbers)):
        return f"the file's geotransform {numbers} has numbers that are not finite, so it has no place on the Earth"
    if is_geographic(crs):
        most = max(map(abs, bounds_of(shape, transform)))
        return f"the file's CRS is in degrees, and it reaches to {most:g}" if most > MOST_DEGREES else None
    side = math.sqrt(abs(transform.determinant)) * metres_per_unit(crs)
    said = f"the file's CRS is projected, and its pixels are {side:g} m wide, as if its coordinates were degrees"
    return said if side < LEAST_METRES else None


def bounds_of(shape: tuple[int, int], transform: Affine) -> tuple[float, float, float, float]:
    """(minx, miny, maxx, maxy) of a raster of any orientation in its own CRS."""
    height, width = shape
    xs, ys = zip(*(transform * corner for corner in ((0, 0), (width, 0), (0, height), (width, height))), strict=True)
    return min(xs), min(ys), max(xs), max(ys)


@lru_cache(maxsize=4096)
def beyond(one: Placed, other: Placed) -> float:
    """The pixels of `one` by which it reaches beyond `other`, 0 where it lies within it as far as the slack goes.

    Infinite where it cannot be said: `one` has no place in the CRS of `other`.
    """
    (crs, shape, numbers), (other_crs, other_shape, other_numbers) = one, other
    bounds, allowed = bounds_of(shape, Affine(*numbers)), bounds_of(other_shape, Affine(*other_numbers))
    share = 0.0
    if not same_crs(crs, other_crs):
        bounds, share = transformer(crs, other_crs).transform_bounds(*bounds, densify_pts=EDGE_POINTS), EDGE_SHARE
    if not all(map(math.isfinite, bounds)) or bounds[0] > bounds[2]:
        return math.inf
    sides = [bounds[2] - bounds[0], bounds[3] - bounds[1]]
    pixel = math.sqrt(sides[0] * sides[1] / (shape[0] * shape[1]))
    over = max(allowed[0] - bounds[0], allowed[1] - bounds[1], bounds[2] - allowed[2], bounds[3] - allowed[3])
    return over / pixel if over > SLACK_PIXELS * pixel + share * max(sides) else 0.0
