"""Footprints in EPSG:4326: valid, split at 180 degrees; bounds, centre and solar day that respect the antimeridian."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from shapely import affinity
from shapely.geometry import MultiPolygon, Polygon, box, mapping, shape

from tilewright.catalogs.errors import CatalogError

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry


WORLD = box(-180, -90, 180, 90)

EAST = box(180, -90, 540, 90)

WEST = box(-540, -90, -180, 90)

MOST_CROSSINGS = 2000
"""Of a footprint with itself, edges that parts share counted in. Those that producers publish by mistake have a few."""

MOST_CORNERS = 10_000
"""Of a footprint that crosses itself. Those that cross themselves by mistake have a few hundred."""

PAIRS_AT_ONCE = 200_000
"""Pairs of edges that are looked at together: each edge may cross every other one."""


def footprint_of(geometry: Mapping[str, Any] | None, bbox: Sequence[float] | None) -> BaseGeometry:
    """The footprint in EPSG:4326 as a valid polygon or multipolygon within +-180 degrees.

    Longitudes beyond +-180 cross the antimeridian, as do a bounding box with minx > maxx and a polygon that spans more
    than 180 degrees with all corners beyond +-90. Without a geometry the bounding box is used.

    Raises:
        CatalogError: the geometry is not GeoJSON or has no area, or there is neither a geometry nor a bounding box.
    """
    if geometry:
        try:
            parsed = shapely.force_2d(shape(geometry))
        except Exception as error:  # shapely raises half a dozen kinds for foreign JSON
            raise CatalogError("its geometry is not GeoJSON") from error
        return _split_at_antimeridian(parsed)
    if bbox is None or len(bbox) not in {4, 6}:
        raise CatalogError("it has neither a geometry nor a bbox")
    minx, miny, maxx, maxy = (float(number) for number in (bbox if len(bbox) == 4 else (*bbox[:2], *bbox[3:5])))
    return _split_at_antimeridian(box(minx, miny, maxx + 360 if minx > maxx else maxx, maxy))


def longitudes_of(minx: float, maxx: float) -> list[tuple[float, float]]:
    """The longitudes from a box's west to its east within -180..180, in one piece or two.

    A box may cross the antimeridian as minx > maxx, and leave -180..180 (0 to 360 is how some write longitudes).
    """
    east = maxx + 360 if minx > maxx else maxx
    turned = ((max(minx + turn, -180.0), min(east + turn, 180.0)) for turn in (-720, -360, 0, 360, 720))
    return [(first, last) for first, last in turned if first <= last]


def bounds_of(footprint: BaseGeometry) -> tuple[float, float, float, float]:
    """(minx, miny, maxx, maxy) in degrees, with minx > maxx if the footprint crosses the antimeridian."""
    minx, miny, maxx, maxy = footprint.bounds
    if crosses_antimeridian(footprint):
        parts = [part.bounds for part in footprint.geoms]
        minx = min(part[0] for part in parts if part[0] >= 0)
        maxx = max(part[2] for part in parts if part[2] <= 0)
    return (minx, miny, maxx, maxy)


def crosses_antimeridian(footprint: BaseGeometry) -> bool:
    """True for a footprint whose parts touch 180 degrees from both sides, each within one hemisphere (east or west)."""
    if not isinstance(footprint, MultiPolygon) or footprint.bounds[0] > -180 or footprint.bounds[2] < 180:
        return False
    return all(part.bounds[0] >= 0 or part.bounds[2] <= 0 for part in footprint.geoms)


def centre_longitude(footprint: BaseGeometry) -> float:
    """Longitude of the footprint's centroid in degrees, -180 to 180."""
    if crosses_antimeridian(footprint):
        footprint = shapely.union_all([_shifted_east(part) for part in footprint.geoms])
    longitude = float(footprint.centroid.x)
    return longitude - 360 if longitude > 180 else longitude


def solar_day(moment: datetime, footprint: BaseGeometry) -> str:
    """ISO date in local solar time (UTC plus longitude / 15 hours) at the footprint's centre."""
    return (moment + timedelta(hours=centre_longitude(footprint) / 15)).date().isoformat()


