"""Overviews of bands, at most 512 x 512 stored numbers, and the names and settings with which GDAL opens hrefs."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from tilewright.catalogs.hrefs import scheme_of, split_store
from tilewright.catalogs.network.rules import network_settings, refusal
from tilewright.catalogs.s3 import AMAZON

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from tilewright.catalogs.network.connect import HostRules
    from tilewright.catalogs.s3 import S3Settings
    from tilewright.catalogs.scene import BandAsset


OVERVIEW_SIDE = 512

DRIVERS = ("GTiff", "JP2OpenJPEG", "Zarr")
"""The only drivers an asset is opened with: never VRT or another that could name further files."""

GDAL_SETTINGS: dict[str, str] = {
    # A neighbour of a remote file (.ovr, .aux.xml) is neither looked for nor believed, since each is a request; that
    # also makes a list of allowed extensions needless, which would refuse hrefs whose signature follows the extension.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
}
"""The settings of every read."""

NEIGHBOURS: dict[str, str] = {
    # TRUE: a neighbour is asked for by its name, and a large folder is never listed.
    "GDAL_DISABLE_READDIR_ON_OPEN": "TRUE",
    "GDAL_PAM_ENABLED": "YES",
}
"""The settings over these for a file on a disk, whose .msk, .aux.xml, .ovr and world file are read with it."""

LOOK_SETTINGS: dict[str, str] = {
    **GDAL_SETTINGS,
    # A look is one short read without a policy of its own, so GDAL tries again.
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_TIMEOUT": "60",
    "VSI_CACHE": "TRUE",
    # Nothing of a look stays with GDAL: a later one, or a run of this process, would take a file that was replaced
    # meanwhile for the one it has seen. These are the beginnings of names.
    "CPL_VSIL_CURL_NON_CACHED": "/vsicurl/:/vsis3/",
}
"""The settings of a look at a header or an overview during a search."""

BLOCK_SETTINGS: dict[str, str] = {
    **GDAL_SETTINGS,
    "GDAL_PAM_ENABLED": "NO",
    # Blocks and dates already fill the cores.
    "GDAL_NUM_THREADS": "1",
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_MULTIPLEX": "YES",
    "GDAL_HTTP_CONNECTTIMEOUT": "15",
    "GDAL_HTTP_TIMEOUT": "120",
    "GDAL_HTTP_LOW_SPEED_TIME": "30",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1000",
    # Retries are ours (tasks/read/retry.py): they honour Retry-After, renew signatures and open afresh.
    "GDAL_HTTP_MAX_RETRY": "0",
    # Some signed hrefs allow GET alone.
    "CPL_VSIL_CURL_USE_HEAD": "NO",
}
"""The settings of the reads of a run's blocks (tasks/read)."""


def read_overview(
    asset: BandAsset, sign: Callable[[str], str], *, s3: S3Settings = AMAZON, rules: HostRules | None = None
) -> NDArray[np.generic]:
    """Stored numbers (y, x) of the whole band, decimated to at most 512 x 512 by its overviews, in the file's dtype.

    Numbers that the file itself calls missing (its nodata, mask or alpha band) are 0.
    `rules` say where requests may go, redirects too; None: anywhere.

    Raises:
        OSError: the file cannot be read.
        CatalogError: the file is in a bucket and the endpoint of `s3` is no URL.
    """
    settings = look_settings(asset.href, s3, rules)
    try:
        with (
            rasterio.Env(**settings),
            DatasetReader(gdal_name(sign(asset.href)), driver=list(DRIVERS)) as file,
        ):
            factor = max(1.0, file.height / OVERVIEW_SIDE, file.width / OVERVIEW_SIDE)
            shape = (max(1, round(file.height / factor)), max(1, round(file.width / factor)))
            return np.asarray(np.ma.filled(file.read(asset.index, out_shape=shape, masked=True), 0))
    except (RasterioError, ValueError, IndexError) as error:
        reason = refusal(error, rules) or type(error).__name__
        raise OSError(f"{asset.key} cannot be read ({reason})") from error


def look_settings(href: str, s3: S3Settings, rules: HostRules | None = None) -> dict[str, str]:
    """GDAL's settings for a look at an href under the rules; GDAL itself reads keys and region from the environment.

    Raises:
        CatalogError: the href is in a bucket and the endpoint is no URL.
    """
    if scheme_of(href) == "file":
        return LOOK_SETTINGS | NEIGHBOURS
    bucket = endpoint_settings(s3) if scheme_of(href) == "s3" else {}
    return LOOK_SETTINGS | tls_settings(s3) | bucket | network_settings(href, rules)


def tls_settings(s3: S3Settings) -> dict[str, str]:
    """GDAL's setting for the authorities that are trusted; empty for those that it brings along.

    Raises:
        CatalogError: there is no such file.
    """
    path = s3.checked_ca_bundle()
    return {} if path is None else {"GDAL_CURL_CA_BUNDLE": path}


def endpoint_settings(s3: S3Settings) -> dict[str, str]:
    """GDAL's settings for a private endpoint, which GDAL does not take from AWS_ENDPOINT_URL; empty for Amazon.

    Raises:
        CatalogError: the endpoint is no URL.
    """
    endpoint = s3.checked_endpoint()
    if endpoint is None:
        return {}
    parts = urlsplit(endpoint)
    return {
        "AWS_S3_ENDPOINT": parts.netloc + parts.path.rstrip("/"),
        "AWS_HTTPS": "NO" if s3.plain_http else "YES",
        "AWS_VIRTUAL_HOSTING": "FALSE",
    }


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
