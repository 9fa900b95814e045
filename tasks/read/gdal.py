"""How GDAL is set up for reading blocks, the path of an href, and a file opened for reading."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import rasterio
from rasterio._env import set_gdal_config
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.session import Session

from tilewright.catalogs.gdal import (
    BLOCK_SETTINGS,
    DRIVERS,
    NEIGHBOURS,
    endpoint_settings,
    tls_settings,
    zarr_name,
)
from tilewright.catalogs.hrefs import scheme_of, split_store
from tilewright.catalogs.network.rules import network_settings
from tilewright.tasks.identity.identity import named_url, precondition, with_header
from tilewright.tasks.read.header import FileHeader
from tilewright.tasks.read.retry import UnreadableError
from tilewright.tasks.read.zarr3.objects import RefusedArrayError
from tilewright.tasks.read.zarr3.root import which_array

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilewright.catalogs.network.connect import HostRules
    from tilewright.catalogs.s3 import S3Settings
    from tilewright.tasks.read.zarr3.raster import ZarrRaster


CACHE_BYTES = 256 * 2**20
"""Decoded blocks GDAL keeps where no plan says how many halos will read again (plan/read_order.py). GDAL's own 5 %
of the machine's memory would be gigabytes on a large one."""

HEADERS = "GDAL_HTTP_HEADERS"


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


def settings_for(
    href: str, extra: Mapping[str, str], rules: HostRules | None = None, *, identity: str | None = None
) -> Mapping[str, str]:
    """The settings `extra` and what else the place and the format behind an href need, under the rules for requests.

    With an identity the server is asked for that very file in every request of a handle that is opened under them.

    GDAL 3.10 reads the chunks of a remote Zarr store through a stream whose length it learns from HEAD alone; without
    it some chunks come out cut short, at random.
    """
    if scheme_of(href) == "file":
        return {**NEIGHBOURS, **extra}
    extra = {**extra, **network_settings(href, rules)}
    if split_store(href) is not None:
        return {**extra, "CPL_VSIL_CURL_USE_HEAD": "YES"}
    condition = precondition(identity)
    return extra if condition is None else {**extra, HEADERS: with_header(extra.get(HEADERS, ""), *condition)}


def unheld_env(extra: Mapping[str, str]) -> rasterio.Env:
    """The environment, inside that of a read, of requests without a precondition."""
    return rasterio.Env(**{HEADERS: extra.get(HEADERS, "")})


def reading_env(extra: Mapping[str, str]) -> rasterio.Env:
    """The rasterio environment of every open and read: the settings of blocks and `extra` over them."""
    credentials = {name: value for name, value in extra.items() if name.startswith("AWS_")}
    plain = {name: value for name, value in extra.items() if name not in credentials}
    return rasterio.Env(session=_GivenCredentials(credentials), **{**BLOCK_SETTINGS, **plain})


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """The way to a file: GDAL's settings for its place, and the rules on where requests may go; None: anywhere."""

    settings: Mapping[str, str] = field(default_factory=dict, repr=False)
    rules: HostRules | None = None


def open_array(signed: str, way: Way) -> ZarrRaster | None:
    """The array in Zarr v3 that an href names; None for another version. Raises UnreadableError, OSError."""
    from tilewright.tasks.read.zarr3.raster import open_zarr  # noqa: PLC0415  only stores pay for it

    try:
        return open_zarr(signed, way.settings, way.rules)
    except RefusedArrayError as error:
        raise UnreadableError(str(error), final=True) from error


def open_dataset(
    signed: str, *, overview: int | None, fresh: bool, identity: str | None = None, way: Way | None = None
) -> Any:
    """A rasterio dataset of a signed href, opened with the allowed drivers only and without sharing of handles.

    What GDAL keeps in memory of a URL's file is kept for each identity apart. An array in Zarr v3 is a `ZarrRaster`.
    """
    if split_store(signed) is None:
        return _open_with_gdal(signed, overview=overview, fresh=fresh, identity=identity)
    try:
        array = open_array(signed, way or Way())
    except PermissionError as error:
        # Where nothing may be listed, what is not there is forbidden too: the documents of Zarr v3 in an older store.
        try:
            return _open_with_gdal(signed, overview=overview, fresh=fresh, identity=identity)
        except (RasterioError, OSError):
            raise error from None
    if array is not None:
        return array
    dataset = _open_with_gdal(signed, overview=overview, fresh=fresh, identity=identity)
    if dataset.count == 0:
        reason = which_array([each.rpartition(":/")[2] for each in dataset.subdatasets])
        dataset.close()
        raise UnreadableError(reason, final=True)
    return dataset


def header_of(dataset: Any, *, href: str, signed: str, way: Way | None, crs: str) -> FileHeader:
    """The header of an open dataset; `crs` is what its item says, for stores that say none.

    Where neither says one for an array in Zarr v2, it is that of a variable beside the array, as for v3.

    Raises OSError where the store cannot be asked for it.
    """
    if not crs and isinstance(dataset, DatasetReader) and dataset.driver == "Zarr" and dataset.crs is None:
        from tilewright.tasks.read.zarr3.mapping import older_crs  # noqa: PLC0415  only stores pay for it

        way = way or Way()
        crs = older_crs(signed, way.settings, way.rules)
    return FileHeader.of(dataset, href=href, crs=crs)


def _open_with_gdal(signed: str, *, overview: int | None, fresh: bool, identity: str | None) -> DatasetReader:
    signed = named_url(signed, identity)
    path = gdal_path(signed)
    options = {} if overview is None else {"OVERVIEW_LEVEL": overview}
    if not fresh or "://" not in signed:
        return DatasetReader(path, driver=list(DRIVERS), sharing=False, **options)
    with rasterio.Env(CPL_VSIL_CURL_NON_CACHED=file_path(signed)):
        return DatasetReader(path, driver=list(DRIVERS), sharing=False, **options)


def forget_object(signed: str) -> None:
    """Make GDAL forget what it remembers of an object in a bucket, within the environment of a read."""
    # A handle of a name that is not to be cached drops everything kept under the name when it is closed, also one that
    # could not be opened.
    with suppress(RasterioError, OSError):
        _open_with_gdal(signed, overview=None, fresh=True, identity=None).close()


def read_header(
    href: str, *, signed: str, extra: Mapping[str, str], rules: HostRules | None = None, crs: str = ""
) -> FileHeader:
    """The header of the file of an href, with GDAL's settings `extra` over those of a block; the file is closed again.

    `rules` say where requests may go; None: anywhere. `crs` is what its item says, for stores that say none.

    Raises RasterioError or OSError for a file that cannot be opened.
    """
    # Nothing of a look stays with GDAL: another file may take the place of this one before a run reads it.
    way = Way(settings=extra, rules=rules)
    with (
        reading_env(settings_for(href, extra, rules)),
        open_dataset(signed, overview=None, fresh=True, way=way) as dataset,
    ):
        return header_of(dataset, href=href, signed=signed, way=way, crs=crs)
