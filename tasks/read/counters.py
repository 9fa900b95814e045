"""What reading costs: how many pixels were decoded, and how many had to be."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tilewright.tasks.read.source_window import FileWindow


class FileBlock(NamedTuple):
    """One compressed block of a file as one handle sees it: GDAL's cache keeps decoded blocks per handle."""

    handle: int
    row: int
    col: int


class DecodedBlocks:
    """Which blocks lie decoded in GDAL's cache: the least recently used leave first, as GDAL does it.

    A model of the cache, since GDAL does not tell what is in it. Thread-safe.
    """

    def __init__(self, *, capacity_bytes: int) -> None:
        self._capacity = capacity_bytes
        self._held: OrderedDict[FileBlock, int] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def touch(self, blocks: Iterable[FileBlock], *, size: int) -> int:
        """The blocks, of `size` bytes each, were read: how many of them had to be decoded."""
        missed = 0
        with self._lock:
            for block in blocks:
                if block in self._held:
                    self._held.move_to_end(block)
                    continue
                missed += 1
                self._held[block] = size
                self._bytes += size
                self._shrink()
        return missed

    def _shrink(self) -> None:
        while self._bytes > self._capacity and self._held:
            self._bytes -= self._held.popitem(last=False)[1]

    def resize(self, capacity_bytes: int) -> None:
        """The cache has another size from now on."""
        with self._lock:
            self._capacity = capacity_bytes
            self._shrink()

    def forget(self) -> None:
        """Nothing is held any more: the handles were closed."""
        with self._lock:
            self._held.clear()
            self._bytes = 0


class ReadStats:
    """Counters of a job's reads. Thread-safe; a copy in another process counts for itself.

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
        missed: int,
    ) -> None:
        """One window was read of a file (href, overview, band) with blocks (height, width); `missed` were decoded."""
        area = block[0] * block[1]
        with self._lock:
            before = len(self._seen)
            self._seen.update(((*file, row, col), area) for row, col in window.blocks(block))
            self.needed_pixels += (len(self._seen) - before) * area
            self.decoded_pixels += missed * area
            self.decoded_bytes += missed * area * itemsize
            self.reads += 1

    def absorb(self, other: ReadStats) -> None:
        """Add what another one counted; blocks both needed count once."""
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
