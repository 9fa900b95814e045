"""Where things are on this machine, and what the environment says: read here, handed down as arguments."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.s3_request import S3Keys

if TYPE_CHECKING:
    from collections.abc import Mapping


S3_OPTIONS = (
    ("endpoint", ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")),
    ("region", ("AWS_REGION", "AWS_DEFAULT_REGION")),
)
"""Obstore's options and the variables that mean them, the stronger first; it knows only some by itself."""


def cache_folder(environ: Mapping[str, str] | None = None) -> Path:
    """The folder for samples, measured receptive fields and fetched models: safe to delete.

    ``TILEWRIGHT_CACHE`` first, then the XDG cache folder, then ``~/.cache/tilewright``.
    """
    environ = os.environ if environ is None else environ
    if environ.get("TILEWRIGHT_CACHE"):
        return Path(environ["TILEWRIGHT_CACHE"]).expanduser()
    home = environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "tilewright"


def storage_options(uri: str, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Obstore's options for a URI beyond what it reads from the environment itself; never a credential.

    Raises StoreError for an endpoint that is no http(s) URL.
    """
    environ = os.environ if environ is None else environ
    if not uri.startswith("s3://"):
        return {}
    options = {
        option: value
        for option, names in S3_OPTIONS
        if (value := next((environ[name] for name in names if environ.get(name)), None))
    }
    endpoint = options.get("endpoint")
    if endpoint is not None and not endpoint.startswith(("http://", "https://")):
        raise StoreError(f"AWS_ENDPOINT_URL is {endpoint!r}: give an http(s) URL such as https://s3.example.com.")
    return options


def s3_keys(environ: Mapping[str, str] | None = None) -> S3Keys | None:
    """What S3 requests are signed with: the environment's keys, else what botocore finds where it is installed."""
    environ = os.environ if environ is None else environ
    if environ.get("AWS_ACCESS_KEY_ID") and environ.get("AWS_SECRET_ACCESS_KEY"):
        return S3Keys(
            key=environ["AWS_ACCESS_KEY_ID"],
            secret=environ["AWS_SECRET_ACCESS_KEY"],
            token=environ.get("AWS_SESSION_TOKEN", ""),
        )
    try:
        session: Any = import_module("botocore.session")
    except ModuleNotFoundError:
        return None
    found = session.Session().get_credentials()
    if found is None:
        return None
    keys = found.get_frozen_credentials()
    return S3Keys(key=keys.access_key, secret=keys.secret_key, token=keys.token or "")


def reading_settings(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """GDAL's settings for reading scenes from buckets, as the environment has them; they hold credentials.

    Raises StoreError for an endpoint that is no http(s) URL.
    """
    # Rasterio is a heavy import that many commands do without.
    from tilewright.tasks.read.gdal import gdal_env

    # Rasterio is a heavy import that many commands do without.

    try:
        return gdal_env(os.environ if environ is None else environ)
    except ValueError as error:
        raise StoreError(str(error)) from error
