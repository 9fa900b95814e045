"""The rows of a table of places on a grid: their windows, in absolute pixels, and the order in which they are read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from tilewright.tasks.grid.crs import transformer
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.tables.geoparquet import hilbert_places, xy_of

if TYPE_CHECKING:
    from tilewright.tasks.tables.vector_file import GeometryTable

FARTHEST = 2**29
"""Absolute pixels from the CRS origin beyond which no place is: the curve along which rows are read ends there."""

MOST_OFF = 1.0
"""Pixels by which the corner of a window may come back beside itself from longitude and latitude. A projection beyond
its domain gives places that come back elsewhere on the globe."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlaceRows:
    """The rows of a table on a grid: ``places`` (row,) are geometries in its CRS, None for none and for those with
    vertices that the CRS cannot show.

    ``tops`` and ``lefts`` (row,) int64 are the upper left pixels of windows of ``window`` pixels a side, ``centres``
    (row, 2) the (row, column) of the pixel that holds the centroid. ``order`` are the numbers of the rows that have a
    window, along a Hilbert curve; ``periods`` are the spans of each row's period, (name, start, end) in a tuple, by
    ``of_row``.
    """

    places: np.ndarray
    window: int
    tops: np.ndarray
    lefts: np.ndarray
    centres: np.ndarray
    order: np.ndarray
    periods: tuple[tuple[Any, ...], ...]
    of_row: np.ndarray

    def __len__(self) -> int:
        return len(self.places)

    def box(self, row: int) -> PixelBox:
        """The window of a row."""
        return PixelBox.at(int(self.tops[row]), int(self.lefts[row]), shape=(self.window, self.window))

    def units(self, size: int) -> list[np.ndarray]:
        """The numbers of the rows of each unit of ``size`` rows."""
        return [self.order[start : start + size] for start in range(0, len(self.order), size)]

    def lonlats(self, grid_crs: str, resolution: float) -> np.ndarray:
        """Longitude and latitude (n, 2) in degrees of the pixels that hold the centroids, of the rows with a window."""
        rows, cols = (self.centres[self.order].T + 0.5) * resolution
        return np.column_stack(transformer(grid_crs, "EPSG:4326").transform(cols, -rows))

    @property
    def extent(self) -> PixelBox:
        """The box around all windows."""
        tops, lefts = self.tops[self.order], self.lefts[self.order]
        return PixelBox(
            row_start=int(tops.min()),
            row_stop=int(tops.max()) + self.window,
            col_start=int(lefts.min()),
            col_stop=int(lefts.max()) + self.window,
        )


def place_rows(
    table: GeometryTable,
    *,
    crs: str,
    resolution: float,
    window: int,
    align: int,
    periods: tuple[tuple[Any, ...], ...],
    of_row: np.ndarray,
) -> PlaceRows:
    """The rows of a table on the grid of a CRS; only vertices are projected, the centroid is that on the grid.

    The pixel that holds the centroid has index ``window // 2`` in its window, counted in pixels of ``align`` grid
    pixels. A row whose window reaches beyond what the CRS can show has none.
    """
    places = _projected(table, crs)
    x, y = xy_of(shapely.centroid(places))
    x, y = x / resolution, -y / resolution
    with np.errstate(invalid="ignore"):
        inside = (np.abs(x) < FARTHEST - window) & (np.abs(y) < FARTHEST - window)
    cols, rows = (np.floor(np.where(inside, each, 0)).astype(np.int64) for each in (x, y))
    half = window // align // 2 * align
    tops, lefts = (each // align * align - half for each in (rows, cols))
    inside &= _shown(crs, resolution, tops, lefts, window)
    order = np.flatnonzero(inside)
    # Rows of one pixel stay in the order of their file.
    order = order[np.argsort(hilbert_places(cols[order], rows[order]), kind="stable")]
    return PlaceRows(
        places=places,
        window=window,
        tops=tops,
        lefts=lefts,
        centres=np.column_stack([rows, cols]),
        order=order,
        periods=periods,
        of_row=of_row,
    )


def _projected(table: GeometryTable, crs: str) -> np.ndarray:
    places = np.array(table.geometries, dtype=object)
    present = ~(shapely.is_missing(places) | shapely.is_empty(places))
    places[~present] = None
    project = partial(transformer(table.crs, crs).transform)
    places[present] = shapely.transform(places[present], project, interleaved=False)
    coordinates, owners = shapely.get_coordinates(places, return_index=True)
    places[np.unique(owners[~np.isfinite(coordinates).all(axis=1)])] = None
    return places


def _shown(crs: str, resolution: float, tops: np.ndarray, lefts: np.ndarray, window: int) -> np.ndarray:
    """True where all corners of a window have a longitude and latitude, and come back from there to where they are."""
    to_degrees, back = transformer(crs, "EPSG:4326"), transformer("EPSG:4326", crs)
    shown = np.ones(len(tops), dtype=bool)
    for down in (0, window):
        for right in (0, window):
            x, y = (lefts + right) * resolution, -(tops + down) * resolution
            lons, lats = to_degrees.transform(x, y)
            again = np.column_stack(back.transform(lons, lats)) - np.column_stack([x, y])
            with np.errstate(invalid="ignore"):
                shown &= (np.abs(again) <= MOST_OFF * resolution).all(axis=1) & (np.abs(lats) <= 90)
    return shown
