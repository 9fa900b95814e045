"""The area of a job, from a box or GeoJSON, as polygons in EPSG:4326 cut at 180 degrees."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import shapely
from shapely.geometry import MultiPolygon, shape
from shapely.geometry.base import BaseGeometry  # noqa: TC002 -- pydantic reads it at run time
from shapely.validation import explain_validity

MAX_AREA_BYTES = 64 * 2**20


class AreaError(ValueError):
    """An area that is refused; the message says what was given and what is expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """A Polygon or MultiPolygon in EPSG:4326 with an extent, longitudes in -180..180."""

    geometry: BaseGeometry

    def geojson(self) -> dict[str, Any]:
        """The geometry as GeoJSON."""
        plain: dict[str, Any] = json.loads(shapely.to_geojson(self.geometry))
        return plain

    @property
    def bbox(self) -> tuple[float, float, float, float]:
        """(west, south, east, north) in degrees; west > east if the area crosses the antimeridian."""
        parts = shapely.bounds(shapely.get_parts(self.geometry))
        west, south, east, north = self.geometry.bounds
        if west <= -180 and east >= 180 and len(parts) > 1:
            eastern = parts[parts[:, 0] >= 0]
            western = parts[parts[:, 2] <= 0]
            if len(eastern) and len(western):
                west, east = float(eastern[:, 0].min()), float(western[:, 2].max())
        return west, south, east, north


def read_area(value: object, *, base: Path | None = None) -> Area:
    """The area of a job: ``[minx, miny, maxx, maxy]``, GeoJSON, or the path of a GeoJSON file relative to the job.

    A box with minx > maxx crosses the antimeridian.

    Raises AreaError for anything else, and for an area that is empty, crosses itself or leaves the globe.
    """
    if isinstance(value, Area):
        return value
    if isinstance(value, (list, tuple)):
        return Area(geometry=_box(list(value)))
    if isinstance(value, str):
        value = _load(value, base or Path())
    if isinstance(value, dict):
        return Area(geometry=_polygons(value))
    raise AreaError("give minx, miny, maxx, maxy in degrees, GeoJSON, or the path of a GeoJSON file.")


def _box(numbers: list[Any]) -> BaseGeometry:
    if len(numbers) != 4 or not all(isinstance(n, (int, float)) and not isinstance(n, bool) for n in numbers):
        raise AreaError(f"a box is four numbers minx, miny, maxx, maxy in degrees (given: {numbers}).")
    west, south, east, north = (float(number) for number in numbers)
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= 90 and -90 <= north <= 90):
        raise AreaError(f"{numbers} leaves the globe: longitudes are -180..180, latitudes -90..90, longitude first.")
    if south >= north or west == east:
        raise AreaError(f"{numbers} is empty: expected minx, miny, maxx, maxy with miny < maxy and minx < maxx.")
    if west - east < 180 and west > east:
        raise AreaError(
            f"{numbers} has minx greater than maxx, which means across the antimeridian, and would go round more than "
            "half the globe: swap them."
        )
    if west > east:
        parts = [shapely.box(west, south, 180.0, north), shapely.box(-180.0, south, east, north)]
        return MultiPolygon([part for part in parts if part.area > 0])
    return shapely.box(west, south, east, north)


def _load(text: str, base: Path) -> object:
    path = base / text
    try:
        if path.stat().st_size > MAX_AREA_BYTES:
            raise AreaError(f"{text} is larger than {MAX_AREA_BYTES // 2**20} MiB: simplify the outline.")
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AreaError(f"the GeoJSON file {text} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise AreaError(f"{text} is not GeoJSON: {error}.") from error


def _polygons(plain: dict[str, Any]) -> BaseGeometry:
    kind = plain.get("type")
    try:
        if kind == "FeatureCollection":
            geometries = [shape(feature["geometry"]) for feature in plain["features"]]
        elif kind == "Feature":
            geometries = [shape(plain["geometry"])]
        else:
            geometries = [shape(plain)]
    except Exception as error:  # shapely raises anything from KeyError to its own classes on untrusted GeoJSON
        raise AreaError(f"the GeoJSON {kind!r} cannot be read: {error}.") from error
    for geometry in geometries:
        _check(geometry)
    return shapely.union_all(geometries) if len(geometries) > 1 else geometries[0]


def _check(geometry: BaseGeometry) -> None:
    if geometry.geom_type not in {"Polygon", "MultiPolygon"}:
        raise AreaError(f"a {geometry.geom_type} has no area to map: give polygons.")
    if not geometry.is_valid:
        raise AreaError(f"the polygon is not valid ({explain_validity(geometry)}): mend it, e.g. with make_valid.")
    if geometry.is_empty or geometry.area == 0:
        raise AreaError("the polygon is empty: give one with an extent in both directions.")
    west, south, east, north = geometry.bounds
    if west < -180 or east > 180 or south < -90 or north > 90:
        raise AreaError("the polygon leaves the globe: GeoJSON is longitude, latitude, cut at 180 degrees.")
