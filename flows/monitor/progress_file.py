"""progress.json in the product: the progress of a run, for programs that poll a file or an object."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tilewright.flows.ending import interruption_words
from tilewright.flows.errors import classify, sentence
from tilewright.tasks.progress import Advance, Notice, Stage
from tilewright.tasks.storage.errors import FencedError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tilewright.tasks.progress import Event
    from tilewright.tasks.storage.storage import Storage


PROGRESS = "progress.json"

EVERY_SECONDS = 5.0
"""Seconds between two writes, because each is a request if the product is in a bucket."""

MAX_NOTICES = 20
"""Notices kept in the file: the latest ones."""


class ProgressFile:
    """A listener that keeps progress.json: name, state, stage, done, total, km2, km2_per_s, notices, updated (UTC).

    ``state`` is ``running``, ``complete``, ``failed`` or, where a signal ended the run, ``interrupted``. ``done`` and
    ``total`` count blocks in every stage; ``done`` includes those that stand from before. ``km2``, its speed and
    ``bytes_read`` are those of this run. Of a job over places, ``places`` and ``places_per_s`` stand in place of
    ``km2`` and its speed; the latter only where this run made some.
    """

    def __init__(self, storage: Storage, name: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.storage = storage
        self.clock = clock
        self.written = float("-inf")
        self.began = clock()
        self.plain: dict[str, Any] = {
            "name": name, "state": "running", "stage": "prepare", "done": 0, "total": 0, "km2": 0.0, "km2_per_s": 0.0,
            "bytes_read": 0, "notices": [],
        }  # fmt: skip

    def __call__(self, event: Event) -> None:
        """Add one event; writes at each new stage, and in between at most every few seconds."""
        plain = self.plain
        match event:
            case Stage():
                # A short stage of blocks ends before its speed was written once.
                self._rate()
                plain["stage"] = event.name
                if event.rows and "places" not in plain:
                    del plain["km2"], plain["km2_per_s"]
                    plain["places"] = 0
                if event.name == "blocks":
                    self.began = self.began if plain["total"] else self.clock()
                    # They are counted anew where somebody changed some meanwhile, which are made again.
                    plain.update(done=0, total=event.total)
            case Advance():
                if plain["stage"] != "blocks":
                    return
                plain["done"] += event.done
                if "places" in plain:
                    plain["places"] += event.rows
                else:
                    plain["km2"] += event.km2
                plain["bytes_read"] += event.bytes_read
            case Notice():
                plain["notices"] = [*plain["notices"], event.text][-MAX_NOTICES:]
        if isinstance(event, Stage) or self.clock() - self.written >= EVERY_SECONDS:
            self._write()

    def close(self, error: BaseException | None) -> None:
        """Write the final state: complete; interrupted, with the reason; failed, with the error's class and message."""
        if error is None:
            self.plain["state"] = "complete"
        elif isinstance(error, KeyboardInterrupt):
            self.plain.update(state="interrupted", reason=interruption_words(error))
        else:
            self.plain["state"] = "failed"
            self.plain["failure"] = {"class": classify(error).value, "reason": sentence(error)}
        self._write()

    def _rate(self) -> None:
        """Tell the speed of the stage of blocks, while it is the present one."""
        seconds = max(self.clock() - self.began, 1e-9)
        amount, name = ("places", "places_per_s") if "places" in self.plain else ("km2", "km2_per_s")
        if self.plain["stage"] == "blocks" and (amount == "km2" or self.plain[amount]):
            self.plain[name] = round(self.plain[amount] / seconds, 3)

    def _write(self) -> None:
        self._rate()
        self.plain.update(updated=datetime.now(UTC).isoformat(timespec="seconds"))
        self.written = self.clock()
        # A progress file that cannot be written is no reason to end the run: broken storage fails its other writes, and
        # where the output is another run's by now, so is the file.
        with suppress(StorageError, FencedError):
            self.storage.write_json(PROGRESS, self.plain)
