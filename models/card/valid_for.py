"""The places, months and platforms that a card says its model was made for, and whether its training was simulated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import shapely
from shapely.geometry import MultiPolygon, shape
from shapely.validation import explain_validity

from tilewright.models.fields import CardField, is_number

if TYPE_CHECKING:
    from shapely.geometry import Polygon
    from shapely.geometry.base import BaseGeometry


KEY: Final = "tw:valid_for"

SIMULATED: Final = "tw:simulated"

FORM: Final = "write [west, south, east, north] in degrees, or GeoJSON of polygons in EPSG:4326, longitude first"


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidFor:
    """What a model was made for; whatever the card does not limit is None or empty.

    `area` is a polygon or multipolygon in EPSG:4326 within +-180 degrees; `months` are 1 to 12, ascending; `platforms`
    are in lower case, such as `sentinel-2a`. `simulated`: it was trained on simulated data.
    """

    area: BaseGeometry | None = None
    months: tuple[int, ...] = ()
    platforms: tuple[str, ...] = ()
    simulated: bool = False


def read_valid_for(properties: CardField) -> ValidFor:
    """The range of the model, from `tw:valid_for`, `tw:simulated` and the MLM's `mlm:pretrained_source`.

    A source of pretraining that has the word "simulated" counts where `tw:simulated` is left out.
    Raises CardError naming the field.
    """
    field = properties.child(KEY)
    field.only(("area", "months", "platforms"))
    if properties.has(KEY) and not field.content:
        raise properties.refuse(KEY, "write an area, months or platforms, or leave it out")
    source = str(properties.content.get("mlm:pretrained_source") or "").lower()
    return ValidFor(
        area=_area(field) if field.has("area") else None,
        months=_months(field) if field.has("months") else (),
        platforms=_platforms(field) if field.has("platforms") else (),
        simulated=properties.flag(SIMULATED, default="simulated" in source.replace("-", " ").split()),
    )


def _months(field: CardField) -> tuple[int, ...]:
    months = field.content["months"]
    whole = isinstance(months, list) and all(isinstance(each, int) and not isinstance(each, bool) for each in months)
    if not whole or not months or len(set(months)) != len(months) or not set(months) <= set(range(1, 13)):
        raise field.refuse("months", "write a list of months, each once, from 1 (January) to 12 (December)")
    return tuple(sorted(months))


def _platforms(field: CardField) -> tuple[str, ...]:
    platforms = tuple(each.strip().lower() for each in field.texts("platforms"))
    if not platforms or not all(platforms) or len(set(platforms)) != len(platforms):
        raise field.refuse("platforms", "write a list of platforms, each once, such as ['sentinel-2a', 'sentinel-2b']")
    return platforms


def _area(field: CardField) -> BaseGeometry:
    value = field.content["area"]
    geometry = _box(field, value) if isinstance(value, list) else _polygons(field, value)
    west, south, east, north = geometry.bounds
    if west < -180 or east > 180 or south < -90 or north > 90:
        raise field.refuse("area", f"it leaves the globe; {FORM}, cut at 180 degrees")
    return geometry


def _box(field: CardField, numbers: list[Any]) -> BaseGeometry:
    """The box; one with west > east crosses the antimeridian."""
    if len(numbers) != 4 or not all(is_number(each) for each in numbers):
        raise field.refuse("area", FORM)
    west, south, east, north = (float(each) for each in numbers)
    if south >= north or west == east or (west, east) == (180, -180):
        raise field.refuse("area", f"it is empty; {FORM}")
    if west < east:
        return shapely.box(west, south, east, north)
    parts = [shapely.box(west, south, 180, north), shapely.box(-180, south, east, north)]
    return MultiPolygon([part for part in parts if part.area > 0])


def _polygons(field: CardField, plain: object) -> BaseGeometry:
    """The union of the polygons of a geometry, feature or feature collection; heights are dropped."""
    try:
        geometries = [shapely.force_2d(shape(each)) for each in _geometries(plain)]
    except Exception as error:  # shapely raises anything from KeyError to its own classes on foreign GeoJSON
        raise field.refuse("area", FORM) from error
    if not geometries or any(each.geom_type not in {"Polygon", "MultiPolygon"} for each in geometries):
        raise field.refuse("area", FORM)
    for geometry in geometries:
        if not geometry.is_valid or geometry.is_empty:
            raise field.refuse("area", f"its polygon is not valid ({explain_validity(geometry)}); {FORM}")
        if any(_jumps(part) for part in shapely.get_parts(geometry)):
            raise field.refuse("area", f"an edge of its polygon is longer than 180 degrees; {FORM}, cut at 180 degrees")
    return shapely.union_all(geometries)


def _jumps(polygon: Polygon) -> bool:
    """True for a ring that may cross 180 degrees or go the other way round; edges of 360 degrees are parallels."""
    edges = np.abs(np.diff(shapely.get_coordinates(polygon.exterior)[:, 0]))
    return bool(((edges > 180) & (edges < 360)).any())


def _geometries(plain: Any) -> list[Any]:
    if plain["type"] == "FeatureCollection":
        return [feature["geometry"] for feature in plain["features"]]
    if plain["type"] == "GeometryCollection":
        return list(plain["geometries"])
    return [plain["geometry"] if plain["type"] == "Feature" else plain]
