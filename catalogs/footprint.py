"""Footprints on the sphere's map: valid, cut at 180 degrees, with a bounding box and a centre that know of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import shapely
from shapely import affinity
from shapely.geometry import MultiPolygon, Polygon, box, mapping, shape

from tilewright.catalogs.errors import CatalogError

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry


WORLD = box(-180, -90, 180, 90)

EAST = box(180, -90, 540, 90)

WEST = box(-540, -90, -180, 90)


def footprint_of(geometry: Mapping[str, Any] | None, bbox: Sequence[float] | None) -> BaseGeometry:
    """The footprint in EPSG:4326 as a valid polygon or multipolygon within +-180 degrees.

    A ring that spans more than 180 degrees of longitude is taken to cross the antimeridian, as are longitudes beyond
    180 and a bounding box with minx > maxx. Without a geometry the bounding box serves.

    Raises:
        CatalogError: neither is usable.
    """
    if geometry:
        try:
            found = shapely.force_2d(shape(geometry))
        except Exception as error:  # shapely raises half a dozen kinds for foreign JSON
            raise CatalogError("its geometry is not GeoJSON") from error
        return _cut(found)
    if bbox is None or len(bbox) not in {4, 6}:
        raise CatalogError("it has neither a geometry nor a bbox")
    minx, miny, maxx, maxy = (float(number) for number in (bbox if len(bbox) == 4 else (*bbox[:2], *bbox[3:5])))
    return _cut(box(minx, miny, maxx + 360 if minx > maxx else maxx, maxy))


def bounds_of(footprint: BaseGeometry) -> tuple[float, float, float, float]:
    """(minx, miny, maxx, maxy) in degrees, minx > maxx where the footprint crosses the antimeridian."""
    minx, miny, maxx, maxy = footprint.bounds
    if crosses_antimeridian(footprint):
        parts = [part.bounds for part in footprint.geoms]
        minx = min(part[0] for part in parts if part[0] >= 0)
        maxx = max(part[2] for part in parts if part[2] <= 0)
    return (minx, miny, maxx, maxy)


def crosses_antimeridian(footprint: BaseGeometry) -> bool:
    """True for a footprint in parts that touch 180 degrees from both sides, and reach no further than half round."""
    if not isinstance(footprint, MultiPolygon) or footprint.bounds[0] > -180 or footprint.bounds[2] < 180:
        return False
    return all(part.bounds[0] >= 0 or part.bounds[2] <= 0 for part in footprint.geoms)


def centre_longitude(footprint: BaseGeometry) -> float:
    """Longitude of the footprint's centroid in degrees, -180 to 180."""
    if crosses_antimeridian(footprint):
        footprint = shapely.union_all([_shifted(part) for part in footprint.geoms])
    longitude = float(footprint.centroid.x)
    return longitude - 360 if longitude > 180 else longitude


def solar_day(moment: datetime, footprint: BaseGeometry) -> str:
    """ISO date of local solar time (UTC plus longitude / 15 hours) at the footprint's centre."""
    return (moment + timedelta(hours=centre_longitude(footprint) / 15)).date().isoformat()


def to_geojson(footprint: BaseGeometry) -> dict[str, Any]:
    """The geometry as GeoJSON with lists, equal to itself after a trip through JSON."""
    return _lists(mapping(footprint))


def _cut(found: BaseGeometry) -> BaseGeometry:
    found = _polygonal(found)
    parts = [_unwrapped(part) for part in _parts(found)]
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


def _unwrapped(part: Polygon) -> BaseGeometry:
    """A polygon drawn the long way round the globe, redrawn across the antimeridian.

    Its corners all lie in the outer half of the map, though it spans the inner one; a box round the world does not
    count.
    """
    distances = [abs(x) for x, _ in part.exterior.coords]
    minx, _, maxx, _ = part.bounds
    wraps = maxx - minx > 180 and min(distances) > 90 and max(distances) <= 180 and set(distances) != {180.0}
    return _polygonal(_shifted(part)) if wraps else part


def _shifted(part: Polygon) -> BaseGeometry:
    def east(coordinates: Any) -> Any:
        moved = coordinates.copy()
        moved[:, 0] = [x + 360 if x < 0 else x for x in moved[:, 0]]
        return moved

    return shapely.transform(part, east)


def _polygonal(found: BaseGeometry) -> BaseGeometry:
    """The areas of a geometry, made valid."""
    valid = found if found.is_valid else shapely.make_valid(found)
    areas = _parts(valid)
    if not areas:
        raise CatalogError("its geometry has no area")
    return areas[0] if len(areas) == 1 else MultiPolygon(areas)


def _parts(found: BaseGeometry) -> list[Polygon]:
    if isinstance(found, Polygon):
        return [] if found.is_empty else [found]
    return [part for piece in getattr(found, "geoms", ()) for part in _parts(piece)]


def _lists(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _lists(entry) for key, entry in value.items()}
    return [_lists(entry) for entry in value] if isinstance(value, list | tuple) else value
