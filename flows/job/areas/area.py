"""The area of a job, from a box, GeoJSON, WKT, an MGRS tile or a file, as polygons in EPSG:4326 cut at 180 degrees."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import shapely
from shapely.geometry import MultiPolygon
from shapely.geometry.base import BaseGeometry  # noqa: TC002 -- pydantic reads it at run time

from tilewright.flows.job.areas.area_file import WKT, file_outlines, wkt_outlines
from tilewright.flows.job.areas.geojson import geojson_outlines
from tilewright.flows.job.areas.grid_outlines import tile_outline
from tilewright.flows.job.areas.outline import AreaError, Outline, joined, n_without_place
from tilewright.tasks.grid.mgrs.tiles import tile_code

__all__ = ["Area", "AreaError", "read_area"]

NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]+)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """A Polygon or MultiPolygon in EPSG:4326 with an extent, longitudes in -180..180.

    ``n_without_place``: the null and empty geometries that were given beside it and are left out.
    """

    geometry: BaseGeometry
    n_without_place: int = field(default=0, compare=False)

    @property
    def text(self) -> str:
        """Where it lies, in words."""
        west, south, east, north = self.bbox
        kind = "box" if self.geometry.equals(self.geometry.envelope) else self.geometry.geom_type
        return f"{kind} of {west:.5g} to {east:.5g}° E, {south:.5g} to {north:.5g}° N"

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
    """The area of a job: a box, GeoJSON, WKT, an MGRS tile of 100 km, or the path of a file relative to the job.

    A box is ``[minx, miny, maxx, maxy]`` or the same as text; with minx > maxx it crosses the antimeridian.

    Raises AreaError for anything else, and for an area that is empty, crosses itself or leaves the globe.
    """
    if isinstance(value, Area):
        return value
    if isinstance(value, (list, tuple)):
        return Area(geometry=_box(list(value)))
    if isinstance(value, dict):
        return _area_of(list(geojson_outlines(value)))
    if not isinstance(value, str) or not value.strip():
        raise AreaError(
            "give minx, miny, maxx, maxy in degrees, GeoJSON, WKT, an MGRS tile such as 33UUP, or the path of a file."
        )
    numbers = re.split(r"\s*,\s*|\s+", value.strip(" \t\n[]()"))
    if len(numbers) > 1 and all(NUMBER.fullmatch(number) for number in numbers):
        return Area(geometry=_box([float(number) for number in numbers]))
    if (code := tile_code(value)) is not None:
        _check_alone(value.strip(), base or Path())
        return _area_of([tile_outline(code)])
    outlines = (
        wkt_outlines(value) if WKT.match(value.lstrip()) or "((" in value else file_outlines(value, base or Path())
    )
    return _area_of(outlines)


def _check_alone(code: str, base: Path) -> None:
    """Refuse the name of a tile that is also the path of a file: either could be meant. Raises AreaError."""
    if (base / code).exists():
        raise AreaError(f"{code} is an MGRS tile, and a file of that name is there: write ./{code} for the file.")


def _area_of(outlines: list[Outline]) -> Area:
    return Area(geometry=joined(outlines), n_without_place=n_without_place(outlines))


def _box(numbers: list[Any]) -> BaseGeometry:
    if len(numbers) != 4 or not all(isinstance(n, (int, float)) and not isinstance(n, bool) for n in numbers):
        raise AreaError(f"a box is four numbers minx, miny, maxx, maxy in degrees (given: {numbers}).")
    # Compared before they become floats, which huge whole numbers cannot.
    west, south, east, north = numbers
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= 90 and -90 <= north <= 90):
        raise AreaError(f"{numbers} leaves the globe: longitudes are -180..180, latitudes -90..90, longitude first.")
    west, south, east, north = (float(number) for number in numbers)
    if south >= north or west == east or (west, east) == (180, -180):
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
