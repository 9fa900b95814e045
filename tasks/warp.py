"""Warping that does not depend on the cut: always in whole cells of a lattice anchored to the target CRS.

A cell is warped the same way whoever asks for it, so two reads that share a pixel have the same bits there.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from tasks.align import transformer
from tasks.lattice import Box, Lattice, cells

if TYPE_CHECKING:
    from collections.abc import Iterator

    from affine import Affine

CELL = 64
"""Pixels a side warped at once. Smaller ones cost time per cell, larger ones warp more beyond a block's edges."""

SHEET = 4096
"""Pixels a side of the virtual raster that cells are read from; whole sheets lie on the same lattice."""

TOLERANCE_PX = 1e-6
"""Error allowed to GDAL's approximation of the transformation. 0 crashes rasterio 1.4.4."""

FULL_SIZE = 0.95
"""Target over source resolution from which GDAL widens no kernel. Source: GDAL 3.10, gdalwarpkernel.cpp, dfXScale."""


def warp(
    dataset: Any,
    *,
    band: int,
    transform: Affine,
    nodata: float | None,
    lattice: Lattice,
    box: Box,
    resampling: str,
) -> tuple[np.ndarray, np.ndarray | None]:
    """A band of an open file on a box of the lattice: (pixels in the file's dtype, valid or None), both (y, x).

    `transform` is the file's. Where `nodata` is given it also fills what the file does not cover, and `valid` is None;
    otherwise `valid` is True where the file has pixels.
    """
    fill = 0 if nodata is None else nodata
    pixels = np.full(box.shape, fill, dtype=dataset.dtypes[band - 1])
    valid = np.zeros(box.shape, dtype=bool) if nodata is None else None
    for sheet in cells(box, size=SHEET):
        part = box.intersect(sheet)
        assert part is not None, "a sheet that touches a box shares pixels with it"
        with _open_sheet(dataset, transform, nodata, lattice=lattice, sheet=sheet, resampling=resampling) as source:
            for target, window, inside in _cell_windows(part, sheet, box):
                pixels[target] = source.read(band, window=window)[inside]
                if valid is not None:
                    valid[target] = source.read(source.count, window=window)[inside] >= 128
    return pixels, valid


def _cell_windows(part: Box, sheet: Box, box: Box) -> Iterator[tuple[Any, Any, Any]]:
    """Per cell: where it goes in the box, its window in the sheet, and what of it is wanted."""
    for cell in cells(part, size=CELL):
        wanted = cell.intersect(part)
        assert wanted is not None, "a cell that touches a box shares pixels with it"
        yield wanted.slices_in(box), cell.slices_in(sheet), wanted.slices_in(cell)


def _open_sheet(
    dataset: Any, transform: Affine, nodata: float | None, *, lattice: Lattice, sheet: Box, resampling: str
) -> WarpedVRT:
    scale = min(1.0, 1 / pixel_ratio(dataset.crs.to_wkt(), transform, lattice, sheet))
    scale = 1.0 if scale > FULL_SIZE else scale
    nodata_options = {"add_alpha": True} if nodata is None else {"src_nodata": nodata, "nodata": nodata}
    return WarpedVRT(
        dataset,
        crs=lattice.crs,
        src_transform=transform,
        transform=lattice.transform(sheet.row, sheet.col),
        width=sheet.width,
        height=sheet.height,
        resampling=Resampling[resampling],
        tolerance=TOLERANCE_PX,
        XSCALE=scale,
        YSCALE=scale,
        **nodata_options,
    )


def pixel_ratio(file_crs: str, transform: Affine, lattice: Lattice, sheet: Box) -> float:
    """Side of a lattice pixel over side of a file pixel, both on the ground at the sheet's centre; 1 beyond a CRS."""
    to_file = ~transform
    centre_row, centre_col = sheet.row + sheet.height // 2, sheet.col + sheet.width // 2
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
