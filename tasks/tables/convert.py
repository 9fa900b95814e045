"""Tables of geometries written as the format that their file's name ends in, whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tilewright.tasks.tables.csv_file import write_csv
from tilewright.tasks.tables.gdal_file import DRIVERS, write_gdal
from tilewright.tasks.tables.geoparquet import whole_table, write_whole_table
from tilewright.tasks.tables.table_rows import rows_of
from tilewright.tasks.tables.vector_file import VectorFileError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilewright.tasks.tables.table_rows import TableRows
    from tilewright.tasks.tables.vector_file import GeometryTable

PARQUET, CSV = ".parquet", ".csv"

FORMATS = (PARQUET, *DRIVERS, CSV)

SEVERAL = ".gpkg"
"""The format whose files hold several tables."""


def check_target(path: Path, *, product: str | None = None) -> None:
    """Check that a table can be written to a path, before anything costs time; a file that is there is replaced.

    ``product``: the folder or URI beside which it is written. Raises VectorFileError for another ending, for a path
    inside the product, and where no file can be made.
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
    home = None if product is None or "://" in product else Path(product).expanduser().resolve()
    if home is not None and home in path.expanduser().resolve().parents:
        raise VectorFileError(f"{path} lies in the product {home}, which stays as it is: give a place beside it.")


def write_as(table: GeometryTable, path: Path) -> None:
    """Write a table: GeoParquet, FlatGeobuf and GeoPackage in its CRS, GeoJSON (RFC 7946) and CSV (`write_csv`) in
    longitude and latitude, PMTiles in Web Mercator. Rows keep their order. Columns that the format cannot hold become
    JSON texts.

    A reader sees the old file or the whole new one. Raises VectorFileError for an unknown ending or what the format
    cannot hold, StorageError or OSError if the disk refuses.
    """
    check_target(path)
    if path.suffix.lower() != PARQUET:
        write_rows([rows_of(table, path.stem)], path)
        return
    with _draft(path) as draft:
        write_whole_table(draft, whole_table(table.columns, table.geometries, crs=table.crs))


def write_rows(tables: list[TableRows], path: Path, *, pixel_m: float | None = None) -> None:
    """Write tables, several to a GeoPackage alone, some rows at a time; all formats but GeoParquet.

    ``pixel_m``: metres of a pixel of the product, by which tiles are as fine as it. Raises as `write_as` does.
    """
    check_target(path)
    suffix = path.suffix.lower()
    assert suffix != PARQUET, "a table that is GeoParquet is copied"
    assert len(tables) == 1 or suffix == SEVERAL, "other files hold one table"
    with _draft(path) as draft:
        if suffix == CSV:
            write_csv(draft, tables[0])
        else:
            write_gdal(draft, tables, pixel_m=pixel_m)


def copy_parquet(source: Path, path: Path) -> None:
    """Copy a table that is GeoParquet as it is. Raises OSError if the disk refuses."""
    check_target(path)
    with _draft(path) as draft:
        shutil.copyfile(source, draft)


@contextmanager
def _draft(path: Path) -> Iterator[Path]:
    """A place on the same disk, which takes that of the path when all is written."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".tilewright-") as folder:
        draft = Path(folder) / f"table{path.suffix.lower()}"
        yield draft
        draft.replace(path)
