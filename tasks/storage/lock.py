"""One run at a time on an output: who holds it, until when, and how it passes on from a dead holder."""

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
"""After so long without a heartbeat a lock from another machine counts as left behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who runs: enough to tell whether it still does.

    ``beat`` is the last sign of life and ``born`` the start of the process (with the number it makes it one of a kind
    on its host), both in seconds since the epoch.
    """

    run: str
    host: str
    pid: int
    beat: float
    born: float = 0.0


def take_lock(storage: Storage, owner: Owner, *, alive: bool | None = None) -> None:
    """Become the one process that writes here.

    ``alive`` says whether the lock's process on this very host still runs (None: it is on another host, and only its
    heartbeat can tell). Of two that take over the same dead lock one wins.

    Raises StoreError where another run is under way.
    """
    if storage.create_json(LOCK, asdict(owner)):
        return
    content = storage.read(LOCK)
    standing = read_lock(storage)
    if standing is not None and standing.run == owner.run:
        return
    if standing is not None and _holds(standing, owner, alive=alive):
        raise _taken(storage, standing)
    if not _swap(storage, content, json_bytes(asdict(owner))):
        raise _taken(storage, read_lock(storage) or owner)


def beat(storage: Storage, owner: Owner) -> bool:
    """Renew the lock's heartbeat; False, and nothing written, where another run holds the lock by now."""
    standing = read_lock(storage)
    if standing is not None and standing.run != owner.run:
        return False
    storage.write_json(LOCK, asdict(owner))
    return True


def read_lock(storage: Storage) -> Owner | None:
    """Who holds the lock, or None."""
    plain = storage.read_json(LOCK)
    try:
        return Owner(**plain) if plain else None
    except TypeError:
        return None


def free_lock(storage: Storage, owner: Owner) -> None:
    """Give the lock back if it is still ours."""
    standing = read_lock(storage)
    if standing is not None and standing.run == owner.run:
        storage.delete([LOCK])


def is_stale(standing: Owner, *, now: float, alive: bool | None) -> bool:
    """True if a lock's run has ended: its process is gone (``alive``), or unknown and silent for too long."""
    return not alive if alive is not None else now - standing.beat >= LOCK_SECONDS


def _holds(standing: Owner, asking: Owner, *, alive: bool | None) -> bool:
    known = alive if standing.host == asking.host else None
    return not is_stale(standing, now=asking.beat, alive=known)


def _taken(storage: Storage, standing: Owner) -> StoreError:
    return StoreError(
        f"Another run (process {standing.pid} on {standing.host}) is writing {storage.uri}: wait for it, or watch it "
        f"with `tilewright status {storage.uri}`. A lock left by a dead machine frees itself after "
        f"{LOCK_SECONDS:.0f} s."
    )


def _swap(storage: Storage, expected: bytes | None, content: bytes) -> bool:
    """Replace the lock only if it still holds ``expected``."""
    if storage.folder is None:
        found = obstore.get(storage.root, LOCK)
        if bytes(found.bytes()) != expected:
            return False
        try:
            obstore.put(storage.root, LOCK, content, mode={"e_tag": found.meta["e_tag"]})
        except PreconditionError:
            return False
        return True
    with _alone(storage):
        if storage.read(LOCK) != expected:
            return False
        storage.write(LOCK, content)
        return True


@contextmanager
def _alone(storage: Storage) -> Iterator[None]:
    """The only process between reading and writing a local lock."""
    assert storage.folder is not None, "only a folder has file locks"
    with (storage.folder / ".tilewright" / ".taking").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
