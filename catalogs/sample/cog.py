"""Rasters of the embedded sample on disk: Cloud-Optimized GeoTIFFs and their checksums."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import rasterio
from affine import Affine

from tilewright.catalogs.sample.landscape.grid import CRS

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt


COG_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"


def write_cog(
    path: Path,
    raster: npt.NDArray[Any],
    *,
    west: float,
    north: float,
    resolution: float,
    nodata: float | None,
    colors: dict[int, tuple[int, int, int, int]] | None = None,
) -> None:
    """Writes a raster (y, x) as a tiled DEFLATE COG.

    Overviews take the nearest pixel of a uint8 raster (classes) and the mean of any other.
    """
    categorical = raster.dtype == "uint8"
    predictor = "NO" if categorical else ("FLOATING_POINT" if raster.dtype.kind == "f" else "STANDARD")
    # GDAL keeps overviews in a temporary file; compressing it too would cost a fifth of the time.
    with (
        rasterio.Env(COG_TMP_COMPRESSION="NONE"),
        rasterio.open(
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
            level=6 if categorical else 1,
            predictor=predictor,
            overview_count=1,
            overview_resampling="NEAREST" if categorical else "AVERAGE",
        ) as file,
    ):
        if colors:
            file.write_colormap(1, colors)
        file.write(raster, 1)


def file_fields(path: Path) -> dict[str, Any]:
    """`file:checksum` (sha2-256 multihash: 12, 20, digest) and `file:size` of a file.

    Source: STAC file extension 2.1.0.
    """
    content = path.read_bytes()
    return {"file:checksum": "1220" + hashlib.sha256(content).hexdigest(), "file:size": len(content)}
