"""How GDAL is set up for reading, in one place: settings, the path of an href, and credentials from an environment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import rasterio
from rasterio._env import set_gdal_config
from rasterio.session import Session

from tilewright.catalogs.gdal import zarr_name
from tilewright.catalogs.hrefs import split_store

if TYPE_CHECKING:
    from collections.abc import Mapping


DRIVERS = ("GTiff", "JP2OpenJPEG", "Zarr")
"""The only drivers an asset is opened with: never VRT or another that could name further files."""

CACHE_BYTES = 256 * 2**20
"""Decoded blocks GDAL keeps where no plan says how many halos will read again (block/read_order.py). GDAL's own 5 %
of the machine's memory would be gigabytes on a large one."""

GDAL_SETTINGS: dict[str, str] = {
    # A neighbour of the file (.ovr, .aux.xml) is neither looked for nor believed; that also makes a list of allowed
    # extensions needless, which would refuse hrefs whose signature follows the extension.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
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

_PASSED_ON = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REQUEST_PAYER",
    "AWS_NO_SIGN_REQUEST",
)


def gdal_env(environ: Mapping[str, str]) -> dict[str, str]:
    """The GDAL settings that the AWS_* variables of an environment mean: keys, region and a private endpoint.

    Raises ValueError for an endpoint that is not an http(s) URL.
    """
    settings = {name: environ[name] for name in _PASSED_ON if environ.get(name)}
    region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
    if region:
        settings["AWS_REGION"] = region
    endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        settings |= _endpoint_settings(endpoint)
    return settings


def _endpoint_settings(endpoint: str) -> dict[str, str]:
    parts = urlsplit(endpoint)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise ValueError(f"AWS_ENDPOINT_URL is {endpoint!r}: give an http(s) URL such as https://s3.example.com.")
    return {
        "AWS_S3_ENDPOINT": parts.netloc + parts.path.rstrip("/"),
        "AWS_HTTPS": "YES" if parts.scheme == "https" else "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
    }


def gdal_path(href: str) -> str:
    """What GDAL opens for an href: a local file as it is, http(s) through /vsicurl/, s3 through /vsis3/.

    `store.zarr/red` is the array `red` of a Zarr store, in the place the whole store gives it.

    Raises ValueError for any other scheme and for GDAL's own virtual paths, which an untrusted item must not name.
    """
    path = file_path(href)
    store = split_store(path)
    return path if store is None else zarr_name(*store)


def file_path(href: str) -> str:
    """The file behind `gdal_path`, or for a Zarr store what all its files' paths begin with."""
    scheme, separator, rest = href.partition("://")
    if not separator:
        if href.lstrip().startswith("/vsi") or not href:
            raise ValueError(f"the href {href!r} is a path of GDAL's own: give a file, http(s) or s3 URL")
        return href
    if scheme.lower() in {"http", "https"}:
        return f"/vsicurl/{href}"
    if scheme.lower() == "s3":
        return f"/vsis3/{rest}"
    if scheme.lower() == "file" and rest.startswith("/"):
        return rest
    raise ValueError(f"the href {href!r} has the scheme {scheme!r}: readable are files, http(s) and s3")


class _GivenCredentials(Session):
    """Credentials handed over as settings; rasterio would otherwise look for its own."""

    def __init__(self, options: dict[str, str]) -> None:
        self._options = options

    @classmethod
    def hascreds(cls, config: Any) -> bool:
        return True

    def get_credential_options(self) -> dict[str, str]:
        return self._options


def limit_block_cache(size: int = CACHE_BYTES) -> int:
    """Hold GDAL's cache of decoded blocks to ``size`` bytes in this process, which come back.

    Until it is called again: an environment that sets it gives it back on leaving, under the feet of other threads.
    Rasterio takes this one setting in bytes.
    """
    set_gdal_config("GDAL_CACHEMAX", size)
    return size


def settings_for(href: str, extra: Mapping[str, str]) -> Mapping[str, str]:
    """The settings `extra` and what else the format behind an href needs.

    GDAL 3.10 reads the chunks of a remote Zarr store through a stream whose length it learns from HEAD alone; without
    it some chunks come out cut short, at random.
    """
    return extra if split_store(href) is None else {**extra, "CPL_VSIL_CURL_USE_HEAD": "YES"}


def reading_env(extra: Mapping[str, str]) -> rasterio.Env:
    """The rasterio environment every open and read happens in: the settings above and `extra` over them."""
    credentials = {name: value for name, value in extra.items() if name.startswith("AWS_")}
    plain = {name: value for name, value in extra.items() if name not in credentials}
    return rasterio.Env(session=_GivenCredentials(credentials), **{**GDAL_SETTINGS, **plain})
