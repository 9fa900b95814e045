"""Files of the cache: written atomically by any number of processes, and to a temporary folder if the cache is not
writable.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path


def find_cached(path: Path) -> Path | None:
    """The path at which `write_cached` stored the file for `path`; None if no such file exists."""
    return next((candidate for candidate in (path, *_fallback_paths(path)) if candidate.exists()), None)


def write_cached(path: Path, content: bytes) -> Path:
    """The path of the file with `content`: `path`, or a path in this process's own folder if the cache is read-only or
    full.

    Raises OSError if neither can be written.
    """
    try:
        _write(path, content)
    except OSError:
        path = _process_folder() / path.name
        _write(path, content)
    return path


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise


def _fallback_paths(path: Path) -> tuple[Path, ...]:
    return (_process_folder() / path.name,) if _process_folder.cache_info().currsize else ()


@cache
def _process_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tilewright-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
