"""Rasters of the embedded sample on disk: Cloud-Optimized GeoTIFFs and their checksums."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy.typing as npt
import rasterio
from affine import Affine

from catalogs.sample_grid import CRS

COG_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"


def write_cog(
    path: Path,
    raster: npt.NDArray[Any],
    *,
    west: float,
    north: float,
    resolution: float,
    nodata: float | None,
    categorical: bool = False,
    colors: dict[int, tuple[int, int, int, int]] | None = None,
) -> None:
    """Writes a raster (y, x) as a tiled DEFLATE COG with overviews; classes are thinned out, measurements averaged."""
    kind = raster.dtype.kind
    with rasterio.Env(GDAL_CACHEMAX=256):
        with rasterio.open(
            path,
            "w",
            driver="COG",
            height=raster.shape[0],
            width=raster.shape[1],
            count=1,
            dtype=raster.dtype,
            crs=CRS,
            transform=Affine(resolution, 0, west, 0, -resolution, north),
            nodata=nodata,
            blocksize=512,
            compress="DEFLATE",
            level=1 if not categorical else 6,
            predictor="NO" if categorical else ("FLOATING_POINT" if kind == "f" else "STANDARD"),
            overview_resampling="NEAREST" if categorical else "AVERAGE",
            num_threads="2",
        ) as file:
            if colors:
                file.write_colormap(1, colors)
            file.write(raster, 1)


def file_fields(path: Path) -> dict[str, Any]:
    """`file:checksum` (sha2-256 multihash: 12, 20, digest) and `file:size` of a file, as the STAC file extension has them."""
    content = path.read_bytes()
    return {"file:checksum": "1220" + hashlib.sha256(content).hexdigest(), "file:size": len(content)}
