"""The lock of an output: who owns it, since which acquisition, and how a later run takes it from one that has ended.

Every change of the lock is a compare-and-swap, on a folder under its guard and on a bucket by a conditional put. The
lock stays when its run ends, as released, so that each acquisition gets a greater number than all before it. A run
writes under that number and its own id (``fence.py``), so that whatever it wakes up to do later is refused.
"""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import obstore
from obstore.exceptions import AlreadyExistsError, PreconditionError

from tilewright.tasks.storage.bucket import unchanged
from tilewright.tasks.storage.errors import FencedError, StorageError, is_unsupported
from tilewright.tasks.storage.fence import (
    DRAFTS,
    GENERATION,
    HELD,
    LOCK,
    RELEASED,
    Fence,
    acquisition,
    lock_fields,
)
from tilewright.tasks.storage.guard import now_of, swap_file
from tilewright.tasks.storage.storage import STATE_FOLDER, json_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tilewright.tasks.storage.storage import Storage


__all__ = [
    "GENERATION", "LOCK", "LOCK_SECONDS", "LONGEST_LOCK", "OWNERSHIP", "SHORTEST_LOCK", "Owner", "SeenLock",
    "current_fence", "is_stale", "lock_age", "look_at_lock", "parse_owner", "read_lock", "release_lock", "renew_lock",
    "take_lock",
]  # fmt: skip

OWNERSHIP = frozenset({LOCK, GENERATION})
"""The objects that outlive every product in an output: whoever removes a product leaves them."""

LOCK_SECONDS = 120.0
"""Seconds without a heartbeat after which a lock counts as stale."""

SHORTEST_LOCK, LONGEST_LOCK = 3.0, 3600.0
"""The bounds of that time: a bucket stamps objects to the second, and nobody should wait longer for a dead machine."""

SETTLE_SECONDS = 2.0
"""Seconds after which a lock is read again that was put in a bucket without conditions: another run may have put its
own over it meanwhile."""

NO_SUCH_TAG = {"e_tag": '"00000000000000000000000000000000"'}


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The run that holds a lock, and the process by which to check that it is alive.

    ``pid``, ``born`` (start of the process, seconds since the epoch) and ``place`` (its kernel and process namespace)
    identify the process on ``host``. ``beat`` is the last heartbeat by the owner's own clock, for people; ``beats``
    counts them, so that each changes the lock. ``lasts`` are the seconds of silence after which the lock is stale.
    """

    run: str
    host: str
    pid: int
    beat: float
    born: float = 0.0
    place: str = ""
    generation: int = 0
    beats: int = 0
    lasts: float = LOCK_SECONDS
    state: str = HELD

    @property
    def label(self) -> str:
        """The owner in words."""
        return f"process {self.pid} on {self.host}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenLock:
    """A lock as it was read: its bytes, None where there is none; its owner, None if it cannot be parsed.

    ``modified`` is the storage's own stamp in seconds since the epoch, ``version`` the object's metadata in a bucket.
    """

    content: bytes | None = None
    owner: Owner | None = None
    modified: float = 0.0
    version: Mapping[str, Any] | None = None

    @property
    def free(self) -> bool:
        """True where no run holds the lock."""
        return self.content is None or (self.owner is not None and self.owner.state == RELEASED)

    @property
    def label(self) -> str:
        """The holder in words."""
        return self.owner.label if self.owner is not None else "one whose lock cannot be read"

    @property
    def lasts(self) -> float:
        """Seconds of silence after which the lock is stale."""
        lasts = self.owner.lasts if self.owner is not None else LOCK_SECONDS
        return min(max(lasts, SHORTEST_LOCK), LONGEST_LOCK)


def look_at_lock(storage: Storage) -> SeenLock:
    """The lock as it is now."""
    try:
        if (folder := storage.folder) is not None:
            content, modified = storage.call_with_retries(f"read {LOCK} in", lambda: _read_file(folder))
            return SeenLock(content=content, owner=parse_owner(content), modified=modified)
        content, meta = storage.call_with_retries(f"read {LOCK} in", lambda: _get(storage))
    except FileNotFoundError:
        return SeenLock()
    return SeenLock(
        content=content, owner=parse_owner(content), modified=meta["last_modified"].timestamp(), version=meta
    )


def parse_owner(content: bytes | None) -> Owner | None:
    """The owner of a lock's content; None for anything but a lock. What other versions add to it is left out."""
    plain = lock_fields(content)
    known = {entry.name: plain[entry.name] for entry in fields(Owner) if entry.name in plain}
    try:
        owner = Owner(**known)
        numbers = (owner.pid, owner.beat, owner.born, owner.generation, owner.beats, owner.lasts)
    except TypeError:
        return None
    whole = all(isinstance(number, int | float) and abs(number) < 2**53 for number in numbers)
    texts = all(isinstance(text, str) for text in (owner.run, owner.host, owner.place, owner.state))
    return owner if whole and texts and isinstance(owner.generation, int) else None


def read_lock(storage: Storage) -> Owner | None:
    """The run that holds the lock; None if none does, or the lock cannot be parsed."""
    seen = look_at_lock(storage)
    return None if seen.free else seen.owner


