"""The blocks of a product as they come: work that follows them waits for those that it reads next."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from tilewright.tasks.inventory.listing import list_below, list_some

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.inventory.listing import Listed
    from tilewright.tasks.storage.ledger import BlockEntry
    from tilewright.tasks.storage.storage import Storage


T = TypeVar("T")

Place = tuple[int, int]
"""(row, col) of a block on the lattice from the CRS origin."""


class AbandonedError(RuntimeError):
    """The run ended before all of its blocks were there: what follows them ends too."""


@dataclass(slots=True, kw_only=True)
class Arrivals:
    """The ``planned`` blocks of a product, and those of them that are there, by place; filled by one thread."""

    planned: frozenset[Place]
    entries: dict[Place, BlockEntry] = field(default_factory=dict)
    abandoned: bool = False
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _waits: threading.local = field(default_factory=threading.local)

    @classmethod
    def of(cls, planned: Iterable[Place], entries: Iterable[BlockEntry]) -> Arrivals:
        """The arrivals of a plan with these blocks there."""
        return cls(
            planned=frozenset((row, col) for row, col in planned),
            entries={(entry.row, entry.col): entry for entry in entries},
        )

    def add(self, entry: BlockEntry) -> None:
        """Note a block that is stored and recorded; nobody writes it again before the product is finished."""
        with self._changed:
            self.entries[entry.row, entry.col] = entry
            self._changed.notify_all()

    def abandon(self) -> None:
        """Say that no block comes any more."""
        with self._changed:
            self.abandoned = True
            self._changed.notify_all()

    @property
    def complete(self) -> bool:
        """True if every planned block is there."""
        return len(self.entries) >= len(self.planned)

    def wait(self, places: Iterable[Place]) -> None:
        """Return when the planned ones of these blocks are there. Raises AbandonedError if they do not come."""
        missing = self.planned.intersection(places)
        with self.waiting(), self._changed:
            while not (self.abandoned or missing <= self.entries.keys()):
                self._changed.wait()
            if self.abandoned:
                raise AbandonedError("The run ended before its blocks were there.")

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """The time of the calling thread in this context is waiting, not work."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._waits.seconds = self.waited() + time.perf_counter() - began

    def waited(self) -> float:
        """The seconds for which the calling thread has waited for blocks so far."""
        return float(getattr(self._waits, "seconds", 0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class BusyClock:
    """Busy seconds by kind of work, summed over threads, without those spent waiting for blocks."""

    arrivals: Arrivals
    seconds: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def timed(self, name: str, work: Callable[[], T]) -> Callable[[], T]:
        """``work`` with its seconds added to those of ``name``, even if it fails."""

        def call() -> T:
            began, waited = time.perf_counter(), self.arrivals.waited()
            try:
                return work()
            finally:
                busy = time.perf_counter() - began - (self.arrivals.waited() - waited)
                with self._lock:
                    self.seconds[name] = self.seconds.get(name, 0.0) + busy

        return call


@dataclass(frozen=True, slots=True, kw_only=True)
class Checksums(Mapping[Place, str]):
    """The checksums of a layer's blocks that are there, by place."""

    arrivals: Arrivals
    layer: str

    def __getitem__(self, place: Place) -> str:
        return self.arrivals.entries[place].checksums[self.layer]

    def __iter__(self) -> Iterator[Place]:
        return iter(sorted(self.arrivals.entries.copy()))

    def __len__(self) -> int:
        return len(self.arrivals.entries)


@dataclass(slots=True, kw_only=True)
class ArrivedBlocks:
    """The objects of blocks as they were when they were read first, of layers in ``folders`` below ``prefix``.

    ``side`` is that of a block in pixels, ``first`` the place of the object 0, 0. ``vectors`` are the folders of arrays
    with a third dimension.
    """

    storage: Storage
    arrivals: Arrivals
    prefix: str
    folders: Collection[str]
    side: int
    first: Place
    vectors: Collection[str] = ()
    _seen: set[Place] = field(default_factory=set)
    _arrays: set[str] = field(init=False)
    _listed: dict[str, Listed] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._arrays = {f"{self.prefix}/{name}" for name in self.folders}

    def ready(self, box: PixelBox) -> None:
        """Return when the blocks that a box of absolute pixels touches are there, and how they are is noted.

        Raises AbandonedError if they do not come, StorageError if storage refuses.
        """
        rows = range(box.row_start // self.side, -(-box.row_stop // self.side))
        cols = range(box.col_start // self.side, -(-box.col_stop // self.side))
        places = {(row, col) for row in rows for col in cols}
        self.arrivals.wait(places)
        with self._lock:
            if places <= self._seen:
                return
            if self.arrivals.complete:
                # Nothing comes any more: one look at all of them.
                self._listed = {**self._chunks(self.prefix), **self._listed}
                self._seen |= {*self.arrivals.planned, *places}
                return
            # These alone: a box is small beside the rows of the blocks that it lies in.
            keys = [self._key(name, place) for place in places - self._seen for name in self.folders]
            self._listed |= list_some(self.storage, keys)
            self._seen |= places

    def changed(self) -> list[str]:
        """The keys of objects that are not as they were, that are gone, or that have come since; sorted."""
        there = self._chunks(self.prefix)
        return sorted(key for key in there.keys() | self._listed.keys() if self._listed.get(key) != there.get(key))

    def _key(self, name: str, place: Place) -> str:
        deep = "/0" if name in self.vectors else ""
        return f"{self.prefix}/{name}/c/{place[0] - self.first[0]}/{place[1] - self.first[1]}{deep}"

    def _chunks(self, prefix: str) -> dict[str, Listed]:
        listed = list_below(self.storage, prefix).items()
        return {key: each for key, each in listed if "/c/" in key and key.partition("/c/")[0] in self._arrays}
