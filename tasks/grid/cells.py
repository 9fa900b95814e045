"""The cells of a lattice that an area touches, and the parts of an area that hold a pixel: as much work as they cost,
however large the grid around them is.
"""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING

import numpy as np
import shapely

from tilewright.tasks.grid.pixel_box import PixelBox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry

    from tilewright.tasks.grid.grid import Grid

Cells = tuple[range, range]
"""(rows, columns) of a rectangle of cells, in cells from the CRS origin."""

EDGE = 1e-6
"""Pixels beyond the bounds of an area within which it still touches a cell; its intersection decides."""

MOST_CENTRES = 10_000
"""Pixel centres of a part that are tried one by one."""


def block_range(box: PixelBox, *, block: int) -> Cells:
    """(rows, columns) of the cells of side ``block`` that a box touches, in cells from the CRS origin."""
    rows = range(box.row_start // block, -(-box.row_stop // block))
    cols = range(box.col_start // block, -(-box.col_stop // block))
    return rows, cols


class PreparedArea:
    """An area in a grid's CRS of which many boxes are asked, by any thread. ``geometry`` is as it was given.

    GEOS notes what it looks up in a prepared geometry, for one thread alone: others crash, or are told what is not so.
    So the prepared one is a copy that nobody else has, and one thread at a time asks it.

    Source: https://github.com/libgeos/geos/issues/825.
    """

    __slots__ = ("_lock", "_parts", "_prepared", "geometry")

    def __init__(self, geometry: BaseGeometry) -> None:
        self.geometry = geometry
        self._prepared = shapely.from_wkb(shapely.to_wkb(geometry))
        shapely.prepare(self._prepared)
        self._parts = shapely.STRtree(shapely.get_parts(geometry))
        self._lock = threading.Lock()

    def touches(self, other: BaseGeometry) -> bool:
        """True if a geometry has a point in common with the area."""
        with self._lock:
            return bool(self._prepared.intersects(other))

    def touched(self, others: np.ndarray) -> np.ndarray:
        """The same of each of many geometries (n,)."""
        with self._lock:
            return np.asarray(shapely.intersects(self._prepared, others))

    def holds(self, other: BaseGeometry) -> bool:
        """True if a geometry lies within the area."""
        with self._lock:
            return bool(self._prepared.contains(other))

    def parts_near(self, other: BaseGeometry) -> np.ndarray:
        """The area's parts (n,) whose bounds touch those of a geometry, in their order."""
        return np.asarray(self._parts.geometries[np.sort(self._parts.query(other))])


def box_of_cells(cells: Cells, *, side: int) -> PixelBox:
    """The pixels of a rectangle of cells."""
    rows, cols = cells
    return PixelBox(
        row_start=rows.start * side,
        row_stop=rows.stop * side,
        col_start=cols.start * side,
        col_stop=cols.stop * side,
    )


def touched_cells(grid: Grid, area: BaseGeometry, *, side: int) -> Iterator[tuple[Cells, bool]]:
    """(cells, whole) of the cells of the grid's extent that an area touches, in no order.

    A rectangle of several cells lies within the area, ``whole`` is True. A single one may come more than once. The
    rectangle around each part is halved until it does, so that cells that no part touches cost nothing.
    """
    parts = shapely.get_parts(area)
    shapely.prepare(parts)
    for part, bounds in zip(parts, shapely.bounds(parts).tolist(), strict=True):
        box = _pixels_around(bounds, grid).intersect(grid.extent)
        if box.empty:
            continue
        pending = [block_range(box, block=side)]
        while pending:
            cells = pending.pop()
            outline = shapely.box(*grid.bounds_of(box_of_cells(cells, side=side).intersect(grid.extent)))
            if not part.intersects(outline):
                continue
            single = len(cells[0]) == len(cells[1]) == 1
            whole = not single and part.contains(outline)
            if single or whole:
                yield cells, whole
            else:
                pending += _halves(cells)


def _pixels_around(bounds: list[float], grid: Grid) -> PixelBox:
    minx, miny, maxx, maxy = (value / grid.resolution for value in bounds)
    return PixelBox(
        row_start=math.floor(-maxy - EDGE),
        row_stop=math.floor(-miny + EDGE) + 1,
        col_start=math.floor(minx - EDGE),
        col_stop=math.floor(maxx + EDGE) + 1,
    )


def _halves(cells: Cells) -> tuple[Cells, Cells]:
    rows, cols = cells
    if len(rows) >= len(cols):
        middle = len(rows) // 2
        return (rows[middle:], cols), (rows[:middle], cols)
    middle = len(cols) // 2
    return (rows, cols[middle:]), (rows, cols[:middle])


def parts_with_pixels(grid: Grid, area: BaseGeometry) -> NDArray[np.bool_]:
    """Per part of an area in the grid's CRS, whether the centre of a pixel of the grid's extent lies in it.

    A part that is more than `MOST_CENTRES` pixels large and only has slivers of them is taken to hold one.
    """
    parts = shapely.get_parts(area)
    first, last = _centres_within(shapely.bounds(parts), grid)
    n_centres = np.prod(np.maximum(last - first + 1, 0), axis=1)
    middles = shapely.get_coordinates(shapely.point_on_surface(parts))
    nearest = np.floor(middles / grid.resolution)
    inside = (nearest >= first).all(axis=1) & (nearest <= last).all(axis=1)
    found: NDArray[np.bool_] = inside & shapely.intersects_xy(parts, *((nearest + 0.5) * grid.resolution).T)
    for index in np.flatnonzero(~found & (n_centres > 0)):
        if n_centres[index] > MOST_CENTRES:
            found[index] = True
            continue
        xs, ys = (np.arange(low, high + 1) for low, high in zip(first[index], last[index], strict=True))
        places = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
        found[index] = shapely.intersects_xy(parts[index], *((places + 0.5) * grid.resolution).T).any()
    return found


def _centres_within(bounds: NDArray[np.float64], grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(first, last) column and row upwards, each (part, 2), of the pixels with centres within bounds and extent."""
    extent = grid.extent
    lowest, highest = (extent.col_start, -extent.row_stop), (extent.col_stop - 1, -extent.row_start - 1)
    first = np.ceil(bounds[:, :2] / grid.resolution - 0.5 - EDGE)
    last = np.floor(bounds[:, 2:] / grid.resolution - 0.5 + EDGE)
    return np.maximum(first, lowest), np.minimum(last, highest)
