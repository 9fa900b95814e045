"""The outlines in a file: GeoJSON, WKT, GeoPackage, Shapefile, FlatGeobuf or GeoParquet."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import shapely
from shapely.lib import GEOSException

from tilewright.catalogs.parquet import pyarrow
from tilewright.flows.job.geojson import geojson_outlines, loads_geojson
from tilewright.flows.job.outline import AreaError, Outline, crs_of

if TYPE_CHECKING:
    from pathlib import Path

MAX_AREA_BYTES = 64 * 2**20

DRIVERS = {
    ".gpkg": ("GPKG", b"SQLite format 3\x00"),
    ".shp": ("ESRI Shapefile", b"\x00\x00\x27\x0a"),
    ".fgb": ("FlatGeobuf", b"fgb\x03"),
}
"""GDAL's driver and the file's first bytes, by suffix: GDAL would otherwise choose one of its drivers by content."""

READ = ".geojson, .json, .wkt, .gpkg, .shp, .fgb and .parquet"

TEXTS = {".geojson", ".json", ".wkt", ".parquet", ".geoparquet"}

NOT_READ = {".zip", ".kml", ".kmz", ".gml", ".gdb", ".gpx", ".tab", ".csv", ".dbf", ".shx", ".prj", ".tif", ".xlsx"}

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
    path, layer = _path_and_layer(text, base)
    suffix = path.suffix.lower()
    try:
        size = path.stat().st_size
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        known = {*DRIVERS, *NOT_READ, *TEXTS}
        hint = "" if suffix in known else " (a box is minx,miny,maxx,maxy with points in decimals)"
        raise AreaError(f"the file {text[:80]} cannot be read: {reason}{hint}.") from error
    if size > MAX_AREA_BYTES:
        raise AreaError(f"{text} is larger than {MAX_AREA_BYTES // 2**20} MiB: simplify the outline.")
    if suffix in NOT_READ or not path.is_file():
        raise AreaError(f"{text} cannot be read as an area: read are {READ}.")
    if suffix in DRIVERS:
        return _gdal_outlines(path, layer)
    if layer is not None:
        raise AreaError(f"{text}: only a GeoPackage has layers, give the file alone.")
    return _parquet_outlines(path) if suffix in {".parquet", ".geoparquet"} else _text_outlines(path, text)


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


def _path_and_layer(text: str, base: Path) -> tuple[Path, str | None]:
    """A path may hold ``#`` itself: where there is such a file, nothing is a layer."""
    name, hash_sign, layer = text.rpartition("#")
    try:
        whole = (base / text).exists()
    except (OSError, ValueError):
        whole = False
    return (base / name, layer) if hash_sign and not whole else (base / text, None)


def _gdal_outlines(path: Path, layer: str | None) -> list[Outline]:
    import pyogrio

    driver, opening = DRIVERS[path.suffix.lower()]
    with path.open("rb") as file:
        if file.read(len(opening)) != opening:
            raise AreaError(f"{path.name} is no {driver}, as its first bytes show: export it again.")
    try:
        layer = _chosen_layer(path, layer)
        facts = pyogrio.read_info(path, layer=layer)
        if facts["driver"] != driver:
            raise AreaError(f"{path.name} is no {driver} but {facts['driver']}: export it again.")
        geometries = pyogrio.raw.read(path, layer=layer, columns=[], force_2d=True)[2]
        outlines = shapely.from_wkb(geometries)
    except (RuntimeError, ValueError, GEOSException) as error:
        if isinstance(error, AreaError):
            raise
        raise AreaError(f"{path.name} cannot be read as {driver}: {str(error)[:200]}.") from error
    return _with_crs(outlines, facts["crs"], path.name)


def _chosen_layer(path: Path, layer: str | None) -> str:
    """The layer named, else the only one with geometries."""
    import pyogrio

    names = [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
    if layer is None and len(names) == 1:
        return names[0]
    if layer in names:
        return str(layer)
    listed = ", ".join(names[:20]) or "none"
    if layer is None and names:
        raise AreaError(f"{path.name} has several layers, {listed}: write {path.name}#{names[0]} or another of them.")
    raise AreaError(f"{path.name} has no layer {layer or 'with geometries'}; it has: {listed}.")


def _parquet_outlines(path: Path) -> list[Outline]:
    pa = pyarrow()
    try:
        file = pa.parquet.ParquetFile(path)
        facts = json.loads((file.schema_arrow.metadata or {}).get(b"geo", b"null"))
        if not facts:
            raise AreaError(f"{path.name} is no GeoParquet: it lacks the metadata geo.")
        name = facts["primary_column"]
        column: dict[str, Any] = facts["columns"][name]
        if column["encoding"] != "WKB":
            raise AreaError(f"{path.name} has geometries as {column['encoding']}: write them as WKB.")
        geometries = shapely.from_wkb(file.read(columns=[name])[name].to_pylist())
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, GEOSException) as error:
        if isinstance(error, AreaError):
            raise
        raise AreaError(f"{path.name} cannot be read as GeoParquet: {str(error)[:200]}.") from error
    # Source: GeoParquet 1.1, "crs": longitude, latitude if it is left out, unknown if it is null.
    return _with_crs(geometries, column.get("crs", "OGC:CRS84"), path.name)


def _with_crs(geometries: Any, crs: object, name: str) -> list[Outline]:
    if crs is None:
        raise AreaError(f"{name} does not say its CRS: assign it and export again (a Shapefile needs its .prj file).")
    known = crs_of(crs)
    return [Outline(geometry=geometry, crs=known) for geometry in geometries]
