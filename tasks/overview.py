"""A small picture's worth of a COG, taken from its overviews."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rasterio
from rasterio.enums import Resampling

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def read_overview(path: Path | str, max_size: int) -> NDArray[Any]:
    """The one band of a GeoTIFF as (y, x) in its stored dtype and nodata, its longer side at most `max_size` pixels.

    Files with a colour table keep their classes (nearest pixel of the overview above); others are averaged,
    nodata left out.
    """
    with rasterio.open(path, driver="GTiff") as source:
        by_class = source.colorinterp[0].name == "palette"
        shrink = min(1.0, max_size / max(source.shape))
        out_shape = tuple(max(1, round(side * shrink)) for side in source.shape)
        resampling = Resampling.nearest if by_class else Resampling.average
        picture: NDArray[Any] = source.read(1, out_shape=out_shape, resampling=resampling)
        return picture
