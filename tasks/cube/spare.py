"""Large arrays that are used again: the system clears the pages of a fresh one, which costs as much as filling it."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from math import prod
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator


class SpareArrays:
    """Memory that is lent as arrays and kept for the next borrower, up to ``most_bytes`` of it. Thread-safe."""

    def __init__(self, *, most_bytes: float) -> None:
        self._most = most_bytes
        self._idle: list[np.ndarray] = []
        self._lock = threading.Lock()

    @contextmanager
    def lent(self, shape: tuple[int, ...], dtype: type[np.generic]) -> Iterator[np.ndarray]:
        """An array with any content, which is the borrower's until the body ends."""
        n_bytes = prod(shape) * np.dtype(dtype).itemsize
        memory = self._take(n_bytes)
        yield memory[:n_bytes].view(dtype).reshape(shape)
        # After a failure it is let go: whoever looks at the error may still hold parts of it.
        with self._lock:
            if memory.nbytes + sum(each.nbytes for each in self._idle) <= self._most:
                self._idle.append(memory)

    def _take(self, n_bytes: int) -> np.ndarray:
        """The smallest idle memory that is large enough, else fresh one in place of one that is too small."""
        with self._lock:
            self._idle.sort(key=lambda memory: memory.nbytes)
            for place, memory in enumerate(self._idle):
                if memory.nbytes >= n_bytes:
                    return self._idle.pop(place)
            if self._idle:
                self._idle.pop(0)
        return np.empty(n_bytes, dtype=np.uint8)

    def release(self) -> None:
        """Let go of all idle memory."""
        with self._lock:
            self._idle.clear()


SPARE = SpareArrays(most_bytes=256e6)
"""The memory of the observations of this process's blocks."""
