"""Outlines in any CRS as one area in EPSG:4326, cut at 180 degrees; each is checked before it is used."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pyproj
import shapely
from shapely import affinity
from shapely.geometry import Point, Polygon
from shapely.lib import GEOSException
from shapely.validation import explain_validity

from tilewright.catalogs.footprint import WORLD
from tilewright.catalogs.items.bands import is_of_earth

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry

DEGREES = pyproj.CRS.from_epsg(4326)

MOST_BOW = 0.5
"""Metres by which an edge in degrees may leave the straight edge of a projected outline; it is halved until it fits."""

EDGE_SEGMENTS, MOST_HALVINGS, MOST_CORNERS = 8, 16, 500_000
"""Segments of the longest side before any is halved, rounds of halving, and corners of a ring after them."""

WIDEST_ACROSS, TALLEST_ACROSS = 60.0, 3.0
"""A ring with an edge of more than 180 degrees is read as crossing 180 degrees if it is then at most so many degrees
wide, and at most so many times as tall: a ring around most of the world is its narrow rest otherwise."""

AT_POLE = 90 - 1e-9

LEAST_WIDTH = 1e-10
"""Degrees; narrower slivers at 180 degrees are the rounding of an edge that lies on it."""

METRES_PER_DEGREE = 111_320.0
"""Source: WGS 84, a degree of longitude at the equator."""


class AreaError(ValueError):
    """An area that is refused; the message says what was given and what is expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """A geometry as it was found, None for a feature without one, and its CRS; None: longitude, latitude on WGS 84."""

    geometry: BaseGeometry | None
    crs: pyproj.CRS | None = None


def crs_of(named: object) -> pyproj.CRS:
    """The CRS that a code, a URN, WKT or PROJJSON names. Raises AreaError for one that is unknown or has no map."""
    try:
        crs = pyproj.CRS.from_user_input(named)
    except (pyproj.exceptions.CRSError, TypeError, ValueError, RecursionError) as error:
        raise AreaError(f"its crs {str(named)[:80]!r} is not known: reproject the outlines to EPSG:4326.") from error
    if not (crs.is_projected or crs.is_geographic):
        raise AreaError(f"its crs {crs.name!r} has no map coordinates: reproject the outlines to EPSG:4326.")
    if not is_of_earth(crs.to_wkt()):
        raise AreaError(f"its crs {crs.name!r} is of another body than the Earth: give the outlines in EPSG:4326.")
    return crs


def joined(outlines: Sequence[Outline]) -> BaseGeometry:
    """The union of the outlines' polygons as a Polygon or MultiPolygon in EPSG:4326, cut at 180 degrees.

    Heights and measures are dropped, collections taken apart; null and empty geometries have no place and are left out
    (`n_without_place` counts them).

    Raises AreaError if nothing is left, and for points, lines, and polygons that are invalid or without an extent.
    """
    found = [part for outline in outlines for part in _areas(outline)]
    if not found:
        given = "no geometry" if outlines else "no feature"
        raise AreaError(f"there is {given} in it, or only null and empty ones: give at least one polygon.")
    return _union(found)


def _union(found: Sequence[BaseGeometry]) -> BaseGeometry:
    """The union of at least one geometry, each valid."""
    # The plain union of 100 000 parts that do not touch takes 150 times as long.
    return shapely.disjoint_subset_union_all(found) if len(found) > 1 else found[0]


def n_without_place(outlines: Sequence[Outline]) -> int:
    """The number of outlines without a geometry or with an empty one, members of collections counted one by one."""
    return sum(_n_empty(outline.geometry) for outline in outlines)


def _n_empty(geometry: BaseGeometry | None) -> int:
    if geometry is not None and geometry.geom_type == "GeometryCollection" and len(geometry.geoms):
        return sum(map(_n_empty, geometry.geoms))
    return int(geometry is None or geometry.is_empty)


def _areas(outline: Outline) -> Iterator[BaseGeometry]:
    """Each of an outline's polygons and multipolygons in EPSG:4326."""
    for geometry in _flattened(outline.geometry):
        given = list(shapely.get_parts(geometry))
        parts = [_in_degrees(part, outline.crs) for part in given]
        area = _union(parts)
        if area.area < sum(part.area for part in parts) * (1 - 1e-9):
            raise AreaError("the MultiPolygon is not valid (its parts overlap): mend it, e.g. with make_valid.")
        # The request of a job holds the outline: corners stay in their order where nothing had to be moved.
        yield geometry if all(one is other for one, other in zip(given, parts, strict=True)) else area


