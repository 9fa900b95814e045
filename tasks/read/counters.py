"""Counters of reads: the pixels that were decoded, and those that were needed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tilewright.tasks.read.source_window import FileWindow


class FileBlock(NamedTuple):
    """One compressed block of an open file; by handle, because GDAL caches decoded blocks per handle."""

    handle: int
    row: int
    col: int


class DecodedBlocks:
    """The blocks in GDAL's cache of decoded blocks, where the least recently used is dropped first.

    It simulates the cache, because GDAL does not report its content. Thread-safe.
    """

    def __init__(self, *, capacity_bytes: int) -> None:
        self._capacity = capacity_bytes
        self._cached: OrderedDict[FileBlock, int] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def touch(self, blocks: Iterable[FileBlock], *, size: int) -> int:
        """Record that blocks of `size` bytes each were read; returns how many had to be decoded."""
        n_decoded = 0
        with self._lock:
            for block in blocks:
                if block in self._cached:
                    self._cached.move_to_end(block)
                    continue
                n_decoded += 1
                self._cached[block] = size
                self._bytes += size
                self._shrink()
        return n_decoded

    def _shrink(self) -> None:
        while self._bytes > self._capacity and self._cached:
            self._bytes -= self._cached.popitem(last=False)[1]

    def resize(self, capacity_bytes: int) -> None:
        """Set the size of the cache."""
        with self._lock:
            self._capacity = capacity_bytes
            self._shrink()

    def forget(self) -> None:
        """Remove all blocks, because their handles were closed."""
        with self._lock:
            self._cached.clear()
            self._bytes = 0


class ReadStats:
    """Counters of a job's reads. Thread-safe; a copy in another process is independent.

    `decoded_pixels` counts pixels of file blocks each time they are decoded, `needed_pixels` each block once,
    `decoded_bytes` the former times the size of a pixel, `reads` the windows read.
    """

    def __init__(self) -> None:
        self.decoded_pixels = 0
        self.needed_pixels = 0
        self.decoded_bytes = 0
        self.reads = 0
        self._seen: dict[tuple[str, int | None, int, int, int], int] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def add(
        self,
        *,
        file: tuple[str, int | None, int],
        window: FileWindow,
        block: tuple[int, int],
        itemsize: int,
        n_decoded: int,
    ) -> None:
        """Count a window of a file (href, overview, band) with blocks (height, width), `n_decoded` of them decoded."""
        area = block[0] * block[1]
        with self._lock:
            before = len(self._seen)
            self._seen.update(((*file, row, col), area) for row, col in window.blocks(block))
            self.needed_pixels += (len(self._seen) - before) * area
            self.decoded_pixels += n_decoded * area
            self.decoded_bytes += n_decoded * area * itemsize
            self.reads += 1

    def absorb(self, other: ReadStats) -> None:
        """Add the counts of another one; a block that both needed counts once."""
        with self._lock:
            fresh = {block: area for block, area in other._seen.items() if block not in self._seen}
            self._seen.update(fresh)
            self.needed_pixels += sum(fresh.values())
            self.decoded_pixels += other.decoded_pixels
            self.decoded_bytes += other.decoded_bytes
            self.reads += other.reads

    @property
    def read_factor(self) -> float:
        """Pixels decoded per pixel of the distinct file blocks needed: 1 if no block was decoded twice."""
        return self.decoded_pixels / self.needed_pixels if self.needed_pixels else 1.0
