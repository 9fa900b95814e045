"""Rows of a table of geometries as a file that GDAL writes: FlatGeobuf, GeoJSON, GeoPackage, PMTiles."""

from __future__ import annotations

import math
import os
import sqlite3
import struct
import warnings
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pyproj
import shapely

from tilewright.catalogs.parquet import pyarrow
from tilewright.tasks.storage.errors import StorageError
from tilewright.tasks.tables.geoparquet import GEOMETRY
from tilewright.tasks.tables.plain_columns import check_column_names, gdal_columns
from tilewright.tasks.tables.vector_file import VectorFileError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tilewright.tasks.tables.table_rows import TableRows

DRIVERS = {".geojson": "GeoJSON", ".fgb": "FlatGeobuf", ".gpkg": "GPKG", ".pmtiles": "PMTiles"}

EQUATOR_M = 40_075_016.686
"""Width of the world in Web Mercator, in metres."""

TILE_UNITS = 4096
"""Units of a vector tile along a side, to which coordinates are rounded."""

UNITS_PER_PIXEL = 8
"""Units of the deepest tiles in a pixel of the product, at least: its corners move by a sixteenth of it at most."""

FARTHER = 3
"""Zoom levels above that in which a tile is as large as the map: seen from there it is an eighth of one."""

DEFAULT_ZOOM, DEEPEST_ZOOM = 14, 20
"""The deepest zoom level where no size of pixels is known, and at most."""

TILE_LIMITS = {"MAX_SIZE": "1000000", "MAX_FEATURES": "300000"}
"""Bytes, packed, and shapes of a tile: twice and half again what GDAL takes by itself, so that a dense map keeps its
small shapes at the deeper levels. Above, a tile is drawn more coarsely, and loses the smallest ones.
"""

DECLARED = frozenset({"Point", "Polygon", "MultiPolygon"})
"""Types of geometries that a layer of a GeoPackage may be said to hold."""

PMTILES_HEADER = struct.Struct("<7sB8Q")
"""Magic, version, and four pairs of an offset and a length: root, metadata, leaves, tiles. Source: PMTiles 3."""

GEOJSON_END = b"]\n}\n"


def write_gdal(path: Path, tables: list[TableRows], *, pixel_m: float | None = None) -> None:
    """Write tables to a file whose ending is one of DRIVERS; several are layers of a GeoPackage.

    GeoJSON as RFC 7946 has it, PMTiles in Web Mercator down to the zoom level of pixels of ``pixel_m`` metres, others
    in the table's CRS. What was written is read again. Raises VectorFileError for what a format cannot hold,
    StorageError for a file that could not be written.
    """
    driver = DRIVERS[path.suffix.lower()]
    _check_driver(driver)
    for rows in tables:
        # GDAL takes names that differ by case for one.
        check_column_names(rows.name, rows.schema.names, taken=(GEOMETRY,), fold=True)
    # GDAL 3.12's own way gives rows without a geometry one of a negative size; what all formats share does not.
    _pyogrio().set_gdal_config_options({"OGR_FLATGEOBUF_STREAM_BASE_IMPL": "YES"})
    for rows in tables:
        _write_layer(path, driver, rows, pixel_m)
        _check_written(path, driver, rows)


def zoom_levels(bounds: tuple[float, float, float, float], crs: str, pixel_m: float | None) -> tuple[int, int]:
    """The first and the last zoom level of tiles: from one in which all is part of a tile, to one as fine as pixels."""
    deepest = DEFAULT_ZOOM
    if pixel_m:
        deepest = math.ceil(math.log2(EQUATOR_M / TILE_UNITS * UNITS_PER_PIXEL / pixel_m))
        deepest = min(max(deepest, 0), DEEPEST_ZOOM)
    known = pyproj.CRS.from_user_input(crs)
    metres = EQUATOR_M / 360 if known.is_geographic else float(known.axis_info[0].unit_conversion_factor)
    extent = max(bounds[2] - bounds[0], bounds[3] - bounds[1]) * metres
    if not (math.isfinite(extent) and extent > 0):
        return deepest, deepest
    return min(max(math.floor(math.log2(EQUATOR_M / extent)) - FARTHER, 0), deepest), deepest


def _pyogrio() -> Any:
    import pyogrio  # noqa: PLC0415 -- GDAL's vector part is needed for these formats alone

    return pyogrio


def _check_driver(driver: str) -> None:
    pyogrio = _pyogrio()
    if "w" not in pyogrio.list_drivers().get(driver, "").replace("raw", "rw"):
        version = ".".join(map(str, pyogrio.__gdal_version__))
        raise VectorFileError(
            f"The GDAL {version} that pyogrio brings here writes no {driver}: take another format, or install "
            "pyogrio's own wheel."
        )


def _options(driver: str, rows: TableRows, pixel_m: float | None) -> dict[str, str]:
    if driver == "GeoJSON":
        return {"RFC7946": "YES"}
    if driver == "FlatGeobuf":
        # Its index would put rows into another order, and refuses those without a geometry.
        return {"SPATIAL_INDEX": "NO"}
    if driver == "GPKG":
        names = {name.casefold() for name in rows.schema.names}
        free = ("fid", *(f"fid_{number}" for number in range(len(names) + 1)))
        number = next(name for name in free if name not in names)
        return {"FID": number, "GEOMETRY_NAME": GEOMETRY}
    first, last = zoom_levels(rows.bounds, rows.crs, pixel_m)
    return {"NAME": rows.name, "MINZOOM": str(first), "MAXZOOM": str(last), **TILE_LIMITS}


