"""Listings of objects with their sizes and tags: one look at a product instead of a request for each object."""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import obstore

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path

    from tilewright.tasks.storage.storage import Storage


UNFINISHED = re.compile(r"#\d+\Z")
"""End of the name that the object store's client gives a local file until it is complete."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """An object as a listing shows it: ``size`` in bytes, ``tag`` changes when the object is written again."""

    size: int
    tag: str


def list_below(storage: Storage, prefix: str) -> dict[str, Listed]:
    """Every complete object below a folder of the product, by key.

    Links to folders are followed, as they are by who writes and reads there: a person may have given a product room on
    another disk. Links to files are no objects.

    Raises StorageError if storage refuses.
    """
    if storage.folder is not None:
        folder = storage.folder
        return storage.call_with_retries("list", lambda: dict(_walk(folder, folder / prefix)))
    return storage.call_with_retries("list", lambda: _objects(storage, obstore.list(storage.root, prefix=prefix)))


def list_some(storage: Storage, keys: Collection[str]) -> dict[str, Listed]:
    """Those of the keys that are complete objects, as ``list_below`` shows them.

    In a folder each is looked at, in a bucket the folders that they lie in are listed.

    Raises StorageError if storage refuses.
    """
    folder = storage.folder
    if folder is not None:
        return storage.call_with_retries("list", lambda: dict(_looked_at(folder, keys)))
    listed: dict[str, Listed] = {}
    for parent in sorted({key.rpartition("/")[0] for key in keys}):
        there = list_below(storage, parent)
        listed |= {key: there[key] for key in keys if key in there}
    return listed


def list_top(storage: Storage) -> dict[str, Listed]:
    """Every complete object directly in the product, by name; no folders.

    Raises StorageError if storage refuses.
    """
    if storage.folder is not None:
        folder = storage.folder
        return storage.call_with_retries("list", lambda: dict(_files_in(folder, folder)))
    return storage.call_with_retries(
        "list", lambda: _objects(storage, [obstore.list_with_delimiter(storage.root)["objects"]])
    )


def folders_below(storage: Storage, prefix: str) -> list[str]:
    """The names of the folders directly below a folder of the product, sorted.

    Raises StorageError if storage refuses.
    """
    if storage.folder is None:
        found = storage.call_with_retries("list", lambda: obstore.list_with_delimiter(storage.root, prefix=prefix))
        return sorted(path.rstrip("/").rpartition("/")[2] for path in found["common_prefixes"])
    with os.scandir(storage.folder / prefix) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir())


def keys_below(storage: Storage, prefix: str) -> list[str]:
    """The keys below a folder of the product, incomplete files and links (themselves, not what they lead to) included.

    Raises StorageError if storage refuses.
    """
    if storage.folder is None:
        return list(storage.keys(prefix))
    folder, keys = storage.folder, []
    top = prefix.rstrip("/")
    if top and (folder / top).is_symlink():
        return [top]
    for parent, folders, names in os.walk(folder / prefix):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]  # noqa: PTH114, PTH118
        keys += [_key(folder, os.path.join(parent, name)) for name in (*names, *links)]  # noqa: PTH118
    return keys


def _objects(storage: Storage, pages: Iterable[Any]) -> dict[str, Listed]:
    assert storage.remote, "a folder is walked"
    return {
        entry["path"]: Listed(size=entry["size"], tag=str(entry.get("e_tag") or entry["last_modified"]))
        for page in pages
        for entry in page
    }


def _walk(folder: Path, below: Path, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[tuple[str, Listed]]:
    if not below.is_dir():
        return
    found = below.stat()
    place = (found.st_dev, found.st_ino)
    if place in above:
        # A link to a folder that it lies in.
        return
    yield from _files_in(folder, below)
    with os.scandir(below) as entries:
        folders = sorted(entry.path for entry in entries if entry.is_dir())
    for path in folders:
        yield from _walk(folder, below / path, above | {place})


def _files_in(folder: Path, parent: Path) -> Iterator[tuple[str, Listed]]:
    if not parent.is_dir():
        return
    with os.scandir(parent) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False) and not UNFINISHED.search(entry.name):
                yield _key(folder, entry.path), _listed(entry.stat(follow_symlinks=False))


def _looked_at(folder: Path, keys: Iterable[str]) -> Iterator[tuple[str, Listed]]:
    for key in keys:
        with suppress(FileNotFoundError, NotADirectoryError):
            found = (folder / key).lstat()
            if stat.S_ISREG(found.st_mode) and not UNFINISHED.search(key):
                yield key, _listed(found)


def _listed(found: os.stat_result) -> Listed:
    return Listed(size=found.st_size, tag=f"{found.st_ino}-{found.st_mtime_ns}-{found.st_size}")


def _key(folder: Path, path: str) -> str:
    return os.path.relpath(path, folder).replace(os.sep, "/")
