"""Points of a CSV file, whose columns ``lon`` and ``lat`` are degrees on WGS 84."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
import shapely

from tilewright.catalogs.parquet import pyarrow
from tilewright.tasks.tables.vector_file import MOST_BYTES, MOST_ROWS, GeometryTable, VectorFileError, check_values

if TYPE_CHECKING:
    from pathlib import Path

AXES = {"lon": 180.0, "lat": 90.0}
"""The columns of the coordinates, x before y, and the largest number of degrees on either side of 0."""

DEGREES = "OGC:CRS84"

CODE, LONG = r"^\s*[+-]?0[0-9xX]", r"^\s*[+-]?[0-9]{16,}\s*$"
"""Texts of digits of which a number would lose some: zeros at the start, another base, more digits than it holds."""


def read_points_csv(path: Path) -> GeometryTable:
    """The rows of a CSV file with a header, as points; all its columns stay. A row with neither lon nor lat is none.

    Raises VectorFileError for a file that is missing, too large or no CSV, without these columns, or with coordinates
    that are no numbers or lie off the globe.
    """
    pa = pyarrow()
    csv: Any = import_module("pyarrow.csv")
    try:
        if path.stat().st_size > MOST_BYTES:
            raise VectorFileError(f"{path} is larger than {MOST_BYTES // 2**20} MiB: cut it into several.")
        if not path.is_file():
            raise VectorFileError(f"{path} is no file: give the path of a CSV.")
        columns = _with_codes(path, csv.read_csv(path))
        check_values(path.name, columns)
    except OSError as error:
        raise VectorFileError(f"The file {path} cannot be read: {error.strerror or error}.") from error
    except (pa.ArrowException, ValueError) as error:
        if isinstance(error, VectorFileError):
            raise
        raise VectorFileError(f"{path.name} cannot be read as CSV: {str(error)[:200]}.") from error
    if columns.num_rows > MOST_ROWS:
        raise VectorFileError(f"{path.name} has over {MOST_ROWS:,} rows: cut it into several.")
    for field in columns.schema:
        # Arrow takes a text of another encoding for bytes.
        if pa.types.is_binary(field.type):
            raise VectorFileError(f"The column {field.name!r} of {path.name} is no UTF-8: save it in that encoding.")
    x, y = (_degrees(path.name, columns, name) for name in AXES)
    crs = pyproj.CRS.from_user_input(DEGREES).to_wkt()
    return GeometryTable(name=path.name, geometries=_points(path.name, x, y), columns=columns, crs=crs)


def _with_codes(path: Path, columns: Any) -> Any:
    """The columns, those whose numbers are codes as texts: 0123 is not 123, nor are all digits of a long one kept."""
    pa = pyarrow()
    csv: Any = import_module("pyarrow.csv")
    kinds = {field.name: field.type for field in columns.schema if field.name not in AXES}
    numbers = [name for name, kind in kinds.items() if pa.types.is_integer(kind) or pa.types.is_floating(kind)]
    if not numbers or len({*columns.column_names}) < len(columns.column_names):
        return columns
    as_texts = csv.ConvertOptions(include_columns=numbers, column_types=dict.fromkeys(numbers, pa.string()))
    texts = csv.read_csv(path, convert_options=as_texts)
    for name in numbers:
        pattern = CODE if pa.types.is_integer(kinds[name]) else f"{CODE}|{LONG}"
        if pa.compute.any(pa.compute.match_substring_regex(texts[name], pattern)).as_py():
            place = columns.column_names.index(name)
            held = pa.compute.if_else(pa.compute.is_valid(columns[name]), texts[name], pa.scalar(None, pa.string()))
            columns = columns.set_column(place, name, held)
    return columns


def _points(name: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    for number in np.flatnonzero(np.isnan(x) != np.isnan(y)):
        raise VectorFileError(f"Row {number + 1} of {name} has only one of {' and '.join(AXES)}: mend it.")
    points = np.full(len(x), None, dtype=object)
    known = ~np.isnan(x)
    points[known] = shapely.points(x[known], y[known])
    return points


def _degrees(name: str, columns: Any, axis: str) -> np.ndarray:
    """The numbers of a column (row,) float64, NaN where it is empty."""
    pa = pyarrow()
    if columns.column_names.count(axis) != 1:
        listed = ", ".join(columns.column_names[:10])
        raise VectorFileError(f"{name} needs one column {axis!r} of degrees on WGS 84; it has: {listed[:200]}.")
    column = columns[axis]
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_null(column.type)):
        raise VectorFileError(f"The column {axis!r} of {name} holds {column.type}, no numbers: give decimal degrees.")
    missing = np.asarray(column.is_null())
    degrees = np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)
    for number in np.flatnonzero(~missing & ~(np.abs(degrees) <= AXES[axis])):
        raise VectorFileError(
            f"Row {number + 1} of {name} has {axis} {degrees[number]:g}: expected {-AXES[axis]:g} to {AXES[axis]:g}."
        )
    return degrees
