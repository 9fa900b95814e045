"""A stored layer, or a window of it, at the size of a picture, read from the store's smaller levels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.zarr.declare import STORE
from tilewright.tasks.zarr.declared import fill_of
from tilewright.tasks.zarr.pyramid import pyramid_levels
from tilewright.tasks.zarr.store import read_stored

if TYPE_CHECKING:
    from tilewright.tasks.storage.storage import Storage


def read_thumbnail(storage: Storage, name: str, *, shape: tuple[int, int], max_size: int, kind: str) -> np.ndarray:
    """A layer of ``shape`` as (y, x) in its stored dtype and nodata, its longer side at most ``max_size`` pixels.

    The layer's smaller levels exist. The source is the smallest level that is large enough:
    classes take its nearest pixel, values the mean of its pixels without nodata. Both are displaced by less than one
    pixel of the picture.

    Raises StorageError, which names the layer; ChangedStoreError for a level that cannot be read.
    """
    scale, wanted = min(1.0, max_size / max(shape)), thumbnail_shape(shape, max_size)
    level = next(level for level in reversed(pyramid_levels(shape)) if level.factor == 1 or level.factor * scale <= 1)

    def read() -> tuple[np.ndarray, Any]:
        layer = zarr.open_array(storage.zarr(STORE, read_only=True), path=level.path_of(name), mode="r")
        return np.asarray(layer[:]), fill_of(layer)

    pixels, nodata = read_stored(storage, f"layer {name}", read)
    if pixels.shape == wanted:
        return pixels
    return _nearest(pixels, wanted) if kind in {"class", "id"} else _averaged(pixels, wanted, nodata)


def thumbnail_shape(shape: tuple[int, int], max_size: int) -> tuple[int, int]:
    """The shape (y, x) of the picture of a layer of a ``shape``, its longer side at most ``max_size`` pixels."""
    scale = min(1.0, max_size / max(shape))
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def read_window(
    storage: Storage, name: str, extent: PixelBox, box: PixelBox, *, max_size: int
) -> tuple[np.ndarray, PixelBox, int]:
    """A layer in a ``box`` of its ``extent`` (absolute pixels), read from a smaller level where the box is larger than
    ``max_size``: pixels (y, x) in their stored dtype, about ``max_size`` to twice of it on the longer side at most.

    With them come the box that they cover, which is that or a little larger, and how many pixels along a side each
    stands for. Raises as `read_thumbnail` does.
    """
    levels = [each for each in pyramid_levels(extent.shape) if max(box.shape) >= each.factor * max_size]
    level = levels[-1] if levels else pyramid_levels(extent.shape)[0]
    factor = level.factor
    top, left = (box.row_start - extent.row_start) // factor, (box.col_start - extent.col_start) // factor
    bottom, right = -(-(box.row_stop - extent.row_start) // factor), -(-(box.col_stop - extent.col_start) // factor)

    def read() -> np.ndarray:
        array: Any = zarr.open_array(storage.zarr(STORE, read_only=True), path=level.path_of(name), mode="r")
        return np.asarray(array[top:bottom, left:right])

    pixels = read_stored(storage, f"layer {name}", read)
    shape = (pixels.shape[0] * factor, pixels.shape[1] * factor)
    covered = PixelBox.at(extent.row_start + top * factor, extent.col_start + left * factor, shape=shape)
    return pixels, covered, factor


def _nearest(pixels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    rows, cols = (
        ((np.arange(n) + 0.5) * side / n).astype(np.intp) for n, side in zip(shape, pixels.shape, strict=True)
    )
    return pixels[np.ix_(rows, cols)]


def _averaged(pixels: np.ndarray, shape: tuple[int, ...], nodata: Any) -> np.ndarray:
    """The mean of the valid pixels inside each pixel of a raster of ``shape``; nodata if none is valid."""
    valid = ~np.isnan(pixels) if np.isnan(nodata) else pixels != nodata
    total = _summed(np.where(valid, pixels, 0).astype(np.float64), shape)
    count = _summed(valid.astype(np.float64), shape)
    mean = np.divide(total, count, out=np.full(count.shape, nodata, dtype=np.float64), where=count > 0)
    return (np.rint(mean) if np.issubdtype(pixels.dtype, np.integer) else mean).astype(pixels.dtype)


def _summed(pixels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    for axis, n in enumerate(shape):
        edges = np.arange(n) * pixels.shape[axis] // n
        pixels = np.add.reduceat(pixels, edges, axis=axis)
    return pixels
