"""The lock of an output: one run writes at a time, and a heartbeat shows through long steps that it is alive."""

from __future__ import annotations

import os
import threading
import time
import uuid
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from tilewright.flows.machine import HOST, owner_alive, process_start
from tilewright.tasks.storage.errors import StorageError
from tilewright.tasks.storage.lock import Owner, acquire_lock, read_lock, release_lock, renew_lock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilewright.tasks.storage.storage import Storage


HEARTBEAT_SECONDS = 20.0
"""Seconds between two heartbeats."""

_OWN_RUNS: set[str] = set()
"""Ids of the runs in progress in this process. A lock of this process whose run is not among them is stale: its run
failed without releasing it, and the process (a worker, a notebook) continues and would refuse itself."""


class LockLostError(RuntimeError):
    """A run whose output was taken over by another run, because this one sent no heartbeat for too long."""


class OutputLock:
    """The lock of one run on its output; ``lost`` once a heartbeat found another owner."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.run = uuid.uuid4().hex
        self.born = process_start(os.getpid()) or 0.0
        self.lost = False

    def owner(self) -> Owner:
        """This run as the lock's owner, now."""
        return Owner(run=self.run, host=HOST, pid=os.getpid(), beat=time.time(), born=self.born)

    def check(self) -> None:
        """Check that this run still owns the lock.

        Raises LockLostError if another run took it over, after a long sleep of this machine or of its network.
        """
        if self.lost:
            raise LockLostError(
                f"{self.storage.uri} was taken over by another run while this one gave no sign of life. What is "
                "finished is kept: leave it to the other run."
            )


@contextmanager
def lock_output(storage: Storage, *, heartbeat_seconds: float = HEARTBEAT_SECONDS) -> Iterator[OutputLock]:
    """Locks the output for this run and releases it at the end.

    Raises StoreError where another run is in progress.
    """
    lock = OutputLock(storage)
    existing = read_lock(storage)
    # Added before the lock is acquired: another thread that reads it in between would take this run for an ended one.
    _OWN_RUNS.add(lock.run)
    try:
        acquire_lock(storage, lock.owner(), alive=None if existing is None else run_alive(existing))
    except BaseException:
        _OWN_RUNS.discard(lock.run)
        raise
    stop = threading.Event()
    heartbeat = threading.Thread(
        target=_send_heartbeats, args=(lock, stop, heartbeat_seconds), name="tilewright-beat", daemon=True
    )
    heartbeat.start()
    try:
        yield lock
    finally:
        stop.set()
        heartbeat.join()
        _OWN_RUNS.discard(lock.run)
        # The error that ended the run matters more; the next run recognises a remaining lock as stale.
        with suppress(StorageError):
            release_lock(storage, lock.owner())


def run_alive(owner: Owner) -> bool | None:
    """True if the owner's run is in progress on this host, False if it has ended, None if it is on another host."""
    alive = owner_alive(owner)
    return owner.run in _OWN_RUNS if alive and owner.pid == os.getpid() else alive


def _send_heartbeats(lock: OutputLock, stop: threading.Event, seconds: float) -> None:
    while not stop.wait(seconds):
        # The next heartbeat makes up for one that storage refuses; a lasting refusal also fails the run's own writes.
        with suppress(StorageError):
            lock.lost = not renew_lock(lock.storage, lock.owner())