def take_lock(storage: Storage, seen: SeenLock, owner: Owner) -> Fence | None:
    """The fence of ``owner`` if it got the lock as it was ``seen``; None, and nothing written, if that has changed."""
    mine = replace(owner, generation=_next_generation(storage, seen), state=HELD)
    fence = Fence(run=mine.run, generation=mine.generation)
    content = json_bytes(asdict(mine))
    if storage.folder is not None:
        folder = storage.folder
        swap = lambda: swap_file(folder, LOCK, content, expected=seen.content)  # noqa: E731
        if not storage.call_with_retries(f"write {LOCK} to", swap):
            return None
    else:
        conditional = _put_lock(storage, seen, content)
        fence = replace(fence, conditional=conditional)
        if not fence.owns(look_at_lock(storage).content):
            return None
        storage.delete(list(storage.keys(DRAFTS)))
    replace(storage, fence=fence).write_json(GENERATION, fence.generation)
    return fence


def renew_lock(storage: Storage, fence: Fence, owner: Owner) -> bool:
    """True if the lock's heartbeat was renewed; False, and nothing written, if it is not that of ``fence`` any more."""
    try:
        replace(storage, fence=fence).write_json(LOCK, asdict(replace(owner, generation=fence.generation)))
    except FencedError:
        return False
    return True


def release_lock(storage: Storage, fence: Fence, owner: Owner) -> bool:
    """True if the lock was released; False if it is not that of ``fence`` any more."""
    return renew_lock(storage, fence, replace(owner, state=RELEASED))


def lock_age(storage: Storage, seen: SeenLock) -> float:
    """Seconds since the lock was written, both by the clock that stamps the storage's objects; may be below 0.

    No clock of the two machines is asked: theirs may be minutes apart.
    """
    if storage.folder is not None:
        folder = storage.folder
        return storage.call_with_retries("write a file to", lambda: now_of(folder)) - seen.modified
    key = f"{STATE_FOLDER}/probe-{uuid4().hex}"
    storage.write(key, b"now")
    found = storage.call_with_retries(f"look at {key} in", lambda: obstore.head(storage.root, key))
    storage.delete([key])
    return found["last_modified"].timestamp() - seen.modified


def current_fence(storage: Storage) -> Fence:
    """The fence of the run that holds the lock now. Raises FencedError where none does."""
    holder = read_lock(storage)
    if holder is None:
        raise FencedError(f"No run owns {storage.uri} now: start the run again that this one belongs to.")
    return Fence(run=holder.run, generation=holder.generation)


def is_stale(holder: Owner, *, now: float, alive: bool | None) -> bool:
    """True if the holder's process has ended (``alive`` False), or its last heartbeat is too old (``alive`` None).

    For a look from outside alone: it compares the clocks of two machines.
    """
    return not alive if alive is not None else now - holder.beat >= holder.lasts


def _next_generation(storage: Storage, seen: SeenLock) -> int:
    """A number greater than that of every acquisition before."""
    last = acquisition(storage.read(GENERATION))
    if seen.owner is not None:
        return max(seen.owner.generation, last) + 1
    # The lock itself is gone or garbage, and its run may have ended before it noted its number.
    return last + 2 if last or seen.content is not None else 1


def _put_lock(storage: Storage, seen: SeenLock, content: bytes) -> bool:
    """Put the lock in a bucket if it is as it was seen; True if the bucket keeps to conditions.

    A bucket that does not has the lock of the last writer: it is looked at again after a moment.
    """
    mode = unchanged(seen.version)
    try:
        storage.call_with_retries(f"write {LOCK} to", lambda: obstore.put(storage.root, LOCK, content, mode=mode))
    except (AlreadyExistsError, PreconditionError):
        # Perhaps by a put of our own whose answer was lost: the caller looks.
        return True
    except FileNotFoundError as error:
        raise StorageError(f"Cannot write {LOCK} to {storage.uri}: there is no such bucket.") from error
    except StorageError as error:
        if not is_unsupported(error.__cause__):
            raise
        # The client tried for seconds, in which others may have been faster.
        if look_at_lock(storage).content == seen.content:
            storage.write(LOCK, content)
            time.sleep(SETTLE_SECONDS)
        return False
    if not storage.uri.startswith("s3://") or _keeps_conditions(storage, content):
        return True
    time.sleep(SETTLE_SECONDS)
    return False


def _keeps_conditions(storage: Storage, content: bytes) -> bool:
    """True if puts of the lock's own content fail that ask for its absence, and for another version of it.

    Google's and Microsoft's services keep to conditions; of S3's many servers some ignore them without a word.
    """
    for mode in ("create", NO_SUCH_TAG):
        put = lambda mode=mode: obstore.put(storage.root, LOCK, content, mode=mode)  # noqa: E731
        try:
            storage.call_with_retries(f"write {LOCK} to", put)
        except (AlreadyExistsError, PreconditionError):
            continue
        return False
    return True


def _read_file(folder: Path) -> tuple[bytes, float]:
    with (folder / LOCK).open("rb") as file:
        return file.read(), os.fstat(file.fileno()).st_mtime


def _get(storage: Storage) -> tuple[bytes, Any]:
    found = obstore.get(storage.root, LOCK)
    return bytes(found.bytes()), found.meta
