"""The outlines in GeoJSON, as standards past and present have it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from shapely.geometry import shape

from tilewright.flows.job.areas.outline import AreaError, Outline, crs_of

if TYPE_CHECKING:
    import pyproj

RECORD_SEPARATOR = "\x1e"

GEOMETRIES = ("Polygon", "MultiPolygon", "Point", "MultiPoint", "LineString", "MultiLineString")


def geojson_outlines(plain: Mapping[str, Any], crs: pyproj.CRS | None = None) -> Iterator[Outline]:
    """The outlines of a Geometry, Feature or FeatureCollection, and of collections within it.

    A member `crs` holds for what is below it. Source: RFC 7946; The GeoJSON Format Specification (2008), section 3.

    Raises AreaError for what is none of these.
    """
    if plain.get("crs") is not None:
        crs = crs_of(_crs_name(plain["crs"]))
    kind = plain.get("type")
    if kind == "FeatureCollection":
        features = plain.get("features")
        if not isinstance(features, (list, tuple)):
            raise AreaError("the FeatureCollection has no features: give at least one polygon.")
        for feature in features:
            yield from geojson_outlines(_member(feature, kind), crs)
    elif kind == "Feature":
        if "geometry" not in plain:
            raise AreaError("the GeoJSON 'Feature' cannot be read: it has no member geometry.")
        inner = plain["geometry"]
        yield from [Outline(geometry=None)] if inner is None else geojson_outlines(_member(inner, kind), crs)
    elif kind == "GeometryCollection":
        geometries = plain.get("geometries")
        if not isinstance(geometries, (list, tuple)):
            raise AreaError("the GeometryCollection has no list of geometries: give at least one polygon.")
        for geometry in geometries:
            yield from geojson_outlines(_member(geometry, kind), crs)
    else:
        yield _outline(plain, crs)


def loads_geojson(content: bytes) -> list[Mapping[str, Any]]:
    """The documents of a GeoJSON file: one, or one on each line (a sequence, RFC 8142). Reads UTF-8, -16 and -32.

    Raises ValueError for any other content, and RecursionError for one that is nested too deep.
    """
    text = content.decode(json.detect_encoding(content))
    try:
        documents = [json.loads(text)]
    except ValueError:
        lines = [line for line in text.replace(RECORD_SEPARATOR, "\n").splitlines() if line.strip()]
        if len(lines) < 2:
            raise
        try:
            documents = [json.loads(line) for line in lines]
        except ValueError as error:
            raise ValueError(f"neither one document nor one per line, {error}") from error
    if not all(isinstance(document, dict) for document in documents):
        raise ValueError("it holds no GeoJSON object")
    return documents


def _outline(plain: Mapping[str, Any], crs: pyproj.CRS | None) -> Outline:
    kind = plain.get("type")
    if kind not in GEOMETRIES or not isinstance(plain.get("coordinates"), (list, tuple)):
        known = ", ".join(("FeatureCollection", "Feature", *GEOMETRIES))
        raise AreaError(f"the GeoJSON {kind!r} cannot be read: expected coordinates and a type of {known}.")
    try:
        coordinates = _flat(plain["coordinates"])
        if coordinates in ([], [[]]):
            return Outline(geometry=None)
        return Outline(geometry=shape({"type": kind, "coordinates": coordinates}), crs=crs)
    except Exception as error:  # shapely raises anything from KeyError to its own classes on untrusted GeoJSON
        raise AreaError(f"the GeoJSON {kind!r} cannot be read: {error}.") from error


def _flat(coordinates: Any) -> Any:
    """Coordinates of any depth with two numbers per position."""
    if isinstance(coordinates, (list, tuple)) and coordinates and not isinstance(coordinates[0], (list, tuple)):
        return list(coordinates[:2])
    return [_flat(entry) for entry in coordinates]


def _crs_name(member: Any) -> object:
    """The name, URN or code that a member `crs` holds. Raises AreaError for a link."""
    if isinstance(member, str):
        return member
    properties = member.get("properties") if isinstance(member, Mapping) else None
    named = properties or {}
    if isinstance(named, Mapping) and named.get("name"):
        return named["name"]
    if isinstance(named, Mapping) and named.get("code"):
        return f"EPSG:{named['code']}"
    raise AreaError(f"its crs {json.dumps(member)[:80]} has no name: write the outlines in EPSG:4326.")


def _member(value: Any, kind: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise AreaError(f"the GeoJSON {kind!r} cannot be read: it holds {json.dumps(value, default=str)[:40]}.")
    return value
