"""Where things are on this machine, and what the environment says: read here, handed down as arguments."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Mapping

HOST = socket.gethostname()

S3_OPTIONS = {
    "AWS_ENDPOINT_URL": "endpoint",
    "AWS_ENDPOINT_URL_S3": "endpoint",
    "AWS_REGION": "region",
    "AWS_DEFAULT_REGION": "region",
}
"""What obstore takes from the environment only in part: set it ourselves (FACTS, Zarr and COG)."""


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
    """Obstore's options for a URI beyond what it reads from the environment itself; never a credential."""
    environ = os.environ if environ is None else environ
    if not uri.startswith("s3://"):
        return {}
    return {option: environ[name] for name, option in S3_OPTIONS.items() if environ.get(name)}


def process_alive(pid: int) -> bool:
    """True if a process of that number runs on this host."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def process_age() -> float:
    """Seconds since this process began: what a command's start-up has cost so far."""
    return max(0.0, time.time() - psutil.Process().create_time())


def n_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
