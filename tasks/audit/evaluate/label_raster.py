"""Labels of a raster, looked up at the centres of a product's pixels, window by window."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from pyproj.exceptions import ProjError
from rasterio.errors import RasterioError
from rasterio.windows import Window

from tilewright.tasks.audit.evaluate.label_file import LabelError
from tilewright.tasks.grid.crs import geographic_crs, same_crs, transformer
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.tables.vector_file import known_crs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tilewright.tasks.grid.grid import Grid

MOST_AT_ONCE = 2**24
"""Pixels of the raster that are read together; a finer raster is read for smaller parts of the product."""

MOST_BLOCK = 2**27
"""Pixels of a block of the file, which is unpacked whole."""

CACHE_BYTES = 64 * 2**20
"""Bytes of the file's blocks that GDAL keeps: a row of tiles below a wide raster, unpacked."""

ON_EDGE = 1e-6
"""Pixels of the raster by which a centre may miss a border and still be on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRaster:
    """An open raster of one band called ``name``, with its CRS as WKT."""

    name: str
    crs: str
    band: Any

    def on(self, grid: Grid, box: PixelBox) -> tuple[np.ndarray, np.ndarray]:
        """The labels at the centres of a box's pixels, (height, width) in the raster's dtype, and which are labels.

        Raises LabelError for a file that is damaged.
        """
        height, width = box.shape
        rows, cols = self._places(grid, box)
        row_is, col_is = (rows >= 0) & (rows < self.band.height), (cols >= 0) & (cols < self.band.width)
        if not (row_is.any() and col_is.any()):
            return np.zeros(box.shape, dtype=self.band.dtypes[0]), np.zeros(box.shape, dtype=bool)
        top, left = int(rows[row_is].min()), int(cols[col_is].min())
        bottom, right = int(rows[row_is].max()) + 1, int(cols[col_is].max()) + 1
        if (bottom - top) * (right - left) > MOST_AT_ONCE and height * width > 1:
            return self._in_parts(grid, box)
        window = Window(left, top, right - left, bottom - top)
        with _reading(self.name):
            pixels = self.band.read(1, window=window)
            mask = self.band.read_masks(1, window=window) > 0
        down = np.where(row_is, rows - top, 0).astype(np.int64)
        across = np.where(col_is, cols - left, 0).astype(np.int64)
        found = pixels[down, across]
        labelled = mask[down, across] & row_is & col_is
        if found.dtype.kind == "f":
            labelled &= np.isfinite(found)
        return found, labelled

    def _in_parts(self, grid: Grid, box: PixelBox) -> tuple[np.ndarray, np.ndarray]:
        height, width = box.shape
        across = width >= height
        half = (width if across else height) // 2
        first = PixelBox.at(box.row_start, box.col_start, shape=(height, half) if across else (half, width))
        second = PixelBox(
            row_start=box.row_start if across else first.row_stop,
            row_stop=box.row_stop,
            col_start=first.col_stop if across else box.col_start,
            col_stop=box.col_stop,
        )
        parts = [self.on(grid, part) for part in (first, second)]
        axis = 1 if across else 0
        return np.concatenate([p[0] for p in parts], axis=axis), np.concatenate([p[1] for p in parts], axis=axis)

    def _places(self, grid: Grid, box: PixelBox) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the raster that hold the centres of a box's pixels, float64, below 0 for none.

        They can be broadcast to (height, width): rasters of one CRS have one row for each row, and so for columns.
        """
        size, transform = grid.resolution, self.band.transform
        x = ((np.arange(box.col_start, box.col_stop) + 0.5) * size)[None, :]
        y = (-(np.arange(box.row_start, box.row_stop) + 0.5) * size)[:, None]
        if same_crs(self.crs, grid.crs) and transform.is_rectilinear and not transform.b:
            inverse = ~transform
            return _floor(inverse.e * y + inverse.f), _floor(inverse.a * x + inverse.c)
        x, y = np.broadcast_arrays(x, y)
        if not same_crs(self.crs, grid.crs):
            x, y = transformer(grid.crs, self.crs).transform(x, y)
        cols, rows = ~transform * (x, y)
        with np.errstate(invalid="ignore"):
            rows, cols = (np.where(np.isfinite(each), _floor(each), -1.0) for each in (rows, cols))
        return rows, cols

    def lonlat(self) -> tuple[float, float, float, float] | None:
        """Its bounds in degrees (west, south, east, north); None where they cannot be said."""
        try:
            to_degrees = transformer(self.crs, geographic_crs(self.crs))
            west, south, east, north = to_degrees.transform_bounds(*self.band.bounds)
        except ProjError:
            return None
        return (west, south, east, north) if all(map(math.isfinite, (west, south, east, north))) else None


def _floor(pixels: np.ndarray) -> np.ndarray:
    nearest = np.rint(pixels)
    return np.where(np.abs(pixels - nearest) <= ON_EDGE, nearest, np.floor(pixels))


@contextmanager
def open_label_raster(path: Path) -> Iterator[LabelRaster]:
    """A GeoTIFF of labels, open. Raises LabelError for one that cannot be read, has no CRS or several bands."""
    if not path.is_file():
        raise LabelError(f"The file {path} cannot be read: there is no such file.")
    # GDAL would keep a twentieth of the machine's memory, of pixels that are read once.
    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES), _opened(path) as band:
        if band.count != 1:
            raise LabelError(f"{path.name} has {band.count} bands: give a raster of one band of labels.")
        if np.dtype(band.dtypes[0]).kind not in "iuf":
            raise LabelError(f"{path.name} holds {band.dtypes[0]}: labels are whole numbers, or values.")
        if math.prod(band.block_shapes[0]) > MOST_BLOCK:
            raise LabelError(f"{path.name} is cut into very large blocks: write it anew, tiled, e.g. as a COG.")
        placed = all(map(math.isfinite, band.transform)) and band.transform.determinant != 0
        if band.transform.is_identity or not placed:
            raise LabelError(f"{path.name} does not say where it lies: georeference it.")
        crs = known_crs(path.name, band.crs.to_wkt() if band.crs else None)
        yield LabelRaster(name=path.name, crs=crs, band=band)


def _opened(path: Path) -> Any:
    with _reading(path.name):
        return rasterio.open(path, driver="GTiff")


@contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except (RasterioError, OSError, ValueError) as error:
        raise LabelError(f"{name} cannot be read as a GeoTIFF: {str(error)[:160]}.") from error
