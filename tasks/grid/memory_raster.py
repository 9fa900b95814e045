"""Rasters in memory that GDAL knows by their place from the start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rasterio
from affine import Affine

if TYPE_CHECKING:
    import numpy as np
    from rasterio.io import DatasetWriter

FLIPPED = Affine(1, 0, 0, 0, -1, 0)

TINY = 1e-300
"""A coordinate that is lost when anything is added to it."""


def memory_raster(
    shape: tuple[int, int], dtype: np.dtype | str, transform: Affine, *, crs: Any = None
) -> DatasetWriter:
    """An open raster of one band of zeros in memory, (height, width) = ``shape``; to be closed by its user.

    rasterio opens a plain array that it is given without a place, silences the warning of that for the whole process,
    and gives it the place then: in several threads at once the warning reaches the user's screen. A raster that has its
    place when it is made warns of nothing.
    """
    if transform in (Affine.identity(), FLIPPED):
        # rasterio warns that such a place may be lost, which it is not in memory: it is moved by less than a sum keeps.
        transform = Affine(transform.a, transform.b, TINY, transform.d, transform.e, transform.f)
    return rasterio.open(
        "", "w+", driver="MEM", height=shape[0], width=shape[1], count=1, dtype=dtype, transform=transform, crs=crs
    )