def to_geojson(footprint: BaseGeometry) -> dict[str, Any]:
    """The geometry as GeoJSON with lists instead of tuples, so that it equals itself after JSON is written and read."""
    return _lists(mapping(footprint))


def _split_at_antimeridian(geometry: BaseGeometry) -> BaseGeometry:
    parts = [_across_antimeridian(part) for part in _polygons(_polygonal(geometry))]
    pieces: list[BaseGeometry] = []
    for part in parts:
        pieces += [
            part.intersection(WORLD),
            affinity.translate(part.intersection(EAST), xoff=-360),
            affinity.translate(part.intersection(WEST), xoff=360),
        ]
    merged = _polygonal(shapely.union_all([piece for piece in pieces if piece.area > 0]))
    if merged.is_empty:
        raise CatalogError("its footprint is empty")
    return merged


def _across_antimeridian(part: Polygon) -> BaseGeometry:
    """The polygon with longitudes of 0 to 360 if it crosses the antimeridian, else the polygon unchanged.

    A polygon crosses if it spans more than 180 degrees although all its corners lie beyond +-90 degrees; a box around
    the whole world does not count.
    """
    distances = [abs(x) for x, _ in part.exterior.coords]
    minx, _, maxx, _ = part.bounds
    wraps = maxx - minx > 180 and min(distances) > 90 and max(distances) <= 180 and set(distances) != {180.0}
    return _polygonal(_shifted_east(part)) if wraps else part


def _shifted_east(part: Polygon) -> BaseGeometry:
    def east(coordinates: Any) -> Any:
        moved = coordinates.copy()
        moved[:, 0] = [x + 360 if x < 0 else x for x in moved[:, 0]]
        return moved

    return shapely.transform(part, east)


def _polygonal(geometry: BaseGeometry) -> BaseGeometry:
    """The polygons of the geometry, made valid; points and lines are dropped.

    Raises:
        CatalogError: none is left, or they cross themselves too often to be mended in a moment.
    """
    if not geometry.is_valid:
        _check_crossings(geometry)
    polygons = _polygons(geometry if geometry.is_valid else shapely.make_valid(geometry))
    if not polygons:
        raise CatalogError("its geometry has no area")
    return polygons[0] if len(polygons) == 1 else MultiPolygon(polygons)


def _check_crossings(geometry: BaseGeometry) -> None:
    """Do nothing if the edges of a geometry cross or overlap each other at most MOST_CROSSINGS times.

    Mending takes time and makes corners by their square: a star of 10 000 corners has millions.
    """
    if shapely.get_num_coordinates(geometry) > MOST_CORNERS:
        raise CatalogError(f"its geometry crosses itself and has more than {MOST_CORNERS} corners")
    rings = shapely.get_rings(_polygons(geometry))
    corners, ring_of = shapely.get_coordinates(rings, return_index=True)
    inner = ring_of[1:] == ring_of[:-1]
    edges = shapely.linestrings(np.stack([corners[:-1][inner], corners[1:][inner]], axis=1))
    tree, n_crossings = shapely.STRtree(edges), 0
    n_edges = max(1, PAIRS_AT_ONCE // len(edges))
    for start in range(0, len(edges), n_edges):
        some = edges[start : start + n_edges]
        ours, theirs = tree.query(some)
        later = theirs > ours + start
        one, other = some[ours[later]], edges[theirs[later]]
        n_crossings += int((shapely.intersects(one, other) & ~shapely.touches(one, other)).sum())
        if n_crossings > MOST_CROSSINGS:
            raise CatalogError(f"its geometry crosses itself more than {MOST_CROSSINGS} times")


def _polygons(geometry: BaseGeometry) -> list[Polygon]:
    if isinstance(geometry, Polygon):
        return [] if geometry.is_empty else [geometry]
    return [polygon for part in getattr(geometry, "geoms", ()) for polygon in _polygons(part)]


def _lists(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _lists(entry) for key, entry in value.items()}
    return [_lists(entry) for entry in value] if isinstance(value, list | tuple) else value
