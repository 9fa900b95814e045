"""Acquiring the lock of an output: at once where no run holds it, after a wait where its run shows no sign of life.

No clock of one machine is compared with one of another. How long a lock has been silent is told by the clock that
stamps the storage's objects, and by what this process saw itself: a heartbeat changes the lock.
"""

from __future__ import annotations

import math
import os
import time
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tilewright.flows.machine import HOST, kernel_place, owner_alive, process_start
from tilewright.tasks.progress import Notice
from tilewright.tasks.storage.errors import LockHeldError, StorageError
from tilewright.tasks.storage.lock import LOCK, Owner, lock_age, look_at_lock, take_lock

if TYPE_CHECKING:
    from tilewright.tasks.progress import Listener
    from tilewright.tasks.storage.fence import Fence
    from tilewright.tasks.storage.lock import SeenLock
    from tilewright.tasks.storage.storage import Storage


OWN_RUNS: set[str] = set()
"""Ids of the runs in progress in this process. A lock of this process whose run is not among them is stale: its run
failed without releasing it, and the process (a worker, a notebook) continues and would refuse itself."""

SHORT_LOOK, LONG_LOOK = 1 / 4, 1 / 2
"""Parts of the time after which a lock is stale for which this process itself must see no heartbeat: of a run on
another host, and of one on this host whose process is there and may only be stopped. One and three heartbeats fall into
them."""

CERTAIN = 10
"""Times that time after which a lock is taken without such a look: no storage's clock is so far off."""

MOST_REFUSED, REFUSED_SECONDS = 10, 0.1
"""Puts of a lock in a row that are refused though it did not change, and the seconds by which each waits longer."""

POLLS = 24
"""Looks at a lock within the time after which it is stale, four per heartbeat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """A lock under watch: since this moment (``since``, monotonic) it has not changed; it was ``age`` seconds old then.

    It is stale after ``lasts`` seconds of silence. ``alive``: True if its process is there on this host, False if it
    has ended, None where that cannot be told.
    """

    seen: SeenLock
    since: float
    age: float
    alive: bool | None
    lasts: float

    @property
    def watched(self) -> float:
        """Seconds for which this process has seen no heartbeat."""
        return time.monotonic() - self.since

    @property
    def silent(self) -> float:
        """Seconds without a heartbeat, as far as is known."""
        return self.age + self.watched

    @property
    def stale(self) -> bool:
        """True if the lock may be taken: its process has ended, or it was silent for long enough."""
        if self.alive is False:
            return True
        if self.age >= CERTAIN * self.lasts and self.alive is None:
            return True
        look = LONG_LOOK if self.alive else SHORT_LOOK
        return self.silent >= self.lasts and self.watched >= look * self.lasts

    @property
    def fresh(self) -> bool:
        """True if the run is known to live without a wait: its process is there, and its last heartbeat is recent."""
        return self.alive is True and self.silent < self.lasts / 2


def new_owner(before: Owner | None = None) -> Owner:
    """This process as the owner of a new run, or at the next heartbeat of one."""
    if before is not None:
        return replace(before, beat=time.time(), beats=before.beats + 1)
    pid = os.getpid()
    born = process_start(pid) or 0.0
    return Owner(run=uuid.uuid4().hex, host=HOST, pid=pid, beat=time.time(), born=born, place=kernel_place())


def acquire(storage: Storage, owner: Owner, *, wait: float, listener: Listener) -> Fence:
    """The fence of ``owner``, once it holds the lock; a run that lives is awaited for ``wait`` seconds at most.

    Raises LockHeldError where another run lives, StorageError where the lock cannot be put though nobody changes it.
    """
    give_up = time.monotonic() + wait
    watch: Watch | None = None
    told: set[str] = set()
    refused = 0
    while True:
        seen = look_at_lock(storage)
        beaten = watch is not None and seen.content != watch.seen.content
        if watch is None or beaten:
            watch = _watch(storage, seen, owner, changed=beaten)
        if seen.free or watch.stale:
            if fence := take_lock(storage, seen, owner):
                if not seen.free:
                    listener(Notice(text=f"Took the output over from {seen.label}: {_silence(watch)}."))
                return fence
            # Another run was faster, and has changed the lock then.
            refused = refused + 1 if look_at_lock(storage).content == seen.content else 0
            if refused == MOST_REFUSED:
                raise StorageError(
                    f"Cannot write {LOCK} to {storage.uri}: the bucket says that it was changed meanwhile, and it was "
                    "not. Its server does not keep to the conditions of puts as it says: choose another output."
                )
            time.sleep(REFUSED_SECONDS * refused)
            continue
        if beaten or watch.fresh:
            _await_end(storage, seen, give_up, told, listener)
        elif not told:
            told.add("silence")
            listener(Notice(text=f"Waits for the lock of {seen.label}: {_silence(watch)}."))
        time.sleep(min(1.0, watch.lasts / POLLS))


def run_alive(owner: Owner) -> bool | None:
    """True if the owner's run is in progress on this host, False if it has ended, None if it is on another host."""
    alive = owner_alive(owner)
    return owner.run in OWN_RUNS if alive and owner.pid == os.getpid() else alive


def _watch(storage: Storage, seen: SeenLock, owner: Owner, *, changed: bool) -> Watch:
    """The beginning of a watch; the age of a lock that ``changed`` before our eyes is 0.

    A lock that cannot be parsed lasts as long as that of ``owner``, who wants it.
    """
    since = time.monotonic()
    # A lock from the future tells of a clock that was set back: only what is seen from now on counts.
    age = 0.0 if seen.free or changed else max(0.0, lock_age(storage, seen))
    if seen.owner is None:
        return Watch(seen=seen, since=since, age=age, alive=None, lasts=owner.lasts)
    return Watch(seen=seen, since=since, age=age, alive=run_alive(seen.owner), lasts=seen.lasts)


def _await_end(storage: Storage, seen: SeenLock, give_up: float, told: set[str], listener: Listener) -> None:
    """Tell that a living run is awaited. Raises LockHeldError if the time for that is up."""
    left = give_up - time.monotonic()
    if left <= 0:
        raise LockHeldError(
            f"Another run ({seen.label}) is writing {storage.uri}: run the same command again when it has ended, or "
            f"with --wait, or watch it with `tilewright status {storage.uri}`."
        )
    if "life" not in told:
        told.add("life")
        patience = "" if math.isinf(left) else f", {left:.0f} s at most"
        listener(Notice(text=f"Another run ({seen.label}) is writing this output: waits for its end{patience}."))


def _silence(watch: Watch) -> str:
    if watch.alive is False:
        return "its process has ended"
    return f"no sign of life for {watch.silent:.0f} s"