def _flattened(geometry: BaseGeometry | None) -> Iterator[BaseGeometry]:
    if geometry is None or geometry.is_empty:
        return
    if geometry.geom_type == "GeometryCollection":
        for part in geometry.geoms:
            yield from _flattened(part)
    elif geometry.geom_type in {"Polygon", "MultiPolygon"}:
        yield shapely.force_2d(geometry)
    else:
        raise AreaError(f"a {geometry.geom_type} has no area to map: give polygons.")


def _in_degrees(polygon: Polygon, crs: pyproj.CRS | None) -> BaseGeometry:
    if crs is not None and crs.is_projected:
        _check_shape(polygon)
        area = _unprojected(polygon, crs)
    else:
        if crs is not None:
            polygon = shapely.transform(polygon, _to_degrees(crs).transform, interleaved=False)
        _check_globe(polygon)
        area = cut_at_180(polygon)
    _check_shape(area)
    return area


@lru_cache(maxsize=16)
def _to_degrees(crs: pyproj.CRS) -> pyproj.Transformer:
    """The way from a CRS to longitude, latitude; made once for all parts of an area, of which there may be many."""
    return pyproj.Transformer.from_crs(crs, DEGREES, always_xy=True)


def _check_globe(polygon: Polygon) -> None:
    west, south, east, north = polygon.bounds
    if west < -180 or east > 180 or south < -90 or north > 90:
        raise AreaError(
            f"the polygon leaves the globe (x from {west:g} to {east:g}, y from {south:g} to {north:g}): expected "
            "longitude, latitude in degrees, cut at 180 degrees, or a crs that says what these are."
        )


def _check_shape(area: BaseGeometry) -> None:
    if not area.is_valid:
        raise AreaError(f"the polygon is not valid ({explain_validity(area)}): mend it, e.g. with make_valid.")
    if area.is_empty or area.area == 0:
        raise AreaError("the polygon is empty: give one with an extent in both directions.")


def cut_at_180(polygon: Polygon) -> BaseGeometry:
    """The polygon, cut in two if a ring of it jumps across 180 degrees.

    Raises AreaError for an edge of more than 180 degrees that can be read two ways.
    """
    edges = np.abs(np.diff(shapely.get_coordinates(polygon.exterior)[:, 0]))
    wide = edges[edges > 180]
    if wide.size == 0 or ((wide == 360).any() and polygon.is_valid):
        # An edge of 360 degrees goes around the world along a parallel.
        return polygon
    places, turns = _unwrapped(shapely.get_coordinates(polygon.exterior))
    width, height = np.ptp(places, axis=0)
    if turns or width > WIDEST_ACROSS or height > TALLEST_ACROSS * width:
        raise AreaError(
            f"the polygon has an edge of {wide.max():g} degrees of longitude, which can be read two ways: cut it at "
            "180 degrees if it crosses there (or give a box with minx > maxx), else give the edge corners in between; "
            "around a pole, give the box -180,80,180,90 or the like."
        )
    return _regions([(shapely.get_coordinates(ring), 0.0) for ring in _rings(polygon)])


def _unprojected(polygon: Polygon, crs: pyproj.CRS) -> BaseGeometry:
    """The polygon in degrees, with edges that follow those on the map; it may hold a pole or cross 180 degrees."""
    minx, miny, maxx, maxy = polygon.bounds
    coarse = shapely.segmentize(polygon, max(maxx - minx, maxy - miny) / EDGE_SEGMENTS)
    rings = [(_ring_in_degrees(ring, crs), _enclosed_pole(ring, crs)) for ring in _rings(coarse)]
    try:
        return _regions(rings)
    except GEOSException as error:
        raise AreaError(f"the polygon folds where {crs.name!r} meets degrees: reproject it to EPSG:4326.") from error


