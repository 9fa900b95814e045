"""Files of the cache: written atomically by any number of processes, and to a temporary folder if the cache is not
writable.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import shutil
import tempfile
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any


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
        path = process_folder() / path.name
        _write(path, content)
    return path


def write_kept(path: Path, value: Any) -> None:
    """Keep a JSON value with the sha256 of it and of its name. Raises OSError if it cannot be written."""
    write_cached(path, json.dumps({"sha256": _digest(path, value), "value": value}, indent=1).encode())


def read_kept(path: Path) -> Any:
    """The value that `write_kept` stored for `path`; None if there is none, or it is not as it was written.

    A file that is damaged, cut off or that of another name is as if it were not there.
    """
    try:
        plain = json.loads((find_cached(path) or path).read_bytes())
        return plain["value"] if plain["sha256"] == _digest(path, plain["value"]) else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _digest(path: Path, value: Any) -> str:
    return hashlib.sha256(f"{path.name} {json.dumps(value, sort_keys=True)}".encode()).hexdigest()


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
    return (process_folder() / path.name,) if process_folder.cache_info().currsize else ()


@cache
def process_folder() -> Path:
    """A folder of this process, which is removed when it ends."""
    folder = Path(tempfile.mkdtemp(prefix="tilewright-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
