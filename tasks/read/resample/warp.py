"""Warping that does not depend on the cut: always in whole cells of a lattice anchored to the target CRS.

A cell is always warped in the same way, so two reads that share a pixel have the same bits there. GDAL warps the file
itself where one marker says what is missing. For any other cell the stored pixels are read first, whatever is missing
gets one marker that no value has, and these pixels are warped, so that one rule holds for every sign.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.warp import reproject

from tilewright.tasks.grid.crs import same_crs, transformer
from tilewright.tasks.grid.memory_raster import memory_raster
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.read.resample.cells import CellGrid, cells
from tilewright.tasks.read.resample.paste import whole_pixels
from tilewright.tasks.read.resample.pixels import MissingSigns, Pixels, StoredBand
from tilewright.tasks.read.resample.source_window import FileWindow, source_window

if TYPE_CHECKING:
    from collections.abc import Iterator


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


SIDE = 2048
"""File pixels a side, about, that are read at once: cells of a much coarser grid are warped in parts."""

SUM_MARGIN = 8
"""Pixels warped around a part for the sum alone."""

LEAST_PART = 8
"""Pixels a side of the smallest part of a cell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Warping:
    """A band of an open file, and how it is warped.

    `crs` (WKT) and `transform` are the file's. `misleads`: GDAL, in a warp of its own, would obey a sign of the file
    that is not in force: a band that it calls alpha, its nodata value where that is a value or none of its type, or the
    other bands of the file, since it takes a pixel for missing only where all bands are, and warps all to read one.
    """

    band: StoredBand
    crs: str
    transform: Affine
    misleads: bool
    lattice: CellGrid
    resampling: str

    def on_pixels(self, box: PixelBox) -> Warping:
        """The same on a lattice and a file that count pixels, the finer of both, if their edges coincide; else itself.

        All edges are then whole numbers. A rule that takes every pixel it touches, like max, would otherwise take a
        neighbour along wherever a coordinate of millions of metres is rounded the wrong way. The file may be turned.
        """
        fine = whole_pixels(self.transform, self.lattice.transform(box.row_start, box.col_start))
        if fine is None or not same_crs(self.crs, self.lattice.crs):
            return self
        matrix, shrink = fine
        left, top = box.col_start * shrink, box.row_start * shrink
        lattice = CellGrid(crs=self.lattice.crs, size_x=shrink, size_y=-shrink, origin=(0.0, 0.0))
        downwards = Affine.scale(1, -1) * Affine.translation(left, top) * matrix
        return replace(self, crs=lattice.crs, transform=downwards, lattice=lattice)

    @property
    def signs(self) -> MissingSigns:
        """The signs by which pixels of the band are missing."""
        return self.band.signs

    @property
    def summed(self) -> bool:
        """True for sums of integers, which their type may not hold."""
        return self.resampling == "sum" and self.signs.dtype.kind != "f"

    @property
    def marker(self) -> float | None:
        """The number of the result where there is no value; None where only a mask says it."""
        return math.nan if self.summed else self.signs.marker

    @property
    def from_file(self) -> bool:
        """True if GDAL may warp every cell from the file itself."""
        return self.plain and self.signs.dtype.kind != "f"

    @property
    def plain(self) -> bool:
        """True if GDAL may warp a cell from the file itself where no float is NaN or infinite."""
        return self.signs.plain and not (self.summed or self.misleads)


def missing_pixels(warping: Warping, box: PixelBox) -> Pixels:
    """A box of the lattice, (y, x), in which every pixel is missing.

    Pixels are in the file's dtype, sums of integers in float64. `valid` is None where the marker alone says everything.
    """
    signs, marker = warping.signs, warping.marker
    fill, dtype = 0 if marker is None else marker, np.dtype("float64") if warping.summed else signs.dtype
    masked = marker is None or (dtype.kind != "f" and not signs.plain)
    valid = np.zeros(box.shape, dtype=bool) if masked else None
    return Pixels(values=np.full(box.shape, fill, dtype=dtype), nodata=marker, valid=valid)


