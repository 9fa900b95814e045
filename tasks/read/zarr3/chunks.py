"""The decoded chunks of Zarr v3 arrays: fetched several at a time, kept as long as this process's cache has room."""

from __future__ import annotations

import itertools
import os
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.tasks.read.zarr3.objects import ByteSpan

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from tilewright.tasks.read.zarr3.array import ArrayFacts
    from tilewright.tasks.read.zarr3.objects import StoreObjects


AT_ONCE = 8
"""Objects of a remote store that are requested at a time."""

NOT_WRITTEN = 2**64 - 1
"""Offset and length of a chunk that a shard does not hold. Source: Zarr v3, sharding_indexed."""

FARTHEST = 2**60
"""Bytes of the largest object, by far."""

INDEX_ROW = 16

SLACK = 2**16
"""Bytes by which a compressed chunk may be larger than its numbers."""


class ChunkCache:
    """Decoded chunks of all open arrays of this process, up to a number of bytes; the least recently used go first."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self.begin_anew()

    def begin_anew(self) -> None:
        """Keep nothing, as at first."""
        self._bytes = 0
        self._kept: OrderedDict[tuple[Any, ...], NDArray[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[Any, ...]) -> NDArray[Any] | None:
        """A chunk that is kept."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def put(self, key: tuple[Any, ...], chunk: NDArray[Any]) -> None:
        """Keep a chunk, unless it is larger than everything that may be kept."""
        with self._lock:
            if chunk.nbytes > self._capacity:
                return
            before = self._kept.pop(key, None)
            self._kept[key] = chunk
            self._bytes += chunk.nbytes - (0 if before is None else before.nbytes)
            self._shrink()

    def resize(self, capacity: int) -> None:
        """Hold the cache to a number of bytes from now on."""
        with self._lock:
            self._capacity = capacity
            self._shrink()

    def _shrink(self) -> None:
        while self._bytes > self._capacity and self._kept:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes


KEPT = ChunkCache(2**28)

_opened = itertools.count()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(AT_ONCE, thread_name_prefix="tilewright-zarr")


def _forget_in_child() -> None:
    """A fork copies neither the threads of the pool nor the one that may hold the lock of what is kept."""
    _pool.cache_clear()
    KEPT.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)


class ArrayChunks:
    """The chunks of one array in ``folder`` of a store."""

    def __init__(self, objects: StoreObjects, folder: str, facts: ArrayFacts) -> None:
        self.objects, self.facts = objects, facts
        self._folder = folder
        # What was kept of an array that was opened before is not taken for this one's.
        self._number = next(_opened)

    def at(self, places: Iterable[tuple[int, ...]]) -> dict[tuple[int, ...], NDArray[Any] | None]:
        """The chunks at places of the grid of chunks; None for one that was not written, which is fill throughout.

        Raises OSError where one cannot be had or is damaged.
        """
        found: dict[tuple[int, ...], NDArray[Any] | None] = {}
        wanted = []
        for place in places:
            kept = KEPT.get((self._number, place))
            if kept is None:
                wanted.append(place)
            else:
                found[place] = kept
        if len(wanted) > 1 and self.objects.remote:
            if self.facts.index is not None:
                # One request for the index of each shard, and not one for each chunk in it.
                list(_pool().map(self._index, {self._shard(place) for place in wanted}))
            return {**found, **dict(zip(wanted, _pool().map(self._chunk, wanted), strict=True))}
        return {**found, **{place: self._chunk(place) for place in wanted}}

    def _chunk(self, place: tuple[int, ...]) -> NDArray[Any] | None:
        facts = self.facts
        content = self._whole(place) if facts.index is None else self._part(place)
        if content is None:
            if not self.objects.remote and self.objects.document(self._folder) is None:
                # On a disk it costs nothing to tell a chunk that was not written from an array that was removed.
                raise OSError(f"the array {self._folder} is there no longer")
            return None
        chunk = facts.codecs.decode(content, facts.chunk, facts.dtype)
        KEPT.put((self._number, place), chunk)
        return chunk

    def _whole(self, place: tuple[int, ...]) -> bytes | None:
        return self.objects.read(self._key(place), most=self.facts.chunk_bytes + SLACK)

    def _part(self, place: tuple[int, ...]) -> bytes | None:
        parts, shard = self.facts.parts, self._shard(place)
        index = self._index(shard)
        if index is None:
            return None
        start, size = (int(n) for n in index[tuple(n % of for n, of in zip(place, parts, strict=True))])
        if (start, size) == (NOT_WRITTEN, NOT_WRITTEN):
            return None
        if not 0 < size <= self.facts.chunk_bytes + SLACK or start > FARTHEST:
            raise OSError(
                f"the index of {self._key(shard)} says {size:,} bytes of a chunk from {start:,} on, which is damaged"
            )
        content = self.objects.read(self._key(shard), most=size, span=ByteSpan(start=start, size=size))
        if content is None or len(content) != size:
            raise OSError(f"{self._key(shard)} ends before a chunk that its index names: it is damaged")
        return content

    def _shard(self, place: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(n // of for n, of in zip(place, self.facts.parts, strict=True))

    def _index(self, shard: tuple[int, ...]) -> NDArray[np.uint64] | None:
        """(offset, length) of each chunk of a shard; None for a shard that was not written."""
        kept = KEPT.get((self._number, "index", shard))
        if kept is not None:
            return kept if kept.size else None
        facts = self.facts
        assert facts.index is not None, "an array without shards has no index"
        shape = (*facts.parts, 2)
        size = int(np.prod(shape)) * INDEX_ROW // 2 + 4 * len(facts.index.steps)
        span = ByteSpan(start=0 if facts.index_first else None, size=size)
        content = self.objects.read(self._key(shard), most=size, span=span)
        index = None if content is None else facts.index.decode(content, shape, np.dtype(np.uint64))
        KEPT.put((self._number, "index", shard), np.empty(0, np.uint64) if index is None else index)
        return index

    def _key(self, place: tuple[int, ...]) -> str:
        return f"{self._folder}/{self.facts.key(place)}".lstrip("/")
