"""How fast the model ran: the fastest of a run's own windows, so that nothing has to be run once more to know it."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ENOUGH = 4
"""Windows of which the fastest may stand for an undisturbed one."""


class Pace:
    """Seconds of the fastest window so far; safe to use from many threads. ``begun`` is set with the first call."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self._lock = threading.Lock()
        self._fastest = float("inf")
        self._seen = 0

    @property
    def seconds(self) -> float | None:
        """Seconds per window of the fastest call; None before enough windows have run."""
        return self._fastest if self._seen >= ENOUGH else None

    @contextmanager
    def timing(self, windows: int, *, by_cpu: bool) -> Iterator[None]:
        """Time a call for so many windows: ``by_cpu`` by what its thread computed, whoever else disturbs the machine;
        else, where another device or more threads compute, by the clock.
        """
        clock = time.thread_time if by_cpu else time.perf_counter
        self.begun.set()
        began = clock()
        yield
        took = (clock() - began) / windows
        with self._lock:
            self._fastest = min(self._fastest, took)
            self._seen += windows