def _ring_in_degrees(ring: BaseGeometry, crs: pyproj.CRS) -> NDArray[np.float64]:
    """The (lon, lat) of a ring's corners and of as many places between them as its edges need."""
    to_degrees = _to_degrees(crs)
    places = shapely.get_coordinates(ring)
    for _ in range(MOST_HALVINGS):
        middles = (places[:-1] + places[1:]) / 2
        degrees, between = (np.column_stack(to_degrees.transform(*each.T)) for each in (places, middles))
        if not (np.isfinite(degrees).all() and np.isfinite(between).all()):
            raise AreaError(f"the polygon lies outside the domain of its crs {crs.name!r}: check its coordinates.")
        bent = np.flatnonzero(_bows(degrees, between) > MOST_BOW)
        if not bent.size or len(places) > MOST_CORNERS:
            break
        places = np.insert(places, bent + 1, middles[bent], axis=0)
    return np.column_stack(to_degrees.transform(*places.T))


def _bows(degrees: NDArray[np.float64], between: NDArray[np.float64]) -> NDArray[np.float64]:
    """Metres from each edge in degrees to the place that lies in the middle of it on the map."""
    scale = np.column_stack([np.cos(np.radians(between[:, 1])), np.ones(len(between))]) * METRES_PER_DEGREE
    along, aside = np.diff(degrees, axis=0), between - degrees[:-1]
    along[:, 0], aside[:, 0] = ((each[:, 0] + 180) % 360 - 180 for each in (along, aside))
    along, aside = along * scale, aside * scale
    length = np.hypot(*along.T)
    across = np.abs(along[:, 0] * aside[:, 1] - along[:, 1] * aside[:, 0])
    return np.divide(across, length, out=np.zeros_like(length), where=length > 0)


def _rings(polygon: Polygon) -> list[BaseGeometry]:
    return [polygon.exterior, *polygon.interiors]


def _enclosed_pole(ring: BaseGeometry, crs: pyproj.CRS) -> float:
    """The latitude of the pole inside a ring, 0 if there is none."""
    to_map = pyproj.Transformer.from_crs(DEGREES, crs, always_xy=True)
    inside = Polygon(ring)
    for latitude in (90.0, -90.0):
        place = to_map.transform(0.0, latitude)
        if all(map(math.isfinite, place)) and inside.covers(Point(place)):
            return latitude
    return 0.0


def _regions(rings: list[tuple[NDArray[np.float64], float]]) -> BaseGeometry:
    """The inside of the first ring without that of the others, in -180..180; a number is the pole a ring encloses."""
    shell, *holes = [_region(places, pole=pole) for places, pole in rings]
    return shell.difference(shapely.union_all(holes)) if holes else shell


def _region(places: NDArray[np.float64], *, pole: float) -> BaseGeometry:
    """The inside of a closed ring of (lon, lat) whose edges take the short way round."""
    ring, turns = _unwrapped(places)
    if turns:
        latitude = pole or math.copysign(90.0, float(ring[:, 1].mean()))
        ring = np.vstack([ring, [[ring[-1, 0], latitude], [ring[0, 0], latitude]]])
    around = Polygon(ring)
    first, last = (math.floor((edge + 180) / 360) for edge in (around.bounds[0], around.bounds[2]))
    shifted = [affinity.translate(around, xoff=-360.0 * turn) for turn in range(first, last + 1)]
    pieces = [piece for part in shifted for piece in _polygons(part.intersection(WORLD))]
    return pieces[0] if len(pieces) == 1 else shapely.union_all(pieces)


def _unwrapped(places: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """(closed ring with steady longitudes, turns around the pole that it makes); each edge takes the short way."""
    open_ring = places[:-1]
    at_pole = np.abs(open_ring[:, 1]) > AT_POLE
    if at_pole.any() and not at_pole.all():
        # All meridians meet at the pole: it is passed on those of its neighbours.
        pieces = [
            [[open_ring[i - 1, 0], lat], [open_ring[(i + 1) % len(open_ring), 0], lat]] if pole else [[lon, lat]]
            for i, ((lon, lat), pole) in enumerate(zip(open_ring, at_pole, strict=True))
        ]
        open_ring = np.array([place for piece in pieces for place in piece])
    closed = np.vstack([open_ring, open_ring[:1]])
    steps = (np.diff(closed[:, 0]) + 180) % 360 - 180
    longitudes = closed[0, 0] + np.concatenate([[0.0], np.cumsum(steps)])
    return np.column_stack([longitudes, closed[:, 1]]), round(float(steps.sum()) / 360)


def _polygons(geometry: BaseGeometry) -> list[Polygon]:
    parts = shapely.get_parts(geometry)
    return [part for part in parts if part.geom_type == "Polygon" and np.ptp(part.bounds[::2]) > LEAST_WIDTH]