def _write_layer(path: Path, driver: str, rows: TableRows, pixel_m: float | None) -> None:
    stream = _Stream(rows, finite=driver in {"GeoJSON", "PMTiles"})
    if driver == "PMTiles" and not rows.n_rows:
        raise _nothing(rows)
    try:
        with warnings.catch_warnings():
            # What pyogrio warns of is what was decided here: other projections, rows without a geometry.
            warnings.simplefilter("ignore", RuntimeWarning)
            _pyogrio().write_arrow(
                stream.reader,
                path,
                driver=driver,
                layer=rows.name,
                geometry_name=GEOMETRY,
                geometry_type=_declared(driver, rows),
                crs=rows.crs,
                **_options(driver, rows, pixel_m),
            )
    except (RuntimeError, ValueError, OSError) as error:
        if stream.broke is not None:
            raise stream.broke from None
        if driver == "PMTiles" and stream.is_read and not stream.n_shapes:
            raise _nothing(rows) from None
        raise _refused(path, driver, str(error)) from error
    if stream.broke is not None:
        raise stream.broke


def _declared(driver: str, rows: TableRows) -> str:
    """The type of geometries that a layer is said to hold: Unknown where they are of several, or that is not known.

    Other drivers than GeoPackage's refuse a row of another type than a file states of itself.
    """
    return next(iter(rows.kinds)) if driver == "GPKG" and len(rows.kinds) == 1 and rows.kinds <= DECLARED else "Unknown"


class _Stream:
    """Rows as GDAL takes them; what breaks while they are read is kept, for GDAL tells it in words of its own."""

    def __init__(self, rows: TableRows, *, finite: bool) -> None:
        pa = pyarrow()
        self._rows, self._finite = rows, finite
        self.broke: BaseException | None = None
        self.n_shapes, self.is_read = 0, False
        columns = gdal_columns(rows.schema.empty_table(), finite=finite)
        self._schema = columns.schema.append(pa.field(GEOMETRY, pa.binary()))
        self.reader = pa.RecordBatchReader.from_batches(self._schema, self._batches())

    def _batches(self) -> Iterator[Any]:
        pa = pyarrow()
        try:
            for columns, shapes in self._rows.batches():
                self.n_shapes += int((~shapely.is_missing(shapes) & ~shapely.is_empty(shapes)).sum())
                wkb = pa.array(shapely.to_wkb(shapes, byte_order=1).tolist(), type=pa.binary())
                whole = gdal_columns(columns, finite=self._finite).append_column(GEOMETRY, wkb)
                yield from whole.cast(self._schema).to_batches()
            self.is_read = True
        except GeneratorExit:
            raise
        except BaseException as error:
            self.broke = error
            raise


def _check_written(path: Path, driver: str, rows: TableRows) -> None:
    """Look whether all of a layer is there: of a full disk GDAL tells some drivers' callers nothing."""
    try:
        whole = _is_whole(path, driver, rows)
    except (RuntimeError, ValueError, OSError) as error:
        raise _refused(path, driver, str(error)) from error
    if not whole:
        raise _refused(path, driver, "not all of it was written")


def _is_whole(path: Path, driver: str, rows: TableRows) -> bool:
    if driver == "PMTiles":
        with path.open("rb") as file:
            magic, _, *places = PMTILES_HEADER.unpack(file.read(PMTILES_HEADER.size))
        ends = [start + size for start, size in zip(places[::2], places[1::2], strict=True)]
        return bool(magic == b"PMTiles" and max(ends) <= path.stat().st_size)
    if driver == "GeoJSON":
        with path.open("rb") as file:
            file.seek(-min(len(GEOJSON_END), path.stat().st_size), os.SEEK_END)
            return file.read() == GEOJSON_END
    if driver == "GPKG" and not _has_index(path, rows.name):
        return False
    with _pyogrio().open_arrow(
        path, layer=rows.name, columns=[], read_geometry=False, return_fids=True, use_pyarrow=True
    ) as (_, reader):
        return bool(sum(batch.num_rows for batch in reader) == rows.n_rows)


def _has_index(path: Path, layer: str) -> bool:
    """True if a layer of a GeoPackage has its spatial index, without which GDAL leaves it where the disk is full."""
    asked = "SELECT count(*) FROM gpkg_extensions WHERE table_name = ? AND extension_name = 'gpkg_rtree_index'"
    try:
        with closing(sqlite3.connect(path)) as opened:
            return bool(opened.execute(asked, (layer,)).fetchone()[0])
    except sqlite3.Error:
        return False


def _nothing(rows: TableRows) -> VectorFileError:
    return VectorFileError(f"{rows.name} has no shape, and PMTiles cannot hold nothing: take another format.")


def _refused(path: Path, driver: str, said: str) -> StorageError:
    said = said.replace(str(path), path.name)[:200].rstrip(". ")
    return StorageError(
        f"The table cannot be written as {driver} ({said}): look for room in {path.parent.parent}, or take another "
        "format. What was there is left."
    )
