"""The lock of an output: one run writes at a time, and a heartbeat shows through long steps that it is alive."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from tilewright.flows.ending import last_act
from tilewright.flows.run.lock_wait import OWN_RUNS, acquire, new_owner, run_alive
from tilewright.tasks.progress import Notice, silent
from tilewright.tasks.storage.errors import StorageError
from tilewright.tasks.storage.lock import LOCK_SECONDS, release_lock, renew_lock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilewright.tasks.progress import Listener
    from tilewright.tasks.storage.fence import Fence
    from tilewright.tasks.storage.lock import Owner
    from tilewright.tasks.storage.storage import Storage


__all__ = ["BEATS_PER_LOCK", "OutputLock", "lock_output", "run_alive"]

BEATS_PER_LOCK = 6
"""Heartbeats in the time after which a silent lock is stale: five may be lost."""

NO_CONDITIONS = (
    "This bucket ignores the conditions of puts (If-None-Match, If-Match): two runs are kept apart by heartbeats and "
    "by a look at the lock before each write alone. Do not start the same job twice at once."
)


class OutputLock:
    """The lock of one run on its output, through whose ``storage`` it writes; ``lost`` once a heartbeat was refused."""

    def __init__(self, storage: Storage, owner: Owner, fence: Fence) -> None:
        self.storage = replace(storage, fence=fence)
        self.owner = owner
        self.fence = fence
        self.lost = False

    def beat(self) -> None:
        """Renew the lock, unless it is another run's by now."""
        self.owner = new_owner(self.owner)
        self.lost = not renew_lock(self.storage, self.fence, self.owner)

    def check(self) -> None:
        """Check that this run still owns the output, as each write does. Raises FencedError where it does not."""
        if self.lost:
            self.storage.check_fence()


@contextmanager
def lock_output(
    storage: Storage,
    *,
    seconds: float = LOCK_SECONDS,
    heartbeat_seconds: float | None = None,
    wait: float = 0.0,
    listener: Listener = silent,
) -> Iterator[OutputLock]:
    """Locks the output for this run and releases it at the end; the run writes through the lock's ``storage``.

    After ``seconds`` without a heartbeat another run may take the output over. A lock that shows no life is awaited
    until it is stale, a run that lives for ``wait`` seconds at most.

    Raises LockHeldError where another run is in progress.
    """
    owner = replace(new_owner(), lasts=seconds)
    # Added before the lock is acquired: another thread that reads it in between would take this run for an ended one.
    OWN_RUNS.add(owner.run)
    stop = threading.Event()
    try:
        lock = OutputLock(storage, owner, acquire(storage, owner, wait=wait, listener=listener))
        if not lock.fence.conditional:
            listener(Notice(text=NO_CONDITIONS))
        pause = seconds / BEATS_PER_LOCK if heartbeat_seconds is None else heartbeat_seconds
        heartbeat = threading.Thread(
            target=_send_heartbeats, args=(lock, stop, pause), name="tilewright-beat", daemon=True
        )
        heartbeat.start()
        try:
            with last_act(partial(_release, lock)):
                yield lock
        finally:
            stop.set()
            heartbeat.join()
            # The error that ended the run matters more; the next run recognises a remaining lock as stale.
            with suppress(StorageError):
                _release(lock)
    finally:
        OWN_RUNS.discard(owner.run)


def _release(lock: OutputLock) -> None:
    release_lock(lock.storage, lock.fence, new_owner(lock.owner))


def _send_heartbeats(lock: OutputLock, stop: threading.Event, seconds: float) -> None:
    while not lock.lost and not stop.wait(seconds):
        # The next heartbeat makes up for one that fails in whatever way; a lasting refusal also fails the run's writes.
        with suppress(Exception):
            lock.beat()
