"""The cache folder and the environment variables: read here alone, handed down as arguments."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.s3 import s3_settings_of
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.lock import LOCK_SECONDS, LONGEST_LOCK, SHORTEST_LOCK
from tilewright.tasks.storage.s3_request import S3Keys
from tilewright.tasks.storage.storage import CA_BUNDLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilewright.catalogs.s3 import S3Settings


STAC_TOKEN = "TILEWRIGHT_STAC_TOKEN"  # noqa: S105 -- the name of a variable
"""The variable with the token of the STAC API that products are pushed to."""


NOTIFY = "TILEWRIGHT_NOTIFY"
"""The variable with the address that is told how a run ended; `<it>_TOKEN` holds the token that goes along."""

NO_PROXY = ("no_proxy", "NO_PROXY")
"""Variables that except hosts from a proxy. Source: curl(1), "Environment"."""

SCREENS = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
"""Variables of which one is set where there is a screen, or a person names a browser."""

_SECRET_NAME = re.compile(r"(?i)(?:^|_)(?:key|key_id|token|secret|password|passwd|auth_string|userpwd)$")

SHORTEST_SECRET = 16

JSON_LOG = "TILEWRIGHT_LOG"

LOCK_TIME = "TILEWRIGHT_LOCK_SECONDS"
"""The variable with the seconds of silence after which another run may take an output over; a heartbeat comes six times
as often."""

METRICS_PORT, METRICS_HOST = "TILEWRIGHT_METRICS_PORT", "TILEWRIGHT_METRICS_HOST"

TRACES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER")
"""OpenTelemetry's own variables, of which one is set to get traces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorSettings:
    """How a run is monitored: structured logs, the port and host of its metrics (None: none), traces."""

    json_log: bool = False
    metrics_port: str | None = None
    metrics_host: str = "127.0.0.1"
    traces: bool = False


def cache_folder(environ: Mapping[str, str] | None = None) -> Path:
    """The folder for samples, measured receptive fields and fetched models: safe to delete.

    ``TILEWRIGHT_CACHE`` first, then the XDG cache folder, then ``~/.cache/tilewright``.
    """
    environ = os.environ if environ is None else environ
    if environ.get("TILEWRIGHT_CACHE"):
        return Path(environ["TILEWRIGHT_CACHE"]).expanduser()
    home = environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "tilewright"


def s3_settings(environ: Mapping[str, str] | None = None) -> S3Settings:
    """The S3 endpoint, region and keys of the environment, which catalogs and GDAL are handed."""
    found = s3_settings_of(os.environ if environ is None else environ)
    if environ is None and not found.proxied:
        # Exceptions from a proxy that is not there, which GDAL would take for exceptions from the judged connections.
        for name in NO_PROXY:
            os.environ.pop(name, None)
    return found


def certificates(environ: Mapping[str, str] | None = None) -> bytes | None:
    """The certificates of the authorities that the environment names, as PEM; None for those that clients bring along.

    Raises StoreError where there is no such file.
    """
    try:
        path = s3_settings(environ).checked_ca_bundle()
    except CatalogError as error:
        raise StoreError(str(error)) from error
    return None if path is None else Path(path).read_bytes()


