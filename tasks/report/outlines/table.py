"""A table of geometries as the page shows it: the largest of its rows, and the outlines of those that can be seen."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.catalogs.parquet import pyarrow
from tilewright.tasks.report.outlines.columns import (
    OWN,
    ClassColumn,
    Column,
    cell,
    enough_digits,
    is_number,
    listed_columns,
)
from tilewright.tasks.report.outlines.paths import PARTS
from tilewright.tasks.report.outlines.rows import area_columns, chosen_rows, rank
from tilewright.tasks.storage.bucket import download_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tilewright.tasks.report.outlines.paths import PictureFrame
    from tilewright.tasks.storage.storage import Storage

MAX_PATHS = 1_500_000
"""Letters of all paths of a page: with its pictures it is a few megabytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One row on the map: its number in the table, class value, box and path in parts of the picture's pixels, area in
    square metres (NaN: not known). A shape that is too small for the picture, and a point, has no path.
    """

    number: int
    value: int | None
    name: str
    box: tuple[int, int, int, int]
    path: str
    area: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedRow:
    """One row in the list: its number in the table, its class value, and a cell for each column."""

    number: int
    value: int | None
    cells: tuple[object, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableOutlines:
    """What the page shows of a table of `n_rows`: `listed`, of the largest `ranked_by` ("score", "area", ""), in the
    order of the column `sorted_by` if that is listed, and `shapes`, of which `n_drawn` have an outline. `size` is that
    of the picture, (height, width) in parts of its pixels; ``layer`` the layer whose colours it has, if it says so.
    """

    name: str
    size: tuple[int, int]
    n_rows: int
    columns: tuple[Column, ...]
    ranked_by: str
    sorted_by: str
    listed: tuple[ListedRow, ...]
    shapes: tuple[Shape, ...]
    layer: str = ""

    @property
    def n_drawn(self) -> int:
        """Shapes of which the outline is drawn."""
        return sum(1 for shape in self.shapes if shape.path)


def product_outlines(
    storage: Storage,
    files: Sequence[str],
    frame: PictureFrame,
    *,
    folder: Path,
    classes: Mapping[str, ClassColumn] | None = None,
) -> tuple[TableOutlines, ...]:
    """The outlines of the tables in these files; those in a bucket are fetched into a folder one at a time.

    `classes` are the columns of classes by file, where they are not those of the product's own tables.
    Raises StorageError if storage refuses, OSError or a ValueError for a file that is no table of geometries.
    """
    letters, told = MAX_PATHS // max(len(files), 1), classes or {}
    return tuple(
        _outlines(storage, file, frame, folder=folder, letters=letters, classes=told.get(file, OWN)) for file in files
    )


def _outlines(
    storage: Storage, file: str, frame: PictureFrame, *, folder: Path, letters: int, classes: ClassColumn
) -> TableOutlines:
    name = file.removesuffix(".parquet")
    if storage.folder is not None:
        return read_outlines(storage.folder / file, name, frame, letters=letters, classes=classes)
    local = folder / file
    storage.call_with_retries(f"read {file} in", partial(download_file, storage.root, file, local))
    try:
        return read_outlines(local, name, frame, letters=letters, classes=classes)
    finally:
        local.unlink()


def read_outlines(
    path_of_file: Path, name: str, frame: PictureFrame, *, letters: int = MAX_PATHS, classes: ClassColumn = OWN
) -> TableOutlines:
    """What the page shows of a table of geometries in the CRS of the picture, its paths of so many `letters` at most.

    Raises OSError or a ValueError (pyarrow's are) for a file that is no such table.
    """
    with pyarrow().parquet.ParquetFile(path_of_file) as file:
        columns, has_score = listed_columns(file.schema_arrow, classes), is_number(file.schema_arrow, "score")
        by_area, listed = rank(file, score=has_score)
        wanted = np.unique(np.concatenate([by_area, listed]))
        rows = _numbered(dict(zip(wanted.tolist(), chosen_rows(file, wanted, frame), strict=True)))
        columns = tuple(_with_digits(column, rows, listed) for column in columns)
        measured = area_columns(file)
        ranked_by = "score" if has_score else "area" if measured else ""
        return TableOutlines(
            name=name,
            size=(frame.shape[0] * PARTS, frame.shape[1] * PARTS),
            n_rows=file.metadata.num_rows,
            columns=columns,
            ranked_by=ranked_by,
            sorted_by="score" if has_score else next(iter(measured), ""),
            listed=tuple(_listed(rows[place], columns, classes) for place in listed.tolist()),
            shapes=_shapes(rows, by_area, listed, letters=letters, classes=classes),
            layer=classes.layer,
        )


def _with_digits(column: Column, rows: Mapping[int, Mapping[str, Any]], listed: np.ndarray) -> Column:
    """A column of numbers with the digits that tell its listed rows apart."""
    if column.kind != "number":
        return column
    return replace(column, digits=enough_digits(rows[place].get(column.name) for place in listed.tolist()))


def _numbered(rows: dict[int, dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Rows by their places; if the ids of some are alike, all are numbered by place."""
    if len({row["number"] for row in rows.values()}) == len(rows):
        return rows
    return {place: {**row, "number": place + 1} for place, row in rows.items()}


def _listed(row: Mapping[str, Any], columns: tuple[Column, ...], classes: ClassColumn) -> ListedRow:
    value = _value(row, classes)
    cells = (
        (classes.names.get(value, str(value)) if value is not None else None)
        if column.kind == "class" and classes.names
        else row.get(column.name)
        for column in columns
    )
    return ListedRow(number=row["number"], value=value, cells=tuple(cell(each) for each in cells))


def _value(row: Mapping[str, Any], classes: ClassColumn) -> int | None:
    value = row.get(classes.value)
    return value if isinstance(value, int) else None


def _shapes(
    rows: Mapping[int, Mapping[str, Any]],
    by_area: np.ndarray,
    listed: np.ndarray,
    *,
    letters: int,
    classes: ClassColumn,
) -> tuple[Shape, ...]:
    """The shapes of rows, the largest first: those with an outline that can be seen, and all that are listed."""
    in_list, shapes = set(listed.tolist()), []
    for place in dict.fromkeys([*by_area.tolist(), *listed.tolist()]):
        row = rows[place]
        if row["box"] is None:
            continue
        drawn = row["path"] if len(row["path"]) <= letters else ""
        letters -= len(drawn)
        if drawn or place in in_list or row["box"][:2] == row["box"][2:]:
            shapes.append(_shape(row, drawn, classes))
    return tuple(shapes)


def _shape(row: Mapping[str, Any], drawn: str, classes: ClassColumn) -> Shape:
    # A table of others without classes still says what its rows are called.
    value, area = _value(row, classes), row.get("area_m2")
    name = classes.names.get(value) if classes.names and value is not None else row.get("name")
    return Shape(
        number=row["number"],
        value=value,
        name=str(cell(name)) if isinstance(name, str) else "",
        box=row["box"],
        path=drawn,
        area=float(area) if isinstance(area, int | float) else math.nan,
    )