def warp(warping: Warping, box: PixelBox) -> Pixels:
    """The band on a box of the lattice, like `missing_pixels` where the file has none."""
    result = missing_pixels(warping, box)
    for column in _columns(box):
        wanted = column.intersect(box)
        for part in [wanted] if warping.from_file else _warp_stored_cells(warping, result, column, wanted, box):
            _warp_file(warping, result, column, part, box)
    return result


def _warp_file(warping: Warping, result: Pixels, column: PixelBox, wanted: PixelBox, box: PixelBox) -> None:
    """Warp the cells of a column that touch `wanted` from the file into the result on `box`."""
    with _open_column(warping, column) as warped:
        target, window, inside = _rows_of_cells(column, wanted, box)
        result.values[target] = warped.read(warping.band.index, window=window)[inside]
        if result.valid is not None:
            result.valid[target] = warped.read(warped.count, window=window)[inside] >= 128


def _warp_stored_cells(
    warping: Warping, result: Pixels, column: PixelBox, wanted: PixelBox, box: PixelBox
) -> list[PixelBox]:
    """Warp the cells that touch `wanted` from their stored pixels; the parts of it that GDAL may warp come back."""
    ratio = pixel_ratio(warping.crs, warping.transform, warping.lattice, next(cells(column, size=SHEET)))
    size = CELL
    while size > LEAST_PART and size * ratio > SIDE:
        size //= 2
    plain = warping.plain and size == CELL
    left: list[PixelBox] = []
    n_warped = 0
    for part in cells(wanted, size=size):
        window = source_window(
            warping.band.dataset,
            warping.crs,
            warping.transform,
            warping.lattice,
            part,
            resampling=warping.resampling,
        )
        if window is None:
            continue
        shared = part.intersect(wanted)
        if plain and _is_calm(warping.band, window):
            left.append(shared)
            continue
        values, missing = warping.band.read(window.slices)
        n_warped += 1
        found, there = _warp_stored(warping, values, missing, window, part, scale=_kernel_scale(ratio))
        result.values[shared.slices_in(box)] = found[shared.slices_in(part)]
        if result.valid is not None:
            result.valid[shared.slices_in(box)] = there[shared.slices_in(part)]
    # One opening for the whole column, as cells beyond the file do no harm.
    return left if n_warped else [wanted][: len(left)]


def _is_calm(band: StoredBand, window: FileWindow) -> bool:
    """True if no float of the window is NaN or infinite but the marker, which alone is known to GDAL."""
    values, marker = band.dataset.read(band.index, window=window.slices), band.signs.marker
    assert marker is not None, "floats have a marker"
    finite = np.isfinite(values)
    return bool(finite.all() or (math.isnan(marker) and (finite | np.isnan(values)).all()))


