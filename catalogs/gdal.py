"""A band at a glance: at most 512 x 512 stored numbers of a file, for judging it before it is read."""

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


LARGEST = 512

DRIVERS = ("GTiff", "JP2OpenJPEG", "Zarr")

# Only what is asked for is fetched: no listing of the folder, no sidecar files, one connection for several ranges.
GDAL_SETTINGS: dict[str, Any] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_TIMEOUT": "60",
    "VSI_CACHE": "TRUE",
}


def read_overview(asset: BandAsset, sign: Callable[[str], str]) -> NDArray[np.generic]:
    """Stored numbers (row, col) of the whole band, decimated to at most 512 x 512 by its overviews, in its own dtype.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        with (
            rasterio.Env(**gdal_settings(asset.href)),
            DatasetReader(openable(sign(asset.href)), driver=list(DRIVERS)) as file,
        ):
            factor = max(1.0, file.height / LARGEST, file.width / LARGEST)
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


def openable(href: str) -> str:
    """The href as GDAL takes it."""
    path = _gdal_file(href)
    store = split_store(path)
    return path if store is None else zarr_name(*store)


def zarr_name(store: str, array: str) -> str:
    """GDAL's name of an array in a Zarr store, of the only one where `array` is empty."""
    return f'ZARR:"{store}":/{array}' if array else f'ZARR:"{store}"'


def _gdal_file(href: str) -> str:
    scheme = scheme_of(href)
    if scheme in {"http", "https"}:
        return f"/vsicurl/{href}"
    return f"/vsis3/{href[len('s3://') :]}" if scheme == "s3" else href.removeprefix("file://")
