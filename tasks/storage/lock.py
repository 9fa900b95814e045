"""The lock of an output: one run at a time holds it, renews it, and takes it over from a run that has ended."""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import PreconditionError

from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.storage import json_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilewright.tasks.storage.storage import Storage


LOCK = ".tilewright/lock.json"

LOCK_SECONDS = 120.0
"""Seconds without a heartbeat after which the lock of a run on another machine counts as stale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The run that holds a lock, and the process by which to check that it is alive.

    ``beat`` is the last heartbeat and ``born`` the start of the process, both in seconds since the epoch. ``pid`` and
    ``born`` identify the process on its host.
    """

    run: str
    host: str
    pid: int
    beat: float
    born: float = 0.0


def acquire_lock(storage: Storage, owner: Owner, *, alive: bool | None = None) -> None:
    """Acquire the lock, also from a stale holder; of two processes that replace the same stale lock, one succeeds.

    ``alive`` says whether the current holder's process runs on this host; None if the holder is on another host: then
    its heartbeat decides.

    Raises StoreError if another run holds the lock.
    """
    if storage.create_json(LOCK, asdict(owner)):
        return
    content = storage.read(LOCK)
    holder = read_lock(storage)
    if holder is not None and holder.run == owner.run:
        return
    if holder is not None:
        known = alive if holder.host == owner.host else None
        if not is_stale(holder, now=owner.beat, alive=known):
            raise _held_error(storage, holder)
    if not _replace_unchanged(storage, content, json_bytes(asdict(owner))):
        raise _held_error(storage, read_lock(storage) or owner)


def renew_lock(storage: Storage, owner: Owner) -> bool:
    """True if the lock's heartbeat was renewed; False, and nothing written, if another run holds the lock."""
    holder = read_lock(storage)
    if holder is not None and holder.run != owner.run:
        return False
    storage.write_json(LOCK, asdict(owner))
    return True


def read_lock(storage: Storage) -> Owner | None:
    """The holder of the lock; None if there is no lock, or one that cannot be parsed."""
    plain = storage.read_json(LOCK)
    try:
        return Owner(**plain) if plain else None
    except TypeError:
        return None


def release_lock(storage: Storage, owner: Owner) -> None:
    """Remove the lock if ``owner`` still holds it."""
    holder = read_lock(storage)
    if holder is not None and holder.run == owner.run:
        storage.delete([LOCK])


def is_stale(holder: Owner, *, now: float, alive: bool | None) -> bool:
    """True if the holder's process has ended (``alive`` False), or its last heartbeat is too old (``alive`` None)."""
    return not alive if alive is not None else now - holder.beat >= LOCK_SECONDS


def _held_error(storage: Storage, holder: Owner) -> StoreError:
    return StoreError(
        f"Another run (process {holder.pid} on {holder.host}) is writing {storage.uri}: wait for it, or watch it "
        f"with `tilewright status {storage.uri}`. A lock left by a dead machine frees itself after "
        f"{LOCK_SECONDS:.0f} s."
    )


def _replace_unchanged(storage: Storage, expected: bytes | None, content: bytes) -> bool:
    """True if the lock still held ``expected`` and was replaced by ``content``; else False, and nothing is written."""
    if storage.folder is None:
        found = obstore.get(storage.root, LOCK)
        if bytes(found.bytes()) != expected:
            return False
        try:
            obstore.put(storage.root, LOCK, content, mode={"e_tag": found.meta["e_tag"]})
        except PreconditionError:
            return False
        return True
    with _exclusive(storage):
        if storage.read(LOCK) != expected:
            return False
        storage.write(LOCK, content)
        return True


@contextmanager
def _exclusive(storage: Storage) -> Iterator[None]:
    """Exclusive access to a local lock: other processes wait."""
    assert storage.folder is not None, "only a folder has file locks"
    with (storage.folder / ".tilewright" / ".taking").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
