"""Files of the cache: written whole or not at all, by any number of processes, and elsewhere where it cannot be."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path


def find(path: Path) -> Path | None:
    """Where `keep` put what belongs at `path`; None where it has not been made."""
    return next((place for place in (path, *_elsewhere(path)) if place.exists()), None)


def keep(path: Path, content: bytes) -> Path:
    """Where `content` lies from now on: at `path`, or in a folder of this process alone where the cache is read-only
    or full.

    Raises OSError where neither can be written.
    """
    try:
        _write(path, content)
    except OSError:
        path = _own_folder() / path.name
        _write(path, content)
    return path


def _write(path: Path, content: bytes) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_bytes(content)
        fresh.replace(path)
    except OSError:
        with suppress(OSError):
            fresh.unlink()
        raise


def _elsewhere(path: Path) -> tuple[Path, ...]:
    return (_own_folder() / path.name,) if _own_folder.cache_info().currsize else ()


@cache
def _own_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tilewright-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
