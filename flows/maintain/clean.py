"""Removes what broken runs left in an output; never a published product, never finished blocks."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tilewright.flows.environment import s3_keys, storage_options
from tilewright.flows.run.output_lock import run_alive
from tilewright.tasks.storage.errors import StorageError, StoreError
from tilewright.tasks.storage.lock import LOCK, is_stale, read_lock
from tilewright.tasks.storage.multipart import abort_uploads, unfinished_uploads
from tilewright.tasks.storage.storage import STATE_FOLDER, open_storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tilewright.tasks.storage.storage import Storage


STAGING = f"{STATE_FOLDER}/staging/"

TAKING = f"{STATE_FOLDER}/.taking"

UNFINISHED = re.compile(r"#\d+$")
"""End of the name that the object store's client gives a local file until it is complete."""

AGE = re.compile(r"^(\d+(?:\.\d+)?)([smhdw])$")

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


NO_KEYS = (
    "Multipart uploads that were never completed are not looked for: put AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY "
    "in the environment, or `pip install botocore` for keys from profiles and roles."
)


def clean_output(
    output: str, *, older_than: str = "0d", dry_run: bool = False, say: Callable[[str], None] = lambda _words: None
) -> list[str]:
    """Remove what broken runs left in an output; returns the removed keys, sorted. ``dry_run`` removes nothing.

    Removed are staged files, incomplete files, unfinished multipart uploads and the lock of a run that ended, if older
    than ``older_than`` (``12h``, ``7d``). Finished blocks are kept, since a run continues from them. ``say`` gets a
    message where uploads could not be listed.

    Raises StoreError where there is no product or a run is in progress, StorageError where storage refuses.
    """
    storage = open_storage(output, options=storage_options(output))
    cutoff = time.time() - parse_age(older_than)
    if storage.root is None or STATE_FOLDER not in _top_names(storage):
        raise StoreError(f"{output} holds no product and none was begun there: nothing to clean.")
    lock = read_lock(storage)
    if lock is not None and not is_stale(lock, now=time.time(), alive=run_alive(lock)):
        raise StoreError(
            f"A run (process {lock.pid} on {lock.host}) is writing {output}: clean it when that has ended."
        )
    leftovers = list(_leftover_files(storage.folder, cutoff)) if storage.folder is not None else []
    if lock is not None and lock.beat <= cutoff:
        leftovers.append(LOCK)
    uploads = _unfinished_uploads(storage, cutoff, say)
    if not dry_run:
        _remove(storage, leftovers)
        uploads.abort()
    return sorted([*leftovers, *uploads.names])


def parse_age(text: str) -> float:
    """Seconds of an age such as ``7d``, ``12h``, ``30m``.

    Raises StoreError for anything else.
    """
    found = AGE.match(text.strip())
    if found is None:
        raise StoreError(f"--older-than {text!r} is not an age: write a number and s, m, h, d or w, such as 7d.")
    return float(found[1]) * SECONDS[found[2]]


def _top_names(storage: Storage) -> tuple[str, ...]:
    try:
        return storage.top_names()
    except StorageError as error:
        raise StoreError(str(error)) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Uploads:
    """The names of unfinished uploads, and a function that aborts them."""

    names: tuple[str, ...] = ()
    abort: Callable[[], None] = lambda: None


def _unfinished_uploads(storage: Storage, cutoff: float, say: Callable[[str], None]) -> _Uploads:
    """Multipart uploads of an S3 bucket that were begun before the cutoff; other stores expire such uploads."""
    if not storage.uri.startswith("s3://"):
        return _Uploads()
    keys = s3_keys()
    if keys is None:
        say(NO_KEYS)
        return _Uploads()
    found = [pending for pending in unfinished_uploads(storage, keys) if pending.began <= cutoff]
    return _Uploads(names=tuple(pending.name for pending in found), abort=lambda: abort_uploads(storage, found, keys))


def _leftover_files(folder: Path, cutoff: float) -> Iterator[str]:
    for parent, _folders, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)  # noqa: PTH118 -- a Path for each of a million shards is slow
            key = os.path.relpath(path, folder).replace(os.sep, "/")
            ours = key.startswith(STAGING) or key == TAKING or UNFINISHED.search(name)
            if ours and os.stat(path).st_mtime <= cutoff:  # noqa: PTH116
                yield key


def _remove(storage: Storage, keys: list[str]) -> None:
    for key in keys:
        if storage.folder is None or key == LOCK:
            storage.delete([key])
        else:
            (storage.folder / key).unlink(missing_ok=True)
    if storage.folder is not None:
        _remove_empty(storage.folder / STAGING)


def _remove_empty(folder: Path) -> None:
    """Remove the empty folders in a folder, and the folder itself if it is empty."""
    for parent, _folders, _names in os.walk(folder, topdown=False):
        if not os.listdir(parent):  # noqa: PTH208
            os.rmdir(parent)  # noqa: PTH106
