"""The outlines in a file: GeoJSON, WKT, GeoPackage, Shapefile, FlatGeobuf, GeoParquet, or of a GeoTIFF."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import shapely
from shapely.lib import GEOSException

from tilewright.flows.job.areas.geojson import geojson_outlines, loads_geojson
from tilewright.flows.job.areas.grid_outlines import RASTER, raster_outline
from tilewright.flows.job.areas.outline import AreaError, Outline, crs_of
from tilewright.tasks.tables.vector_file import VectorFileError, path_and_layer, read_geometry_table

if TYPE_CHECKING:
    from pathlib import Path

MAX_AREA_BYTES = 64 * 2**20

VECTOR = {".gpkg", ".shp", ".fgb", ".parquet", ".geoparquet"}

READ = ".geojson, .json, .wkt, .gpkg, .shp, .fgb, .parquet and .tif"

TEXTS = {".geojson", ".json", ".wkt"}

NOT_READ = {".zip", ".kml", ".kmz", ".gml", ".gdb", ".gpx", ".tab", ".csv", ".dbf", ".shx", ".prj", ".vrt", ".xlsx"}

WKT = re.compile(
    r"(?:SRID\s*=\s*(?P<srid>[0-9]{1,9})\s*;\s*)?(?P<wkt>(?:(?:MULTI)?(?:POLYGON|LINESTRING|POINT)|GEOMETRYCOLLECTION)"
    r"\s*(?:(?:ZM|Z|M)\s*)?(?:\(.*\)|EMPTY))",
    re.IGNORECASE | re.DOTALL,
)
"""WKT without blanks around it; no two of its parts can take the same blanks, which would take a long text's square."""


def file_outlines(text: str, base: Path) -> list[Outline]:
    """The outlines in the file at a path relative to ``base``; ``fields.gpkg#parcels`` names a layer of it.

    Raises AreaError for a file that is missing, too large, of no format that is read, or without a CRS.
    """
    path, layer = path_and_layer(base / text)
    suffix = path.suffix.lower()
    try:
        size = path.stat().st_size
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        known = {*VECTOR, *NOT_READ, *TEXTS, *RASTER}
        hint = "" if suffix in known else " (a box is minx,miny,maxx,maxy with points in decimals, a tile like 33UUP)"
        raise AreaError(f"the file {text[:80]} cannot be read: {reason}{hint}.") from error
    if suffix in RASTER and path.is_file():
        return [raster_outline(path, text)]
    if size > MAX_AREA_BYTES:
        raise AreaError(f"{text} is larger than {MAX_AREA_BYTES // 2**20} MiB: simplify the outline.")
    if suffix in NOT_READ or not path.is_file():
        raise AreaError(f"{text} cannot be read as an area: read are {READ}.")
    if suffix in VECTOR:
        return _vector_outlines(base / text)
    if layer is not None:
        raise AreaError(f"{text}: only a GeoPackage has layers, give the file alone.")
    return _text_outlines(path, text)


def _text_outlines(path: Path, text: str) -> list[Outline]:
    suffix = path.suffix.lower()
    try:
        content = path.read_bytes()
        if suffix == ".wkt":
            return wkt_outlines(content.decode("utf-16" if content[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"))
        return [outline for plain in loads_geojson(content) for outline in geojson_outlines(plain)]
    except OSError as error:
        raise AreaError(f"the file {text} cannot be read: {error.strerror}.") from error
    except AreaError as error:
        raise AreaError(f"{text}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise AreaError(f"{text} is not {'WKT' if suffix == '.wkt' else 'GeoJSON'}: {error}.") from error


def wkt_outlines(text: str) -> list[Outline]:
    """The outline of WKT, or of PostGIS's ``SRID=3035;POLYGON(...)``. Raises AreaError for any other text."""
    found = WKT.fullmatch(text.strip().removesuffix(";").rstrip())
    if found is None:
        raise AreaError(f"{text.strip()[:60]!r} is no WKT of a polygon: expected POLYGON((x y, x y, ...)).")
    try:
        geometry = shapely.from_wkt(found["wkt"])
    except GEOSException as error:
        raise AreaError(f"{text.strip()[:60]!r} cannot be read as WKT: {str(error)[:120]}.") from error
    return [Outline(geometry=geometry, crs=crs_of(int(found["srid"])) if found["srid"] else None)]


def _vector_outlines(path: Path) -> list[Outline]:
    try:
        table = read_geometry_table(path, columns=False)
    except VectorFileError as error:
        raise AreaError(str(error)) from error
    known = crs_of(table.crs)
    return [Outline(geometry=geometry, crs=known) for geometry in shapely.force_2d(table.geometries)]
