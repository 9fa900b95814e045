"""The groups that pairs are scored in: by a column of the labels, the season of their date, zones, or MGRS tiles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from tilewright.models.fields import did_you_mean
from tilewright.tasks.audit.evaluate.label_dates import DATES, date_column, label_days
from tilewright.tasks.audit.evaluate.label_file import LabelError, encoded
from tilewright.tasks.audit.evaluate.tiles import MOST_GROUPS, TILE, TileGroups
from tilewright.tasks.grid.mgrs.tiles import NONE
from tilewright.tasks.tables.vector_file import path_and_layer, read_geometry_table
from tilewright.tasks.zones.zones import zones_on_grid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shapely.geometry.base import BaseGeometry

    from tilewright.tasks.audit.evaluate.label_file import LabelTable
    from tilewright.tasks.audit.evaluate.pairs import Pairs
    from tilewright.tasks.grid.grid import Grid

ZONE_FILES = (".parquet", ".geoparquet", ".geojson", ".json", ".fgb", ".gpkg", ".shp")

SEASON = "season"
SEASONS = {12: "DJF", 1: "DJF", 2: "DJF", 3: "MAM", 4: "MAM", 5: "MAM",
           6: "JJA", 7: "JJA", 8: "JJA", 9: "SON", 10: "SON", 11: "SON"}  # fmt: skip
"""Meteorological seasons by month, named by the first letters of their months."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowGroups:
    """Groups of rows of the label file: their ``names`` and the ``codes`` of rows."""

    names: tuple[str, ...]
    codes: np.ndarray

    def of(self, pairs: Pairs) -> np.ndarray:
        """The groups of pairs."""
        found: np.ndarray = self.codes[pairs.owners]
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneGroups:
    """Groups of the zones that hold the centres of pixels, the first of several; ``shapes`` are in absolute pixels.

    A centre on the border of zones is in the first of them.
    """

    names: tuple[str, ...]
    shapes: np.ndarray

    def of(self, pairs: Pairs) -> np.ndarray:
        """The groups of pairs; the last one is of those in no zone."""
        found = np.full(len(pairs), len(self.names) - 1, dtype=np.int64)
        there = np.flatnonzero(~shapely.is_missing(self.shapes))
        tree = shapely.STRtree(self.shapes[there])
        centres = shapely.points(pairs.cols + 0.5, -(pairs.rows + 0.5))
        points, zones = tree.query(centres, predicate="intersects")
        np.minimum.at(found, points, there[zones])
        return found


Groups = RowGroups | ZoneGroups | TileGroups


def groups_of(
    table: LabelTable | None, name: str, *, by: str | None, grid: Grid, cut: Callable[[BaseGeometry], BaseGeometry]
) -> Groups | None:
    """The groups that are asked for: of a column or season of the labels called ``name``, of ``tile``, or of a file of
    zones on a grid. ``table`` is None for a raster; ``cut`` is that of `read_label_table`.

    Raises LabelError as `row_groups` does, and for a raster's columns and too many zones; VectorFileError or ZoneError
    for a file that holds none.
    """
    if by is None:
        return None
    columns = table.columns if table is not None else None
    known = columns is not None and by in columns.column_names
    path = Path(by)
    if not known and path_and_layer(path)[0].suffix.lower() in ZONE_FILES:
        return _zone_groups(path, grid, cut)
    if not known and by == TILE:
        return TileGroups(grid=grid)
    if columns is None:
        raise LabelError(f"--by {by!r}: a raster of labels has no columns, give {TILE} or a file of zones.")
    return row_groups(columns, by, name=name)


def _zone_groups(path: Path, grid: Grid, cut: Callable[[BaseGeometry], BaseGeometry]) -> ZoneGroups:
    table = read_geometry_table(path)
    placed = zones_on_grid(table, grid, cut=cut)
    names = next((name for name in ("name", "id") if name in table.columns.column_names), None)
    numbers = range(1, len(placed.pixels) + 1)
    told = [str(each) for each in (numbers if names is None else table.columns[names].to_pylist())]
    twice = len(set(told)) < len(told)
    unique = tuple(f"{name} ({n})" if twice else name for n, name in zip(numbers, told, strict=True))
    if len(unique) > MOST_GROUPS:
        raise LabelError(f"--by {path.name} has {len(unique):,} zones: give at most {MOST_GROUPS:,}.")
    return ZoneGroups(names=(*unique, NONE), shapes=placed.pixels)


def row_groups(columns: Any, by: str, *, name: str) -> RowGroups:
    """The groups of a column of labels of the file called ``name``; ``season`` is told of its dates.

    Raises LabelError for a column that is not there, or makes too many groups.
    """
    if by not in columns.column_names and by == SEASON:
        return _seasons(columns, name=name)
    if by not in columns.column_names:
        listed = ", ".join(columns.column_names)
        raise LabelError(
            f"--by {by!r} is no column of {name}{did_you_mean(by, columns.column_names)}: it has {listed[:300]}; or "
            "give season, tile, or a file of zones."
        )
    values, places = encoded(columns[by], where=f"{by!r} of {name}")
    if len(values) > MOST_GROUPS:
        raise LabelError(f"--by {by!r} makes {len(values):,} groups of {name}: give a column of at most {MOST_GROUPS}.")
    texts = [_text(value) for value in values]
    return _grouped([*texts, NONE], places)


def _seasons(columns: Any, *, name: str) -> RowGroups:
    given = date_column(columns)
    if given is None:
        raise LabelError(f"--by season needs a column of dates in {name}: call one of them {', '.join(DATES[:3])}.")
    texts = [NONE if days is None else SEASONS[days[0].month] for days in label_days(columns, given, name=name)]
    names = list(dict.fromkeys(texts))
    return _grouped(names, np.array([names.index(each) for each in texts], dtype=np.int64))


def _grouped(texts: Sequence[str], places: np.ndarray) -> RowGroups:
    """The groups in the order of their names, numbers by size, of those that occur; two values of one text are one."""
    used = sorted({texts[place] for place in np.unique(places).tolist()}, key=_order)
    table = np.array([used.index(each) if each in used else -1 for each in texts], dtype=np.int64)
    return RowGroups(names=tuple(used), codes=table[places])


def _order(text: str) -> tuple[int, float, str]:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    # A text "nan" has no place among numbers.
    return (0, number, text) if math.isfinite(number) else (2 if text == NONE else 1, 0.0, text)


def _text(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NONE
    return f"{value:.17g}" if isinstance(value, float) and value.is_integer() else str(value)
