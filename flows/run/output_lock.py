"""An output held by one run: its lock, and the heartbeat that says the run is alive through every long step."""

from __future__ import annotations

import os
import threading
import time
import uuid
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from tilewright.flows.machine import HOST, owner_alive, process_born
from tilewright.tasks.storage.errors import StorageError
from tilewright.tasks.storage.lock import Owner, acquire_lock, read_lock, release_lock, renew_lock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilewright.tasks.storage.storage import Storage


BEAT_SECONDS = 20.0

_HELD: set[str] = set()
"""Runs under way in this process. A lock of this process that is none of them could not be given back when its run
failed; the process lives on (a worker, a notebook) and would be refused by itself."""


class LostError(RuntimeError):
    """A run whose output another run took over while this one was silent."""


class OutputLock:
    """A run that holds its output, as far as it knows."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.run = uuid.uuid4().hex
        self.born = process_born(os.getpid()) or 0.0
        self.lost = False

    def owner(self) -> Owner:
        """This run as the lock's owner, now."""
        return Owner(run=self.run, host=HOST, pid=os.getpid(), beat=time.time(), born=self.born)

    def check(self) -> None:
        """Do nothing while the output is ours.

        Raises LostError once another run holds it: after a long sleep of this machine, or of its network.
        """
        if self.lost:
            raise LostError(
                f"{self.storage.uri} was taken over by another run while this one gave no sign of life. What is "
                "finished is kept: leave it to the other run."
            )


@contextmanager
def hold(storage: Storage, *, beat_seconds: float = BEAT_SECONDS) -> Iterator[OutputLock]:
    """The output for this run alone.

    Raises StoreError where another run is under way.
    """
    lock = OutputLock(storage)
    existing = read_lock(storage)
    # Known before the lock is ours: another thread that reads it in between would take us for a run that ended.
    _HELD.add(lock.run)
    try:
        acquire_lock(storage, lock.owner(), alive=None if existing is None else run_alive(existing))
    except BaseException:
        _HELD.discard(lock.run)
        raise
    stop = threading.Event()
    beats = threading.Thread(target=_beat, args=(lock, stop, beat_seconds), name="tilewright-beat", daemon=True)
    beats.start()
    try:
        yield lock
    finally:
        stop.set()
        beats.join()
        _HELD.discard(lock.run)
        # What ended the run is the news; a lock that stays is seen to be dead by the next run.
        with suppress(StorageError):
            release_lock(storage, lock.owner())


def run_alive(owner: Owner) -> bool | None:
    """True if the owner's run is under way on this host, False if it ended; None for one on another host."""
    alive = owner_alive(owner)
    return owner.run in _HELD if alive and owner.pid == os.getpid() else alive


def _beat(lock: OutputLock, stop: threading.Event, seconds: float) -> None:
    while not stop.wait(seconds):
        # A beat that storage refuses is made up for by the next one; a lasting refusal fails the run's own writes.
        with suppress(StorageError):
            lock.lost = not renew_lock(lock.storage, lock.owner())
