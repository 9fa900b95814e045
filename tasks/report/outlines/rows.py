"""The rows of a table of geometries that the page shows: which these are, and their values and outlines.

A table is read some rows at a time, whatever its size: first the figures that rank its rows, then the rows chosen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from tilewright.catalogs.parquet import pyarrow
from tilewright.tasks.report.outlines.columns import is_fiboa, is_number
from tilewright.tasks.report.outlines.paths import PARTS, boxes, path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tilewright.tasks.report.outlines.paths import PictureFrame

MAX_LISTED = 200
"""Rows of a table in the list of the page."""

MAX_DRAWN = 4000
"""Shapes of a table that are drawn, the largest ones."""

ROWS_AT_ONCE = 10_000

HECTARE_M2 = 10_000.0


def area_columns(file: Any) -> list[str]:
    """The column by which a table's shapes are ranked by size; their boxes if it states no areas."""
    schema = file.schema_arrow
    measured = "area" if is_fiboa(schema) else "area_m2"
    return [measured] if is_number(schema, measured) else [name for name in schema.names if name == "bbox"]


def rank(file: Any, *, score: bool) -> tuple[np.ndarray, np.ndarray]:
    """The places of the rows that are drawn, largest first, and of those that are listed."""
    drawn, listed = Largest(MAX_DRAWN), Largest(MAX_LISTED)
    measured = area_columns(file)
    if not (score or measured):
        first = np.arange(min(MAX_LISTED, file.metadata.num_rows))
        return first, first
    for batch in file.iter_batches(ROWS_AT_ONCE, columns=[*measured, *(["score"] if score else [])]):
        areas = _areas(batch, measured)
        drawn.add(areas)
        listed.add(_numbers(batch.column("score")) if score else areas)
    return drawn.places, listed.places


def _areas(batch: Any, measured: list[str]) -> np.ndarray:
    if measured == ["area_m2"]:
        return _numbers(batch.column("area_m2"))
    if measured == ["area"]:
        # fiboa has no number for the largest ones.
        return np.nan_to_num(_numbers(batch.column("area")), nan=np.inf, posinf=np.inf)
    if measured == ["bbox"]:
        return box_areas(_numbers(each) for each in batch.column("bbox").flatten())
    return np.full(batch.num_rows, np.nan)


def _numbers(column: Any) -> np.ndarray:
    return np.asarray(column.cast("float64").to_numpy(zero_copy_only=False), dtype=np.float64)


def chosen_rows(file: Any, places: np.ndarray, frame: PictureFrame) -> Iterator[dict[str, Any]]:
    """The rows at sorted places, in their order, by columns, with the geometry's `path` and `box` on the picture.

    Groups of rows without any of them are not read.
    """
    names = [name for name in file.schema_arrow.names if name != "bbox"]
    hectares = "area" if is_fiboa(file.schema_arrow) else ""
    start = 0
    for group in range(file.num_row_groups):
        stop = start + file.metadata.row_group(group).num_rows
        if np.searchsorted(places, start) < np.searchsorted(places, stop):
            for batch in file.iter_batches(ROWS_AT_ONCE, row_groups=[group], columns=names):
                here = places[np.searchsorted(places, start) : np.searchsorted(places, start + batch.num_rows)]
                yield from _chosen(batch.take(pyarrow().array(here - start)), here, frame, hectares)
                start += batch.num_rows
        start = stop


def _chosen(batch: Any, places: np.ndarray, frame: PictureFrame, hectares: str) -> Iterator[dict[str, Any]]:
    # Paths are made at once: as they are stored the geometries that are chosen may be most of a table.
    placed = frame.placed(shapely.from_wkb(batch.column("geometry").to_numpy(zero_copy_only=False)))
    rows = batch.drop_columns(["geometry"]).to_pylist()
    for place, row, geometry, box in zip(places.tolist(), rows, placed, boxes(placed).tolist(), strict=True):
        seen = max(box[2] - box[0], box[3] - box[1]) >= PARTS
        area = row.get(hectares)
        yield {
            **row,
            **({"area_m2": area * HECTARE_M2} if isinstance(area, float) else {}),
            "number": row["id"] if isinstance(row.get("id"), int) else place + 1,
            "path": path(geometry, step=frame.step) if seen else "",
            "box": None if geometry is None else tuple(box),
        }


class Largest:
    """The `n` largest of the numbers that it is given, by their places in the order given; equal ones by place.

    It holds no more than that and what it is given at a time. NaN is smaller than every number.
    """

    def __init__(self, n: int) -> None:
        self._n, self._seen = n, 0
        self._values = np.zeros(0)
        self._places = np.zeros(0, dtype=np.int64)

    def add(self, values: np.ndarray) -> None:
        """Take the next numbers."""
        places = np.arange(self._seen, self._seen + len(values))
        self._seen += len(values)
        values = np.nan_to_num(values.astype(np.float64), nan=-np.inf, posinf=np.inf, neginf=-np.inf)
        if len(self._places) == self._n:
            # What comes later has to be larger than the least of those that are kept.
            larger = values > self._values[-1]
            values, places = values[larger], places[larger]
        values, places = np.concatenate([self._values, values]), np.concatenate([self._places, places])
        order = np.lexsort((places, -values))[: self._n]
        self._values, self._places = values[order], places[order]

    @property
    def places(self) -> np.ndarray:
        """The places, int64, the largest number first."""
        return self._places


def box_areas(corners: Iterable[np.ndarray]) -> np.ndarray:
    """The areas of boxes from their minx, miny, maxx, maxy, an array each; NaN for those of no geometry."""
    west, south, east, north = (np.asarray(each, dtype=np.float64) for each in corners)
    return np.asarray((east - west) * (north - south))
