"""Warping that does not depend on the cut: always in whole cells of a lattice anchored to the target CRS.

A cell is always warped in the same way, so two reads that share a pixel have the same bits there.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from tilewright.tasks.grid.crs import transformer
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.read.cells import CellGrid, cells

if TYPE_CHECKING:
    from collections.abc import Iterator

    from affine import Affine


CELL = 128
"""Pixels a side warped at once: the height of GDAL's blocks of a warped raster, which are as wide as the raster up to
512. A raster one cell wide is therefore warped cell by cell. Source: GDAL 3.10, vrtwarped.cpp, VRTWarpedDataset.
"""

SHEET = 4096
"""Pixels a side of the squares, on the same lattice, in which the ratio of pixel sizes is taken to be constant."""

TOLERANCE_PX = 1e-3
"""Error in file pixels allowed to GDAL's approximation of the transformation along a row of a cell: a centimetre at
10 m. It does not depend on the cut, since cells do not; 1e-6 would double the time of a warp. 0 crashes rasterio 1.4.4.
"""

FULL_SIZE = 0.95
"""Target over source resolution from which GDAL widens no kernel. Source: GDAL 3.10, gdalwarpkernel.cpp, dfXScale."""


def warp(
    dataset: Any,
    *,
    band: int,
    transform: Affine,
    nodata: float | None,
    lattice: CellGrid,
    box: PixelBox,
    resampling: str,
) -> tuple[np.ndarray, np.ndarray | None]:
    """A band of an open file on a box of the lattice: (pixels in the file's dtype, valid or None), both (y, x).

    `transform` is the file's. With a `nodata` value, pixels outside the file have it and `valid` is None; without one
    `valid` is True where the file has pixels.
    """
    fill = 0 if nodata is None else nodata
    pixels = np.full(box.shape, fill, dtype=dataset.dtypes[band - 1])
    valid = np.zeros(box.shape, dtype=bool) if nodata is None else None
    for column in _columns(box):
        with _open_column(dataset, transform, nodata, lattice=lattice, column=column, resampling=resampling) as source:
            target, window, inside = _rows_of_cells(column, box)
            pixels[target] = source.read(band, window=window)[inside]
            if valid is not None:
                valid[target] = source.read(source.count, window=window)[inside] >= 128
    return pixels, valid


def _columns(box: PixelBox) -> Iterator[PixelBox]:
    """The columns, a cell wide and a sheet high, that touch a box."""
    for sheet in cells(box, size=SHEET):
        for left in range(sheet.col_start, sheet.col_stop, CELL):
            column = PixelBox.at(sheet.row_start, left, shape=(SHEET, CELL))
            if not column.intersect(box).empty:
                yield column


def _rows_of_cells(column: PixelBox, box: PixelBox) -> tuple[Any, Any, Any]:
    """Slices for the cells of a column that touch a box: in the box, of the cells in the column, of the box in them."""
    wanted = column.intersect(box)
    assert not wanted.empty, "a column is opened for the pixels it shares with the box"
    touched = list(cells(wanted, size=CELL))
    height = touched[-1].row_stop - touched[0].row_start
    whole = PixelBox.at(touched[0].row_start, column.col_start, shape=(height, CELL))
    return wanted.slices_in(box), whole.slices_in(column), wanted.slices_in(whole)


def _open_column(
    dataset: Any, transform: Affine, nodata: float | None, *, lattice: CellGrid, column: PixelBox, resampling: str
) -> WarpedVRT:
    sheet = next(cells(column, size=SHEET))
    scale = min(1.0, 1 / pixel_ratio(dataset.crs.to_wkt(), transform, lattice, sheet))
    scale = 1.0 if scale > FULL_SIZE else scale
    nodata_options = {"add_alpha": True} if nodata is None else {"src_nodata": nodata, "nodata": nodata}
    return WarpedVRT(
        dataset,
        crs=lattice.crs,
        src_transform=transform,
        transform=lattice.transform(column.row_start, column.col_start),
        width=column.shape[1],
        height=column.shape[0],
        resampling=Resampling[resampling],
        tolerance=TOLERANCE_PX,
        XSCALE=scale,
        YSCALE=scale,
        **nodata_options,
    )


@lru_cache(maxsize=1024)
def pixel_ratio(file_crs: str, transform: Affine, lattice: CellGrid, sheet: PixelBox) -> float:
    """Side of a lattice pixel over side of a file pixel, both on the ground at the sheet's centre; 1 beyond a CRS."""
    to_file = ~transform
    centre_row, centre_col = sheet.row_start + sheet.shape[0] // 2, sheet.col_start + sheet.shape[1] // 2
    corner = lattice.transform(centre_row, centre_col)
    xs = [corner.c, corner.c + corner.a, corner.c]
    ys = [corner.f, corner.f, corner.f + corner.e]
    file_xs, file_ys = transformer(lattice.crs, file_crs).transform(xs, ys)
    points = [to_file * point for point in zip(file_xs, file_ys, strict=True)]
    if not all(math.isfinite(number) for point in points for number in point):
        return 1.0
    (x0, y0), (x1, y1), (x2, y2) = points
    area = abs((x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0))
    return math.sqrt(area) or 1.0
