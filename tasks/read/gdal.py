"""How GDAL is set up for reading blocks: its environment with credentials, and the path of an href."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rasterio
from rasterio._env import set_gdal_config
from rasterio.session import Session

from tilewright.catalogs.gdal import BLOCK_SETTINGS, endpoint_settings, tls_settings, zarr_name
from tilewright.catalogs.hrefs import split_store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilewright.catalogs.s3 import S3Settings


CACHE_BYTES = 256 * 2**20
"""Decoded blocks GDAL keeps where no plan says how many halos will read again (block/read_order.py). GDAL's own 5 %
of the machine's memory would be gigabytes on a large one."""


def gdal_env(s3: S3Settings) -> dict[str, str]:
    """The GDAL settings for reading from buckets: keys, region and a private endpoint. They hold credentials.

    Raises CatalogError for an endpoint that is not an http(s) URL.
    """
    settings = {
        "AWS_ACCESS_KEY_ID": s3.key,
        "AWS_SECRET_ACCESS_KEY": s3.secret,
        "AWS_SESSION_TOKEN": s3.token,
        "AWS_REQUEST_PAYER": s3.request_payer,
        "AWS_NO_SIGN_REQUEST": s3.no_sign_request,
        "AWS_REGION": s3.bucket_region,
    }
    stated = {name: value for name, value in settings.items() if value is not None}
    return stated | endpoint_settings(s3) | tls_settings(s3)


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
    """The rasterio environment of every open and read: the settings of blocks and `extra` over them."""
    credentials = {name: value for name, value in extra.items() if name.startswith("AWS_")}
    plain = {name: value for name, value in extra.items() if name not in credentials}
    return rasterio.Env(session=_GivenCredentials(credentials), **{**BLOCK_SETTINGS, **plain})
