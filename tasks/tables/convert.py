"""A table of geometries written as the format that its file's name ends in, whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import shapely

from tilewright.catalogs.parquet import pyarrow
from tilewright.tasks.grid.crs import transformer
from tilewright.tasks.tables.geoparquet import GEOMETRY, whole_table, write_whole_table
from tilewright.tasks.tables.vector_file import VectorFileError

if TYPE_CHECKING:
    from tilewright.tasks.tables.vector_file import GeometryTable

FORMATS = (".parquet", ".geojson", ".fgb", ".csv")

DEGREES = "OGC:CRS84"
"""Longitude, latitude on WGS 84: what GeoJSON is in, and a CSV, which cannot say its CRS."""


def check_target(path: Path) -> None:
    """Check that a table can be written to a path, before anything costs time; a file that is there is replaced.

    Raises VectorFileError for another ending, and where no file can be made.
    """
    if path.suffix.lower() not in FORMATS:
        raise VectorFileError(f"{path} names no format of a table: end it in {', '.join(FORMATS)}.")
    folder = path.parent
    if not folder.is_dir():
        raise VectorFileError(f"{path} cannot be written: {folder} is no folder.")
    if not os.access(folder, os.W_OK):
        raise VectorFileError(f"{path} cannot be written: nothing may be written into {folder}.")
    if path.exists() and not path.is_file():
        raise VectorFileError(f"{path} cannot be written: it is there and is no file.")


def write_as(table: GeometryTable, path: Path) -> None:
    """Write a table: GeoParquet and FlatGeobuf in its CRS, GeoJSON (RFC 7946) and CSV (column ``geometry``, WKT) in
    longitude and latitude. Rows keep their order. Columns that the format cannot hold become JSON texts.

    A reader sees the old file or the whole new one. Raises VectorFileError for an unknown ending, OSError if the disk
    refuses.
    """
    check_target(path)
    suffix = path.suffix.lower()
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".tilewright-") as folder:
        draft = Path(folder) / f"table{suffix}"
        if suffix == ".parquet":
            write_whole_table(draft, whole_table(table.columns, table.geometries, crs=table.crs))
        elif suffix == ".csv":
            _write_csv(draft, table)
        else:
            _write_gdal(draft, table, path.stem)
        draft.replace(path)


def _write_csv(path: Path, table: GeometryTable) -> None:
    pa = pyarrow()
    csv: Any = import_module("pyarrow.csv")
    places = shapely.transform(table.geometries, transformer(table.crs, DEGREES).transform, interleaved=False)
    texts = pa.array(shapely.to_wkt(places, rounding_precision=9).tolist(), type=pa.string())
    csv.write_csv(plain_columns(table.columns).append_column(GEOMETRY, texts), path)


def _write_gdal(path: Path, table: GeometryTable, name: str) -> None:
    import pyogrio  # noqa: PLC0415 -- GDAL's vector part is needed for these formats alone

    pa = pyarrow()
    wkb = pa.array(shapely.to_wkb(table.geometries, byte_order=1).tolist(), type=pa.binary())
    whole = plain_columns(table.columns).append_column(GEOMETRY, wkb)
    if path.suffix == ".geojson":
        driver, options = "GeoJSON", {"RFC7946": "YES", "COORDINATE_PRECISION": "9"}
    else:
        # Its index would put rows into another order, and refuses those without a geometry.
        driver, options = "FlatGeobuf", {"SPATIAL_INDEX": "NO"}
    try:
        pyogrio.write_arrow(
            whole,
            path,
            driver=driver,
            layer=name,
            geometry_name=GEOMETRY,
            geometry_type="Unknown",
            crs=table.crs,
            **options,
        )
    except (RuntimeError, ValueError) as error:
        raise VectorFileError(f"{name}{path.suffix} cannot be written as {driver}: {str(error)[:200]}.") from error


def plain_columns(table: Any) -> Any:
    """The columns of a pyarrow table with types that every format knows: numbers, texts, dates, JSON for the rest."""
    pa = pyarrow()
    columns = {name: _plain_column(table[name]) for name in table.column_names}
    return pa.table(columns) if columns else table


def _plain_column(column: Any) -> Any:
    pa = pyarrow()
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _plain_column(column.cast(kind.value_type))
    if pa.types.is_float16(kind):
        return column.cast(pa.float32())
    known = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_date, pa.types.is_timestamp)
    if any(test(kind) for test in known) or pa.types.is_string(kind):
        return column
    if pa.types.is_large_string(kind) or pa.types.is_null(kind):
        return column.cast(pa.string())
    texts = [None if value is None else _text(value) for value in column.to_pylist()]
    return pa.array(texts, type=pa.string())


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value.hex() if isinstance(value, bytes) else value, default=str, ensure_ascii=False)
