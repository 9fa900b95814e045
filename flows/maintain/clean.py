"""Removes what broken runs left in an output; never a published product, never finished blocks."""

from __future__ import annotations

import os
import re
import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tilewright.flows.environment import s3_keys, storage_options
from tilewright.flows.run.output_lock import lock_output, run_alive
from tilewright.tasks.inventory.finished import unfinished
from tilewright.tasks.inventory.listing import UNFINISHED, keys_below
from tilewright.tasks.inventory.record import ProductRecord
from tilewright.tasks.publish.names import existing_record
from tilewright.tasks.storage.errors import LockHeldError, StorageError, StoreError
from tilewright.tasks.storage.ledger import read_plan
from tilewright.tasks.storage.lock import lock_age, look_at_lock, read_lock
from tilewright.tasks.storage.multipart import abort_uploads, unfinished_uploads
from tilewright.tasks.storage.secrets import SECRETS
from tilewright.tasks.storage.storage import STATE_FOLDER, open_storage
from tilewright.tasks.zarr.declare import BLOCKS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tilewright.tasks.storage.lock import Owner
    from tilewright.tasks.storage.storage import Storage


STAGING = f"{STATE_FOLDER}/staging/"

DRAFT = re.compile(rf"{re.escape(SECRETS.rpartition('/')[0])}/\.secrets\.json\.\d+")
"""The file of secrets of a run that was killed while it wrote it, as older versions named it."""

AGE = re.compile(r"^(\d+(?:\.\d+)?)([smhdw])\Z")

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


NO_KEYS = (
    "Multipart uploads that were never completed are not looked for: put AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY "
    "in the environment, or `pip install botocore` for keys from profiles and roles."
)


def clean_output(
    output: str, *, older_than: str = "0d", dry_run: bool = False, say: Callable[[str], None] = lambda _words: None
) -> list[str]:
    """Remove what broken runs left in an output; returns the removed keys, sorted. ``dry_run`` removes nothing.

    Removed are staged files, incomplete files and unfinished multipart uploads, if older than ``older_than`` (``12h``,
    ``7d``); of a published product also its blocks, and its secrets in a bucket. Only what the product's record names
    is touched, and no link is followed. Finished blocks of an unfinished product are kept, since a run continues from
    them, and so is the lock, which numbers the owners. ``say`` gets a message where uploads could not be listed.

    Raises StoreError where there is no product, LockHeldError where a run is in progress, StorageError where storage
    refuses.
    """
    storage = open_storage(output, options=storage_options(output))
    cutoff = time.time() - parse_age(older_than)
    if storage.root is None or STATE_FOLDER not in _top_names(storage):
        raise StoreError(f"{output} holds no product and none was begun there: nothing to clean.")
    if storage.folder is not None and (storage.folder / STATE_FOLDER).is_symlink():
        raise StoreError(f"{STATE_FOLDER} of {output} is a link, which is not followed: put the folder in its place.")
    lock = read_lock(storage)
    if lock is not None and not _has_ended(storage, lock):
        raise LockHeldError(
            f"A run (process {lock.pid} on {lock.host}) is writing {output}: clean it when that has ended."
        )
    with nullcontext() if dry_run else lock_output(storage) as held:
        # Listed once the output is ours: a run that began meanwhile would lose what it has just staged.
        leftovers = [*_leftover_files(storage, cutoff), *_published_leftovers(storage)]
        uploads = _unfinished_uploads(storage, cutoff, say)
        if held is not None:
            _remove(held.storage, leftovers)
            uploads.abort()
    return sorted([*leftovers, *uploads.names])


def _has_ended(storage: Storage, lock: Owner) -> bool:
    """True if a lock's run has ended: its process is gone, or its lock is old by the storage's own clock."""
    alive = run_alive(lock)
    return not alive if alive is not None else lock_age(storage, look_at_lock(storage)) >= lock.lasts


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


def _leftover_files(storage: Storage, cutoff: float) -> Iterator[str]:
    """The files that a local run stages or did not complete, older than the cutoff."""
    folder = storage.folder
    if folder is None:
        return
    record = existing_record(storage, _plan_of(storage)) or ProductRecord()
    for key in keys_below(storage, ""):
        staged = key.startswith(STAGING)
        unfinished_file = UNFINISHED.search(key) is not None and record.holds(key)
        if (staged or unfinished_file or DRAFT.fullmatch(key)) and os.lstat(folder / key).st_mtime <= cutoff:
            yield key


def _plan_of(storage: Storage) -> dict[str, Any] | None:
    try:
        return read_plan(storage)
    except StoreError:
        return {}


def _published_leftovers(storage: Storage) -> list[str]:
    """What a run that was killed after it wrote the Item left: secrets in a bucket, and blocks that wait no more."""
    if unfinished(storage):
        return []
    secrets = [SECRETS] if storage.remote and storage.etag(SECRETS) is not None else []
    return [*secrets, *keys_below(storage, BLOCKS)]


def _remove(storage: Storage, keys: list[str]) -> None:
    storage.delete(keys)
    if storage.folder is not None:
        _remove_empty(storage.folder / STAGING)
        _remove_empty(storage.folder / BLOCKS)


def _remove_empty(folder: Path) -> None:
    """Remove the empty folders in a folder, and the folder itself if it is empty; nothing of what a link leads to."""
    if folder.is_symlink():
        return
    for parent, _folders, _names in os.walk(folder, topdown=False):
        if not os.listdir(parent):  # noqa: PTH208
            os.rmdir(parent)  # noqa: PTH106
