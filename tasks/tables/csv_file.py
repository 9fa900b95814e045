"""Rows of a table of geometries as CSV: a place in each shape, and the shape itself, in longitude and latitude."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from tilewright.catalogs.parquet import pyarrow
from tilewright.tasks.grid.crs import transformer
from tilewright.tasks.tables.geoparquet import GEOMETRY, xy_of
from tilewright.tasks.tables.plain_columns import check_column_names, harmless_columns
from tilewright.tasks.tables.vector_file import VectorFileError

if TYPE_CHECKING:
    from pathlib import Path

    from tilewright.tasks.tables.table_rows import TableRows

DEGREES = "OGC:CRS84"
"""Longitude, latitude on WGS 84: a CSV cannot say its CRS."""

LON, LAT = "lon", "lat"
"""Columns of a point on the shape's surface; left out of a table that has one of these itself."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""By it a spreadsheet knows UTF-8; readers of CSV skip it."""

DECIMALS = 7
"""Of degrees: a centimetre, as RFC 7946 recommends for GeoJSON."""


def write_csv(path: Path, rows: TableRows) -> None:
    """Write rows in their order with their columns, ``lon``, ``lat``, and ``geometry`` as WKT, in UTF-8 with its mark.

    Raises VectorFileError for what cannot be placed in degrees, OSError if the disk refuses.
    """
    pa = pyarrow()
    csv: Any = import_module("pyarrow.csv")
    check_column_names(rows.name, rows.schema.names, taken=(GEOMETRY,))
    placed = not {LON, LAT} & {*rows.schema.names}
    empty = _with_places(rows.schema.empty_table(), np.array([], dtype=object), rows, first=0, placed=placed)
    with path.open("wb") as file:
        file.write(BYTE_ORDER_MARK)
        with csv.CSVWriter(pa.PythonFile(file), empty.schema) as writer:
            first = 0
            for columns, shapes in rows.batches():
                writer.write_table(_with_places(columns, shapes, rows, first=first, placed=placed))
                first += len(shapes)


def _with_places(columns: Any, shapes: np.ndarray, rows: TableRows, *, first: int, placed: bool) -> Any:
    pa = pyarrow()
    project = transformer(rows.crs, DEGREES).transform
    table = harmless_columns(columns)
    if placed:
        # In the table's own CRS a point on the surface is on it for certain.
        at = shapely.transform(shapely.point_on_surface(shapes), project, interleaved=False)
        for name, found in zip((LON, LAT), xy_of(at), strict=True):
            table = table.append_column(name, pa.array(np.round(found, DECIMALS), from_pandas=True))
    there = shapely.transform(shapes, project, interleaved=False)
    coordinates, owners = shapely.get_coordinates(there, return_index=True)
    if not np.isfinite(coordinates).all():
        number = first + int(owners[~np.isfinite(coordinates).all(axis=1)][0]) + 1
        raise VectorFileError(f"Row {number} of {rows.name} lies where longitude and latitude end: take .parquet.")
    texts = shapely.to_wkt(there, rounding_precision=DECIMALS).tolist()
    return table.append_column(GEOMETRY, pa.array(texts, type=pa.string()))
