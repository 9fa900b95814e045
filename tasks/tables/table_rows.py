"""The rows of a table of geometries, some at a time, whatever its size: those of a GeoParquet file, or of a table."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import shapely

from tilewright.catalogs.parquet import pyarrow
from tilewright.tasks.tables.geoparquet import kinds_of
from tilewright.tasks.tables.vector_file import (
    MOST_BYTES,
    VectorFileError,
    check_finite,
    geometries_in,
    known_crs,
    open_parquet,
    read_errors,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy as np

    from tilewright.tasks.tables.vector_file import GeometryTable

    Bounds = tuple[float, float, float, float]

ROWS_AT_ONCE = 5_000
"""Rows that are in memory at a time; large shapes take some tens of kilobytes each."""

CORNERS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRows:
    """A table called ``name`` of ``n_rows``: the pyarrow ``schema`` of its columns but for the geometry, ``crs`` as
    WKT, the bounds of all (minx, miny, maxx, maxy; NaN if that is not known), the ``kinds`` of geometries by their
    names in GeoParquet (empty if not known), and ``batches`` that give its rows once: the columns (pyarrow) and shapely
    geometries (row,), None for none.
    """

    name: str
    schema: Any
    crs: str
    n_rows: int
    bounds: Bounds
    kinds: frozenset[str]
    batches: Callable[[], Iterator[tuple[Any, np.ndarray]]]


def rows_of(table: GeometryTable, name: str) -> TableRows:
    """The rows of a table in memory."""

    def batches() -> Iterator[tuple[Any, np.ndarray]]:
        for start in range(0, len(table.geometries), ROWS_AT_ONCE):
            shapes = table.geometries[start : start + ROWS_AT_ONCE]
            yield table.columns.slice(start, len(shapes)), shapes

    bounds = shapely.total_bounds(table.geometries) if len(table.geometries) else (math.nan,) * CORNERS
    return TableRows(
        name=name,
        schema=table.columns.schema,
        crs=table.crs,
        n_rows=len(table.geometries),
        bounds=_bounds([*bounds]),
        kinds=frozenset(kinds_of(table.geometries)),
        batches=batches,
    )


@contextmanager
def rows_in(path: Path, name: str) -> Iterator[TableRows]:
    """The rows of a GeoParquet file while it is open.

    Raises VectorFileError for a file that is none, or is damaged, as does reading them.
    """
    pa = pyarrow()
    table = open_parquet(path)

    def batches() -> Iterator[tuple[Any, np.ndarray]]:
        first = 0
        given = table.file.iter_batches(ROWS_AT_ONCE, columns=[*table.others, table.geometry])
        while True:
            with read_errors(path):
                batch = next(given, None)
                if batch is None:
                    return
                if batch.nbytes > MOST_BYTES:
                    raise VectorFileError(f"Rows of {path.name} take over {MOST_BYTES // 2**20} MiB: simplify them.")
                shapes = geometries_in(path.name, batch.column(table.geometry))
                check_finite(path.name, shapes, first=first)
                columns = pa.Table.from_batches([batch]).drop_columns([table.geometry])
            yield columns, shapes
            first += batch.num_rows

    with table.file:
        yield TableRows(
            name=name,
            schema=pa.schema([table.file.schema_arrow.field(each) for each in table.others]),
            crs=known_crs(path.name, table.crs),
            n_rows=table.file.metadata.num_rows,
            bounds=_bounds(table.bounds),
            kinds=_kinds(table.kinds),
            batches=batches,
        )


def _kinds(stated: object) -> frozenset[str]:
    """The types of geometries that a file states; none where it states what is no list of names."""
    known = isinstance(stated, list) and all(isinstance(each, str) for each in stated)
    return frozenset(str(each) for each in stated) if known and isinstance(stated, list) else frozenset()


def _bounds(stated: object) -> Bounds:
    """Bounds that a file states; NaN where it states none that are numbers."""
    if isinstance(stated, list) and len(stated) == CORNERS and all(isinstance(each, (int, float)) for each in stated):
        west, south, east, north = (float(each) for each in stated)
        return west, south, east, north
    return math.nan, math.nan, math.nan, math.nan
