"""Counters of reads: the pixels that were decoded, those that were needed, and their bytes in the files."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tilewright.tasks.read.resample.source_window import FileWindow


class FileBlock(NamedTuple):
    """One compressed block of an open file; by handle, because GDAL caches decoded blocks per handle."""

    handle: int
    row: int
    col: int


FileBand = tuple[str, int | None, int]
"""(href, overview, band) of the blocks that are counted."""


class DecodedBlocks:
    """The blocks in GDAL's cache of decoded blocks, where the least recently used is dropped first.

    It simulates the cache, because GDAL does not report its content. Thread-safe.
    """

    def __init__(self, *, capacity_bytes: int) -> None:
        self._capacity = capacity_bytes
        self._cached: OrderedDict[FileBlock, int] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def touch(self, blocks: Iterable[FileBlock], *, size: int) -> list[FileBlock]:
        """Record that blocks of `size` bytes each were read; returns those that had to be decoded."""
        decoded = []
        with self._lock:
            for block in blocks:
                if block in self._cached:
                    self._cached.move_to_end(block)
                    continue
                decoded.append(block)
                self._cached[block] = size
                self._bytes += size
                self._shrink()
        return decoded

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


class _SeenBlocks:
    """The blocks of a file's band, of ``area`` pixels each, that were needed: a bit per column in a number per row.

    A country and a year have tens of millions of them.
    """

    __slots__ = ("area", "rows")

    def __init__(self, area: int) -> None:
        self.area = area
        self.rows: dict[int, int] = {}

    def add(self, rows: Mapping[int, int]) -> int:
        """Add blocks; returns the number of those that are new."""
        n_new = 0
        for row, cols in rows.items():
            known = self.rows.get(row, 0)
            n_new += (cols & ~known).bit_count()
            self.rows[row] = known | cols
        return n_new


class ReadStats:
    """Counters of a job's reads. Thread-safe; a copy in another process is independent.

    `decoded_pixels` counts pixels of file blocks each time they are decoded, `needed_pixels` each block once,
    `decoded_bytes` the former times the size of a pixel, `stored_bytes` the bytes of these blocks in their files,
    compressed: what a network transfers. `reads` are the windows read.
    """

    def __init__(self) -> None:
        self.decoded_pixels = 0
        self.needed_pixels = 0
        self.decoded_bytes = 0
        self.stored_bytes = 0
        self.reads = 0
        self._seen: dict[FileBand, _SeenBlocks] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def add(
        self,
        *,
        file: FileBand,
        window: FileWindow,
        block: tuple[int, int],
        itemsize: int,
        n_decoded: int,
        stored_bytes: int = 0,
    ) -> None:
        """Count a window of a file (href, overview, band) with blocks (height, width).

        `n_decoded` of them are decoded, which take `stored_bytes` in the file.
        """
        area = block[0] * block[1]
        rows: dict[int, int] = {}
        for row, col in window.blocks(block):
            rows[row] = rows.get(row, 0) | 1 << col
        with self._lock:
            self.needed_pixels += self._seen.setdefault(file, _SeenBlocks(area)).add(rows) * area
            self.decoded_pixels += n_decoded * area
            self.decoded_bytes += n_decoded * area * itemsize
            self.stored_bytes += stored_bytes
            self.reads += 1

    def absorb(self, other: ReadStats) -> None:
        """Add the counts of another one; a block that both needed counts once."""
        with self._lock:
            for file, seen in other._seen.items():
                known = self._seen.setdefault(file, _SeenBlocks(seen.area))
                self.needed_pixels += known.add(seen.rows) * seen.area
            self.decoded_pixels += other.decoded_pixels
            self.decoded_bytes += other.decoded_bytes
            self.stored_bytes += other.stored_bytes
            self.reads += other.reads

    @property
    def read_factor(self) -> float:
        """Pixels decoded per pixel of the distinct file blocks needed: 1 if no block was decoded twice."""
        return self.decoded_pixels / self.needed_pixels if self.needed_pixels else 1.0


def stored_bytes(dataset: Any, index: int, blocks: Iterable[tuple[int, int]]) -> int:
    """Bytes of blocks (row, col) of a band in the file of an open rasterio dataset.

    From a GeoTIFF's table of tiles; a block that is not stored has none. Other formats do not tell: a local file's
    bytes are shared out evenly among its blocks, and elsewhere the bytes are those of the decoded pixels.
    """
    places = list(blocks)
    if dataset.driver == "GTiff":
        # Source: GDAL, GTiff driver, metadata items BLOCK_SIZE_x_y of the domain TIFF.
        return sum(int(dataset.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=index) or 0) for row, col in places)
    height, width = dataset.block_shapes[index - 1]
    if (size := _file_size(dataset.name)) is not None:
        n_blocks = -(-dataset.height // height) * -(-dataset.width // width) * dataset.count
        return round(size / n_blocks * len(places))
    return int(len(places) * height * width * np.dtype(dataset.dtypes[index - 1]).itemsize)


def _file_size(name: str) -> int | None:
    try:
        return Path(name).stat().st_size if Path(name).is_file() else None
    except (OSError, ValueError):
        return None
