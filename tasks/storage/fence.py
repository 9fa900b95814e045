"""The fence of a run: each of its writes is refused once its output belongs to another run.

On a folder the check and the write are one step (`guard.py`). On a bucket they are two requests, and between them a
process may be stopped for any time; for shards one look holds for a second. A plain put of a shard, an upload or a
removal that it then sends does land: the run that took over verifies what it lists before it writes its Item. Small
documents (ledger entries, records) are put on the condition that nobody changed them since before the check, so that
nothing that a later owner has written is replaced by an earlier one. A bucket that ignores such conditions has the
check alone, and a heartbeat that was stopped after it may put an old lock over that of the owner of now: there the
number of the last acquisition, which no heartbeat writes, is looked at too. The Item, whose presence says that a
product is complete, is put as a draft before the check and copied into place by the bucket after it: a later owner
removes the draft before it looks at the product, and a late copy finds nothing to copy.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import obstore

from tilewright.tasks.storage.errors import FencedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


STATE_FOLDER = ".tilewright"
"""The prefix of a product's plan, ledger and other state."""

LOCK = f"{STATE_FOLDER}/lock.json"
"""The object that names the owner of a product. It stays when a run ends, with the state `released`."""

GENERATION = f"{STATE_FOLDER}/generation.json"
"""The number of the last acquisition once more, for a lock that was damaged, removed or put back from outside."""

ITEM = "item.json"
"""The object whose presence says that a product is complete."""

DRAFTS = f"{STATE_FOLDER}/drafts"
"""The prefix, in a bucket, of Items on their way; each acquisition removes those of the runs before it."""

HELD, RELEASED = "held", "released"


KEPT = (
    "Nothing more was written to it, and what is finished is kept: run the same command again to see where it stands."
)

CHECK_SECONDS = 1.0
"""Seconds for which a look at a bucket's lock holds for further shards: a request before each would be a third more."""

LONGEST_NUMBER = 16
"""Digits from which a noted number is taken for garbage."""

CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""The clock of those seconds: it goes on while the process is stopped and, where there is such a clock, the machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """The ownership under which a run writes: its id, and the number of its acquisition of the output's lock.

    Each acquisition has a greater ``generation`` than those before it. ``conditional`` is False for a bucket that
    ignores the conditions of puts. Pickled to workers on other machines.
    """

    run: str
    generation: int
    conditional: bool = True

    def check(self, content: bytes | None, uri: str) -> None:
        """Check the content of the lock of ``uri``, None where there is none. Raises FencedError unless it is ours."""
        if not self.owns(content):
            raise FencedError(f"{uri} {_what_happened(content, self)}. {KEPT}")

    def check_last(self, noted: bytes | None, uri: str) -> None:
        """Check the number of the last acquisition of ``uri``. Raises FencedError where it is a later one's."""
        if acquisition(noted) > self.generation:
            raise FencedError(
                f"{uri} was taken over by another run, and its lock since put back by this one, which was stopped for "
                f"longer than {LOCK} lasts. {KEPT}"
            )

    def owns(self, content: bytes | None) -> bool:
        """True if the content of a lock says that this run holds it."""
        lock = lock_fields(content)
        mine = (lock.get("run"), lock.get("generation")) == (self.run, self.generation)
        return mine and lock.get("state") == HELD


class RecentCheck:
    """A look at a bucket's lock that holds for a moment; ``check`` raises FencedError."""

    def __init__(self, check: Callable[[], None]) -> None:
        self.check = check
        self.checked_at = float("-inf")

    def __call__(self) -> None:
        """Look at the lock, unless that was done within the last second."""
        began = time.clock_gettime(CLOCK)
        if began - self.checked_at >= CHECK_SECONDS:
            self.check()
            self.checked_at = began


def lock_fields(content: bytes | None) -> dict[str, Any]:
    """The fields of a lock; empty for no lock, and for one that is no JSON object."""
    try:
        fields = json.loads(content or b"")
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def acquisition(noted: bytes | None) -> int:
    """The number of the last acquisition as it was noted; 0 for none, and for anything but a number."""
    text = noted or b""
    return int(text) if text.isdigit() and len(text) < LONGEST_NUMBER else 0


def _what_happened(content: bytes | None, fence: Fence) -> str:
    lock = lock_fields(content)
    if not lock:
        return "lost its lock: it was removed or damaged from outside while this run was writing"
    if lock.get("run") == fence.run:
        return "was released by this run, which has ended"
    return f"was taken over by another run ({lock.get('run')} on {lock.get('host')}): leave it to that run"


def check_folder(fence: Fence, folder: Path) -> None:
    """Check a folder's lock; the caller holds the guard. Raises FencedError."""
    try:
        with open(f"{folder}/{LOCK}", "rb", buffering=0) as file:  # noqa: PTH123 -- for each write, and a Path is slow
            content = file.read()
    except FileNotFoundError:
        content = None
    fence.check(content, str(folder))


def check_bucket(fence: Fence, root: Any, uri: str) -> None:
    """Check a bucket's lock, with one request where it keeps to conditions, else with two.

    Raises FencedError, and what the object store raises.
    """
    fence.check(_content(root, LOCK), uri)
    if not fence.conditional:
        fence.check_last(_content(root, GENERATION), uri)


def _content(root: Any, key: str) -> bytes | None:
    try:
        return bytes(obstore.get(root, key).bytes())
    except FileNotFoundError:
        return None
