"""A pool of open files: each handle is used by one thread at a time, the least recently used is closed first."""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rasterio
from rasterio.io import DatasetReader

from tilewright.catalogs.gdal import DRIVERS
from tilewright.tasks.read.gdal import file_path, gdal_path

if TYPE_CHECKING:
    from collections.abc import Iterator


CAPACITY = 512
"""Handles kept open in a process: the bands and dates of a block, with room below the usual limit of 1024 files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileKey:
    """The key of an open file: its unsigned href, the overview (None: full size), and its state on a local disk."""

    href: str
    overview: int | None
    stamp: tuple[int, int] | None = None

    @classmethod
    def of(cls, href: str, *, overview: int | None) -> FileKey:
        """The key of an href. A local file that was rewritten has another key."""
        stamp = None
        if "://" not in href:
            status = Path(href).stat()
            stamp = (status.st_mtime_ns, status.st_size)
        return cls(href=href, overview=overview, stamp=stamp)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenFile:
    """A dataset open for reading, with a number that is unique in this process."""

    number: int
    key: FileKey
    dataset: Any


class HandlePool:
    """Open datasets by key. A borrowed dataset is not in the pool, so no two threads share one."""

    def __init__(self, *, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._idle: OrderedDict[int, OpenFile] = OrderedDict()
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    @contextmanager
    def borrow(self, key: FileKey, *, signed: str, fresh: bool) -> Iterator[OpenFile]:
        """A file open for reading; it is returned to the pool, or closed if the body fails.

        `fresh` opens it again, without GDAL's cached content of the file.
        """
        if fresh:
            self._discard(key.href)
        file = None if fresh else self._take(key)
        if file is None:
            dataset = open_dataset(signed, overview=key.overview, fresh=fresh)
            file = OpenFile(number=next(self._numbers), key=key, dataset=dataset)
        try:
            yield file
        except BaseException:
            file.dataset.close()
            raise
        self._give(file)

    def close(self) -> None:
        """Close all idle handles."""
        with self._lock:
            idle, self._idle = self._idle, OrderedDict()
        for file in idle.values():
            file.dataset.close()

    def _take(self, key: FileKey) -> OpenFile | None:
        with self._lock:
            found = next((number for number, file in reversed(self._idle.items()) if file.key == key), None)
            return None if found is None else self._idle.pop(found)

    def _give(self, file: OpenFile) -> None:
        with self._lock:
            self._idle[file.number] = file
            surplus = [self._idle.popitem(last=False)[1] for _ in range(len(self._idle) - self._capacity)]
        for old in surplus:
            old.dataset.close()

    def _discard(self, href: str) -> None:
        with self._lock:
            stale = [number for number, file in self._idle.items() if file.key.href == href]
            dropped = [self._idle.pop(number) for number in stale]
        for file in dropped:
            file.dataset.close()


def open_dataset(signed: str, *, overview: int | None, fresh: bool) -> Any:
    """A rasterio dataset of a signed href, opened with the allowed drivers only and without sharing of handles."""
    path = gdal_path(signed)
    options = {} if overview is None else {"OVERVIEW_LEVEL": overview}
    if not fresh or "://" not in signed:
        return DatasetReader(path, driver=list(DRIVERS), sharing=False, **options)
    with rasterio.Env(CPL_VSIL_CURL_NON_CACHED=file_path(signed)):
        return DatasetReader(path, driver=list(DRIVERS), sharing=False, **options)