def _warp_stored(
    warping: Warping, values: np.ndarray, missing: np.ndarray, window: FileWindow, part: PixelBox, *, scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """(values of the result's dtype, True where there is one) of a part of a cell from the pixels of a file window."""
    wide, marker = _marked_type(values.dtype)
    wide, marker = (np.dtype("float64"), math.nan) if warping.summed else (wide, marker)
    stored = values.astype(wide)
    stored[missing] = marker
    # GDAL 3.10 loses weights of a sum in the last columns of its target: they are beyond the part.
    beyond = SUM_MARGIN if warping.resampling == "sum" else 0
    target = part.pad(beyond)
    place = warping.transform * Affine.translation(window.col_start, window.row_start)
    warped = _reprojected(stored, place, warping, target, marker=marker, scale=scale)
    warped = warped[part.slices_in(target)]
    there = warped != marker if wide.kind != "f" else ~np.isnan(warped)
    fill = 0 if warping.marker is None else warping.marker
    if values.dtype.kind == "f" or warping.summed:
        return np.where(there, warped, wide.type(fill)), there
    limits = np.iinfo(values.dtype)
    whole = warped if wide.kind != "f" else np.floor(np.where(there, warped, 0) + 0.5)
    whole = whole.clip(limits.min, limits.max)
    if warping.marker is not None:
        # A value that happens to be the marker is moved by one, as GDAL does.
        whole[there & (whole == fill)] += 1 if fill == limits.min else -1
    return np.where(there, whole, fill).astype(values.dtype), there


def _marked_type(dtype: np.dtype) -> tuple[np.dtype, float]:
    """A type that holds every number of `dtype` and a marker that is none of them, and that marker."""
    if dtype.kind == "f":
        return dtype, math.nan
    wide = {1: "int16", 2: "int32"}.get(dtype.itemsize)
    return (np.dtype("float64"), math.nan) if wide is None else (np.dtype(wide), int(np.iinfo(wide).min))


@lru_cache(maxsize=64)
def _crs(text: str) -> CRS:
    return CRS.from_user_input(text)


def _columns(box: PixelBox) -> Iterator[PixelBox]:
    """The columns, a cell wide and a sheet high, that touch a box."""
    for sheet in cells(box, size=SHEET):
        for left in range(sheet.col_start, sheet.col_stop, CELL):
            column = PixelBox.at(sheet.row_start, left, shape=(SHEET, CELL))
            if not column.intersect(box).empty:
                yield column


def _rows_of_cells(column: PixelBox, wanted: PixelBox, box: PixelBox) -> tuple[Any, Any, Any]:
    """Slices of `wanted` in the box, of the cells of the column that touch it, and of `wanted` in those cells."""
    assert not wanted.empty, "a column is opened for the pixels it shares with the box"
    touched = list(cells(wanted, size=CELL))
    height = touched[-1].row_stop - touched[0].row_start
    whole = PixelBox.at(touched[0].row_start, column.col_start, shape=(height, CELL))
    return wanted.slices_in(box), whole.slices_in(column), wanted.slices_in(whole)


def _reprojected(
    stored: np.ndarray, transform: Affine, warping: Warping, target: PixelBox, *, marker: float, scale: float
) -> np.ndarray:
    """The values (height, width) of `target` from stored pixels (y, x) at `transform`; `marker` where there is none."""
    lattice = warping.lattice
    crs, result_crs, place = _crs(warping.crs), _crs(lattice.crs), lattice.transform(target.row_start, target.col_start)
    with (
        memory_raster(stored.shape, stored.dtype, transform, crs=crs) as source,
        memory_raster(target.shape, stored.dtype, place, crs=result_crs) as result,
    ):
        source.write(stored, 1)
        result.write(np.full(target.shape, marker, dtype=stored.dtype), 1)
        reproject(
            rasterio.band(source, 1),
            rasterio.band(result, 1),
            src_crs=crs,
            src_nodata=marker,
            dst_crs=result_crs,
            dst_nodata=marker,
            resampling=Resampling[warping.resampling],
            tolerance=TOLERANCE_PX,
            XSCALE=scale,
            YSCALE=scale,
        )
        return np.asarray(result.read(1))


def _open_column(warping: Warping, column: PixelBox) -> WarpedVRT:
    marker, lattice = warping.signs.marker, warping.lattice
    sheet = next(cells(column, size=SHEET))
    scale = _kernel_scale(pixel_ratio(warping.crs, warping.transform, lattice, sheet))
    nodata_options = {"add_alpha": True} if marker is None else {"src_nodata": marker, "nodata": marker}
    return WarpedVRT(
        warping.band.dataset,
        src_crs=_crs(warping.crs),
        crs=lattice.crs,
        src_transform=warping.transform,
        transform=lattice.transform(column.row_start, column.col_start),
        width=column.shape[1],
        height=column.shape[0],
        resampling=Resampling[warping.resampling],
        tolerance=TOLERANCE_PX,
        XSCALE=scale,
        YSCALE=scale,
        **nodata_options,
    )


def _kernel_scale(ratio: float) -> float:
    """GDAL's scale of a kernel for the ratio of pixel sizes: below 1 where it is widened over a coarser pixel."""
    scale = min(1.0, 1 / ratio)
    return 1.0 if scale > FULL_SIZE else scale


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
