"""The blocks of maps that were made once: in memory those used last, on disk all of them, by the key of their content.

A block's key is a digest of all that makes its pixels, so that a kept block is never stale: another job, another date
and another process find it, and what is removed is made again.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numcodecs.zstd import Zstd

from tilewright.models.cache import find_cached, write_cached

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

MEMORY_BYTES = 128e6
"""Bytes of the blocks that one process keeps in memory."""

ZSTD_LEVEL = 1


@dataclass(slots=True)
class KeptBlocks:
    """Blocks of classes, (height, width) uint8, in ``folder`` and in memory. Threads do not make one twice."""

    folder: Path
    _recent: OrderedDict[str, NDArray[np.uint8]] = field(default_factory=OrderedDict, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _making: dict[str, threading.Lock] = field(default_factory=dict, init=False, repr=False)

    def block(
        self, key: str, *, shape: tuple[int, int], make: Callable[[], NDArray[np.uint8]]
    ) -> tuple[NDArray[np.uint8], bool]:
        """The block of a key, and whether it was made now. What ``make`` raises is raised, and nothing is kept."""
        with self._lock:
            if key in self._recent:
                self._recent.move_to_end(key)
                return self._recent[key], False
            turn = self._making.setdefault(key, threading.Lock())
        with turn:
            with self._lock:
                if key in self._recent:
                    return self._recent[key], False
            kept = self._read(key, shape)
            made = make() if kept is None else kept
            if kept is None:
                self._write(key, made)
            self._remember(key, made)
        return made, kept is None

    def _remember(self, key: str, made: NDArray[np.uint8]) -> None:
        made.flags.writeable = False
        with self._lock:
            self._recent[key] = made
            self._making.pop(key, None)
            while len(self._recent) > 1 and sum(block.nbytes for block in self._recent.values()) > MEMORY_BYTES:
                self._recent.popitem(last=False)

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.zst"

    def _read(self, key: str, shape: tuple[int, int]) -> NDArray[np.uint8] | None:
        """The block on disk; None for one that is not there, damaged or of another key."""
        found = find_cached(self._path(key))
        try:
            content = b"" if found is None else found.read_bytes()
            size = shape[0] * shape[1]
            # A stranger's file may claim any size: it is not unpacked beyond the block's own.
            pixels = np.empty(size, np.uint8)
            Zstd().decode(content[32:], out=pixels)
        except (OSError, ValueError, RuntimeError):
            return None
        return pixels.reshape(shape) if _digest(key, pixels.tobytes()) == content[:32] else None

    def _write(self, key: str, block: NDArray[np.uint8]) -> None:
        raw = block.tobytes()
        try:
            write_cached(self._path(key), _digest(key, raw) + Zstd(level=ZSTD_LEVEL).encode(raw))
        except OSError:
            # Without room it is made again next time.
            return


def _digest(key: str, raw: bytes) -> bytes:
    return hashlib.sha256(key.encode() + raw).digest()
