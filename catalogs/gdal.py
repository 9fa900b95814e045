"""Overviews of bands, at most 512 x 512 stored numbers, and the names and settings with which GDAL opens hrefs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from tilewright.catalogs.hrefs import scheme_of, split_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from tilewright.catalogs.scene import BandAsset


OVERVIEW_SIDE = 512

DRIVERS = ("GTiff", "JP2OpenJPEG", "Zarr")

# GDAL fetches the requested ranges alone: it neither lists the folder nor looks for sidecar files.
GDAL_SETTINGS: dict[str, Any] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_TIMEOUT": "60",
    "VSI_CACHE": "TRUE",
}


def read_overview(asset: BandAsset, sign: Callable[[str], str]) -> NDArray[np.generic]:
    """Stored numbers (y, x) of the whole band, decimated to at most 512 x 512 by its overviews, in the file's dtype.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        with (
            rasterio.Env(**gdal_settings(asset.href)),
            DatasetReader(gdal_name(sign(asset.href)), driver=list(DRIVERS)) as file,
        ):
            factor = max(1.0, file.height / OVERVIEW_SIDE, file.width / OVERVIEW_SIDE)
            shape = (max(1, round(file.height / factor)), max(1, round(file.width / factor)))
            return np.asarray(file.read(asset.index, out_shape=shape))
    except (RasterioError, ValueError, IndexError) as error:
        raise OSError(f"{asset.key} cannot be read ({type(error).__name__})") from error


def gdal_settings(href: str) -> dict[str, Any]:
    """GDAL's settings for a short look; for s3 those of the AWS_* variables it does not read itself."""
    endpoint = urlsplit(os.environ.get("AWS_ENDPOINT_URL", "")) if scheme_of(href) == "s3" else None
    if endpoint is None or not endpoint.netloc:
        return GDAL_SETTINGS
    https = "YES" if endpoint.scheme == "https" else "NO"
    return {**GDAL_SETTINGS, "AWS_S3_ENDPOINT": endpoint.netloc, "AWS_HTTPS": https, "AWS_VIRTUAL_HOSTING": "FALSE"}


def gdal_name(href: str) -> str:
    """GDAL's name of the href."""
    path = _gdal_file(href)
    store = split_store(path)
    return path if store is None else zarr_name(*store)


def zarr_name(store: str, array: str) -> str:
    """GDAL's name of an array in a Zarr store; an empty `array` means the store's only one."""
    return f'ZARR:"{store}":/{array}' if array else f'ZARR:"{store}"'


def _gdal_file(href: str) -> str:
    scheme = scheme_of(href)
    if scheme in {"http", "https"}:
        return f"/vsicurl/{href}"
    return f"/vsis3/{href[len('s3://') :]}" if scheme == "s3" else href.removeprefix("file://")
