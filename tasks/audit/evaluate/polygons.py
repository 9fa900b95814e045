"""The pixels whose centres lie in polygons of labels, tile by tile of the absolute lattice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely
from affine import Affine
from rasterio.features import rasterize

from tilewright.tasks.grid.pixel_box import PixelBox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shapely.geometry.base import BaseGeometry

TILE = 512
"""Pixels of a side of a tile, which lie at multiples of it from the CRS origin: no figure depends on the cut."""


def tiles_in(box: PixelBox) -> Iterator[PixelBox]:
    """The tiles that touch a box, whole, row by row."""
    for row in range(box.row_start // TILE, -(-box.row_stop // TILE)):
        for col in range(box.col_start // TILE, -(-box.col_stop // TILE)):
            yield PixelBox.at(row * TILE, col * TILE, shape=(TILE, TILE))


def polygon_pixels(
    shapes: np.ndarray, extent: PixelBox
) -> Iterator[tuple[PixelBox, np.ndarray, np.ndarray, np.ndarray]]:
    """The pixels of an extent whose centres lie in polygons, given in absolute pixels (x a column, y minus a row).

    Per tile: the part of it that lies in the extent, and one entry per pixel and polygon that holds it: the number of
    the polygon, and absolute row and column. A pixel in several polygons comes once for each.
    """
    there = np.flatnonzero(~(shapely.is_missing(shapes) | shapely.is_empty(shapes)))
    if not len(there):
        return
    tree = shapely.STRtree(shapes[there])
    west, south, east, north = shapely.total_bounds(shapes[there])
    around = PixelBox(
        row_start=int(np.floor(max(-north, extent.row_start))),
        row_stop=int(np.ceil(min(-south, extent.row_stop))),
        col_start=int(np.floor(max(west, extent.col_start))),
        col_stop=int(np.ceil(min(east, extent.col_stop))),
    ).intersect(extent)
    if around.empty:
        return
    for tile in tiles_in(around):
        inside = tile.intersect(extent)
        square = shapely.box(tile.col_start, -tile.row_stop, tile.col_stop, -tile.row_start)
        touching = there[np.sort(tree.query(square, predicate="intersects"))]
        found = [(number, *_burnt(shapes[number], tile, inside)) for number in touching.tolist()]
        kept = [each for each in found if len(each[1])]
        if kept:
            owners = np.concatenate([np.full(len(rows), number, dtype=np.int64) for number, rows, _ in kept])
            rows, cols = (np.concatenate([each[axis] for each in kept]) for axis in (1, 2))
            yield inside, owners, rows, cols


def _burnt(shape: BaseGeometry, tile: PixelBox, inside: PixelBox) -> tuple[np.ndarray, np.ndarray]:
    """The absolute rows and columns of pixels of a tile, inside a part of it, whose centres lie in a polygon.

    The window hangs on the polygon and the tile alone, so that a centre on an edge falls alike in every cut.
    """
    west, south, east, north = shapely.bounds(shape)
    around = PixelBox(
        row_start=int(np.floor(max(-north, tile.row_start))),
        row_stop=int(np.ceil(min(-south, tile.row_stop))),
        col_start=int(np.floor(max(west, tile.col_start))),
        col_stop=int(np.ceil(min(east, tile.col_stop))),
    )
    if around.empty:
        return np.array([], dtype=np.int64), np.array([], dtype=np.int64)
    transform = Affine(1, 0, around.col_start, 0, -1, -around.row_start)
    burnt = rasterize([(shape, 1)], out_shape=around.shape, transform=transform, dtype="uint8")
    rows, cols = np.nonzero(burnt)
    rows, cols = rows + around.row_start, cols + around.col_start
    kept = (rows >= inside.row_start) & (rows < inside.row_stop)
    kept &= (cols >= inside.col_start) & (cols < inside.col_stop)
    return rows[kept], cols[kept]
