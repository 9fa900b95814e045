"""The pool of open files: each handle is used by one thread at a time, the least recently used is closed first."""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.hrefs import scheme_of
from tilewright.tasks.identity.disk import disk_identity, file_stamp, is_stamp_of
from tilewright.tasks.read.gdal import forget_object, header_of, open_dataset
from tilewright.tasks.read.retry import CHANGED, ChangedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilewright.tasks.read.gdal import Way
    from tilewright.tasks.read.header import FileHeader


CAPACITY = 512
"""Handles kept open in a process: the bands and dates of a block, with room below the usual limit of 1024 files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileKey:
    """The key of an open file: its unsigned href, the overview (None: full size), its identity if it is known, its
    state on a local disk, and for a Zarr store the CRS that its item states.
    """

    href: str
    overview: int | None
    identity: str | None = None
    stamp: str | None = None
    crs: str = ""

    @classmethod
    def of(cls, href: str, *, overview: int | None, identity: str | None = None, crs: str = "") -> FileKey:
        """The key of an href. A local file that was rewritten has another key.

        Raises ChangedError for a local file that is not the one with the identity.
        """
        if "://" in href:
            return cls(href=href, overview=overview, identity=identity, crs=crs)
        stamp = file_stamp(href)
        if identity is not None and identity.startswith("disk:") and not is_stamp_of(identity, stamp):
            raise ChangedError(CHANGED)
        return cls(href=href, overview=overview, identity=identity, stamp=stamp, crs=crs)

    def check(self, *, beside: bool = False) -> None:
        """Check that a local file is still that of the key; `beside`: with the files that GDAL reads with it.

        Raises ChangedError where it is not.
        """
        if self.stamp is None or self.identity is None or not self.identity.startswith("disk:"):
            return
        same = disk_identity(self.href) == self.identity if beside else file_stamp(self.href) == self.stamp
        if not same:
            raise ChangedError(CHANGED)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenFile:
    """A dataset open for reading with its header, and a number that is unique in this process."""

    number: int
    key: FileKey
    dataset: Any
    header: FileHeader


class HandlePool:
    """Open datasets by key. A borrowed dataset is not in the pool, so no two threads share one."""

    def __init__(self, *, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._idle: OrderedDict[int, OpenFile] = OrderedDict()
        self._by_key: dict[FileKey, list[int]] = {}
        self._numbers = itertools.count()
        self._identities: dict[str, str] = {}
        self._lock = threading.Lock()
        self._forgetting = threading.Lock()

    @contextmanager
    def borrow(self, key: FileKey, *, signed: str, fresh: bool, way: Way | None = None) -> Iterator[OpenFile]:
        """A file open for reading; it is returned to the pool, or closed if the body fails.

        `fresh` opens it again, without GDAL's cached content of the file.

        Raises ChangedError for a local file that is another one after the body than before it.
        """
        if fresh:
            self._discard(key.href)
        file = None if fresh else self._take(key)
        if file is None:
            self._forget_another(key, signed)
            dataset = open_dataset(signed, overview=key.overview, fresh=fresh, identity=key.identity, way=way)
            key.check(beside=True)
            header = header_of(dataset, href=key.href, signed=signed, way=way, crs=key.crs)
            file = OpenFile(number=next(self._numbers), key=key, dataset=dataset, header=header)
        try:
            yield file
            key.check()
        except BaseException:
            file.dataset.close()
            raise
        self._give(file)

    def close(self) -> None:
        """Close all idle handles."""
        with self._lock:
            idle, self._idle, self._by_key = self._idle, OrderedDict(), {}
        for file in idle.values():
            file.dataset.close()

    def _forget_another(self, key: FileKey, signed: str) -> None:
        """Drop what GDAL keeps of an object that had another identity when this process read it before."""
        if key.identity is None or scheme_of(signed) != "s3":
            return
        # Whoever opens the object meanwhile waits: it would read the first bytes of one and the others of another.
        with self._forgetting:
            before = self._identities.get(key.href)
            if before not in {None, key.identity}:
                self._discard(key.href)
                forget_object(signed)
            self._identities[key.href] = key.identity

    def _take(self, key: FileKey) -> OpenFile | None:
        with self._lock:
            numbers = self._by_key.get(key)
            return self._remove(numbers[-1]) if numbers else None

    def _give(self, file: OpenFile) -> None:
        with self._lock:
            self._idle[file.number] = file
            self._by_key.setdefault(file.key, []).append(file.number)
            surplus = [self._remove(next(iter(self._idle))) for _ in range(len(self._idle) - self._capacity)]
        for old in surplus:
            old.dataset.close()

    def _remove(self, number: int) -> OpenFile:
        """Take an idle file out of the pool; the lock is held."""
        file = self._idle.pop(number)
        numbers = self._by_key[file.key]
        numbers.remove(number)
        if not numbers:
            del self._by_key[file.key]
        return file

    def _discard(self, href: str) -> None:
        with self._lock:
            stale = [number for number, file in self._idle.items() if file.key.href == href]
            dropped = [self._remove(number) for number in stale]
        for file in dropped:
            file.dataset.close()
