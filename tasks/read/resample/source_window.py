"""The part of a file that a geobox needs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.tasks.grid.crs import same_crs, transformer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from affine import Affine

    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.read.resample.cells import CellGrid


SMOOTH = frozenset({"bilinear", "cubic", "cubic_spline", "lanczos"})
"""Rules that weigh neighbours, for which averaged pixels stand in for the full ones where the grid is coarser."""

EDGE_POINTS = 21
"""Points per edge of a rectangle that are projected to find its extent in another CRS or in a file."""

KERNEL_PX = 4
"""Pixels read around the extent: 3 for Lanczos' kernel and 1 for the curvature of edges between the points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileWindow:
    """Half-open rows and columns of a file."""

    row_start: int
    row_stop: int
    col_start: int
    col_stop: int

    @property
    def slices(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """((row_start, row_stop), (col_start, col_stop)), as rasterio takes it."""
        return (self.row_start, self.row_stop), (self.col_start, self.col_stop)

    @property
    def size(self) -> int:
        """The number of its pixels."""
        return (self.row_stop - self.row_start) * (self.col_stop - self.col_start)

    def blocks(self, block: tuple[int, int]) -> Iterator[tuple[int, int]]:
        """(row, col) of the blocks of (height, width) that the window touches."""
        height, width = block
        for row in range(self.row_start // height, -(-self.row_stop // height)):
            for col in range(self.col_start // width, -(-self.col_stop // width)):
                yield row, col


def source_window(
    dataset: Any, file_crs: str, transform: Affine, lattice: CellGrid, box: PixelBox, *, resampling: str
) -> FileWindow | None:
    """The pixels of an open file, with its CRS and transform, that a box of the lattice may need; None for none.

    A rule that weighs neighbours needs some beyond the box, also where the box ends at pixel edges.
    """
    xs, ys = _edges(lattice, box)
    if not same_crs(file_crs, lattice.crs):
        xs, ys = transformer(lattice.crs, file_crs).transform(xs, ys)
    inverse = ~transform
    cols, rows = inverse.a * xs + inverse.b * ys + inverse.c, inverse.d * xs + inverse.e * ys + inverse.f
    if not (np.isfinite(cols).all() and np.isfinite(rows).all()):
        return FileWindow(row_start=0, row_stop=dataset.height, col_start=0, col_stop=dataset.width)
    exact = resampling not in SMOOTH and same_crs(file_crs, lattice.crs) and _on_pixel_corners(rows, cols)
    margin = 0 if exact else _kernel_margin(rows, cols, box)
    row_start, row_stop = _clip(rows, margin, dataset.height)
    col_start, col_stop = _clip(cols, margin, dataset.width)
    if row_start >= row_stop or col_start >= col_stop:
        return None
    return FileWindow(row_start=row_start, row_stop=row_stop, col_start=col_start, col_stop=col_stop)


def _edges(lattice: CellGrid, box: PixelBox) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (x, y) of points along the four edges of a box."""
    transform = lattice.transform(box.row_start, box.col_start)
    along = np.linspace(0.0, 1.0, EDGE_POINTS)
    zero, one = np.zeros_like(along), np.ones_like(along)
    cols = np.concatenate([along, along, zero, one]) * box.shape[1]
    rows = np.concatenate([zero, one, along, along]) * box.shape[0]
    return transform.a * cols + transform.c, transform.e * rows + transform.f


def _on_pixel_corners(rows: np.ndarray, cols: np.ndarray) -> bool:
    """True if the extent's corners are corners of file pixels, within rounding."""
    corners = np.array([rows.min(), rows.max(), cols.min(), cols.max()])
    return bool((np.abs(corners - np.round(corners)) < 1e-6).all())


def _kernel_margin(rows: np.ndarray, cols: np.ndarray, box: PixelBox) -> int:
    """The reach of the kernel in file pixels, which grows with the pixels of a coarser grid."""
    ratio = max(float(np.ptp(rows)) / box.shape[0], float(np.ptp(cols)) / box.shape[1], 1.0)
    return math.ceil(KERNEL_PX * ratio)


def _clip(places: np.ndarray, margin: int, size: int) -> tuple[int, int]:
    start, stop = math.floor(places.min() + 1e-6) - margin, math.ceil(places.max() - 1e-6) + margin
    return max(start, 0), min(stop, size)
