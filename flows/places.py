"""Where things are on this machine, and what the environment says: read here, handed down as arguments."""

from __future__ import annotations

import os
import resource
import socket
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from tasks.s3_request import S3Keys
from tasks.storage_errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tasks.lock import Owner

HOST = socket.gethostname()

SAME_BIRTH = 2.0
"""Seconds by which a process's start may differ between two looks at it: the clock is set now and then."""

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
    from tasks.gdal_settings import gdal_env

    # Rasterio is a heavy import that many commands do without.

    try:
        return gdal_env(os.environ if environ is None else environ)
    except ValueError as error:
        raise StoreError(str(error)) from error


def process_born(pid: int) -> float | None:
    """When a process of this host started, in seconds since the epoch; None if there is none of that number."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def owner_alive(owner: Owner) -> bool | None:
    """True if the owner's process runs on this host, False if it ended; None for one on another host."""
    if owner.host != HOST:
        return None
    born = process_born(owner.pid)
    return born is not None and (not owner.born or abs(born - owner.born) < SAME_BIRTH)


def process_age() -> float:
    """Seconds since this process began: what a command's start-up has cost so far."""
    return max(0.0, time.time() - psutil.Process().create_time())


def n_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory(cgroups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """Bytes this process may use, its own included: what the machine has free, or the least its control groups leave.

    Source: Linux, Documentation/admin-guide/cgroup-v2.rst (memory.max, memory.current) and cgroup-v1/memory.rst.
    """
    available = psutil.virtual_memory().available + psutil.Process().memory_info().rss
    limits = [left for group in _groups(cgroups, own) if (left := _left_in(group)) is not None]
    return int(min([available, *limits]))


def unused_memory(cgroups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """Bytes that nothing uses now: of the machine, or the least that the control groups have left.

    What the page cache holds of files not lately used counts as unused.
    """
    left = [psutil.virtual_memory().available]
    for group in _groups(cgroups, own):
        limit, used = _left_in(group), _used_in(group)
        if limit is not None and used is not None:
            left.append(max(0, limit - used))
    return int(min(left))


def _used_in(group: Path) -> int | None:
    """Bytes a control group uses, but for file pages it could drop; None where it does not tell."""
    for usage in ("memory.current", "memory.usage_in_bytes"):
        try:
            used = int((group / usage).read_text())
            fields = dict(line.split()[:2] for line in (group / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):
            continue
        return used - int(fields.get("inactive_file", 0))
    return None


def _groups(cgroups: Path, own: Path) -> list[Path]:
    """This process's control groups up to the root, of both versions; a container sees its own as root."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        lines = []
    inner = next((line.split("::", 1)[1].strip("/") for line in lines if line.startswith("0::")), "")
    path = Path(inner)
    return [cgroups / part for part in (path, *path.parents)] + [cgroups / "memory"]


def _left_in(group: Path) -> int | None:
    """Bytes a control group leaves to what runs in it, itself included; None where it sets no limit."""
    for limit in ("memory.max", "memory.limit_in_bytes"):
        try:
            return int((group / limit).read_text())
        except (OSError, ValueError):
            continue
    return None


def peak_memory() -> int:
    """Bytes this process held at its peak.

    Linux tells it of the program alone; what getrusage says there is at least what the parent held when it started it.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
    except (OSError, StopIteration, ValueError, IndexError):
        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return held if sys.platform == "darwin" else held * 1024