def storage_options(uri: str, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Obstore's options for a URI beyond what it reads from the environment itself; never a credential.

    Raises StoreError for an endpoint that is no http(s) URL.
    """
    if "://" not in uri:
        return {}
    s3 = s3_settings(environ)
    try:
        options = {CA_BUNDLE: s3.checked_ca_bundle()}
        if uri.startswith("s3://"):
            options |= {"endpoint": s3.checked_endpoint(), "region": s3.bucket_region}
    except CatalogError as error:
        raise StoreError(str(error)) from error
    return {name: value for name, value in options.items() if value is not None}


def s3_keys(environ: Mapping[str, str] | None = None) -> S3Keys | None:
    """The keys that sign S3 requests: the environment's, else those that botocore finds where it is installed."""
    s3 = s3_settings(environ)
    if s3.key and s3.secret:
        return S3Keys(key=s3.key, secret=s3.secret, token=s3.token or "")
    try:
        session: Any = import_module("botocore.session")
    except ModuleNotFoundError:
        return None
    found = session.Session().get_credentials()
    if found is None:
        return None
    keys = found.get_frozen_credentials()
    return S3Keys(key=keys.access_key, secret=keys.secret_key, token=keys.token or "")


def stac_token(environ: Mapping[str, str] | None = None) -> str | None:
    """The token that a STAC API is sent with what is pushed; None without one."""
    return (os.environ if environ is None else environ).get(STAC_TOKEN, "").strip() or None


def notify_address(environ: Mapping[str, str] | None = None) -> str | None:
    """The address that is told how a run ended; None without one."""
    return (os.environ if environ is None else environ).get(NOTIFY, "").strip() or None


def notify_token(environ: Mapping[str, str] | None = None) -> str | None:
    """The token that goes along with a notification; None without one."""
    return (os.environ if environ is None else environ).get(f"{NOTIFY}_TOKEN", "").strip() or None


def own_secrets(environ: Mapping[str, str] | None = None) -> list[str]:
    """The keys and tokens of the environment, which others may send back: what is printed and logged goes without.

    Those shorter than SHORTEST_SECRET are left out, since they stand in any text.
    """
    environ = os.environ if environ is None else environ
    # The address of a chat's hook is its password.
    values = [value.strip() for name, value in environ.items() if name == NOTIFY or _SECRET_NAME.search(name)]
    return [value for value in values if len(value) >= SHORTEST_SECRET and not value.startswith("/")]


def lock_seconds(environ: Mapping[str, str] | None = None) -> float:
    """Seconds of silence after which the lock of a run of this process counts as stale.

    Raises StoreError for a time that no lock may have.
    """
    text = (os.environ if environ is None else environ).get(LOCK_TIME, "").strip()
    if not text:
        return LOCK_SECONDS
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not SHORTEST_LOCK <= seconds <= LONGEST_LOCK:
        raise StoreError(
            f"{LOCK_TIME} is {text!r}: expected a number of seconds from {SHORTEST_LOCK:.0f} to {LONGEST_LOCK:.0f}."
        )
    return seconds


def monitor_settings(environ: Mapping[str, str] | None = None) -> MonitorSettings:
    """How runs of this process are monitored."""
    environ = os.environ if environ is None else environ
    return MonitorSettings(
        json_log=environ.get(JSON_LOG, "").lower() == "json",
        metrics_port=environ.get(METRICS_PORT) or None,
        metrics_host=environ.get(METRICS_HOST, "127.0.0.1"),
        traces=any(environ.get(variable, "none") != "none" for variable in TRACES),
    )


def has_screen(environ: Mapping[str, str] | None = None) -> bool:
    """True where a browser can open a window; without one a text browser would take the terminal."""
    environ = os.environ if environ is None else environ
    return sys.platform in {"win32", "darwin"} or any(environ.get(name) for name in SCREENS)


def use_json_log() -> None:
    """Set the variable for structured logs, for the runs of this process and of those that it starts."""
    os.environ[JSON_LOG] = "json"


def reading_settings(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """GDAL's settings for reading scenes, also from buckets; they hold credentials.

    Headers that the user sends with every request are among them, since a read adds its own.

    Raises StoreError for an endpoint that is no http(s) URL.
    """
    # Rasterio is a heavy import that many commands do without.
    from tilewright.tasks.read.gdal import HEADERS, gdal_env

    try:
        settings = gdal_env(s3_settings(environ))
    except CatalogError as error:
        raise StoreError(str(error)) from error
    headers = (os.environ if environ is None else environ).get(HEADERS)
    return {**settings, HEADERS: headers} if headers else settings
