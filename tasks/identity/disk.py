"""The identity of files on a disk: size, time of the last change and of the last change of its record (ctime).

The ctime is set by the file system alone: a file that was put in place of another one with its size and its mtime has
another. It also changes with a file's name, owner, mode and hard links, so that a file that was copied or moved counts
as another: blocks are then made again, never mixed. The inode's number is left out, since mounts of other hosts differ.
"""

from __future__ import annotations

import os
from pathlib import Path

from tilewright.tasks.identity.identity import digest

BESIDE = (".msk", ".ovr", ".aux.xml", ".msk.ovr")
"""What GDAL appends to the name of a file to find its mask, overviews and metadata."""

MOST_LISTED = 200_000
"""Objects of a local Zarr store that are looked at; of a larger one the metadata documents alone count."""

DOCUMENTS = ("zarr.json", ".zmetadata", ".zarray", ".zgroup", ".zattrs")
"""Metadata documents of Zarr. Source: Zarr v2, "Storage", and Zarr v3, "Stores"."""


def disk_identity(path: str) -> str:
    """The identity of a local file with the files beside it that GDAL reads with it.

    Raises OSError for a file that is not there.
    """
    own = file_stamp(path)
    beside = [(name, stamp) for name in _neighbours(path) if (stamp := _stamp_or_none(name)) is not None]
    return f"disk:{own}:{digest(repr(beside))[:12]}" if beside else f"disk:{own}"


def file_stamp(path: str) -> str:
    """Size, mtime and ctime in ns of one file, as an identity writes them. Raises OSError."""
    status = os.stat(path)  # noqa: PTH116 - half the cost of a Path, at every read
    return f"{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"


def is_stamp_of(identity: str, stamp: str) -> bool:
    """True if the identity of a local file is that of a file with this stamp, whatever lies beside it."""
    return identity == f"disk:{stamp}" or identity.startswith(f"disk:{stamp}:")


def store_identity(store: str, array: str) -> str:
    """The identity of an array in a local Zarr store: all its files, and the documents of the store.

    Raises OSError for a store that is not there.
    """
    root = Path(store)
    documents = _documents(root, array)
    rows, complete = _listed(root / array if array else root)
    kind = "store" if complete else "documents"
    return f"{kind}:{digest(repr(sorted({**documents, **(rows if complete else {})}.items())))}"


def _documents(root: Path, array: str) -> dict[str, str]:
    folders = [root, *(root.joinpath(*Path(array).parts[: depth + 1]) for depth in range(len(Path(array).parts)))]
    found = {
        str(path.relative_to(root)): stamp
        for path in (folder / name for folder in folders for name in DOCUMENTS)
        if (stamp := _stamp_or_none(str(path))) is not None
    }
    if not found:
        raise FileNotFoundError(2, "it has no metadata document of Zarr", str(root))
    return found


def _listed(folder: Path) -> tuple[dict[str, str], bool]:
    """(stamp by path) of the files below a folder, and False if there are too many to look at."""
    rows: dict[str, str] = {}
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in names:
            path = f"{parent}/{name}"
            rows[path] = _stamp_or_none(path) or "gone"
        if len(rows) > MOST_LISTED:
            return {}, False
    return rows, True


def _neighbours(path: str) -> list[str]:
    """Names beside a file; of world files those that GDAL asks for: .tfw, .tifw and .wld for a .tif."""
    stem, suffix = os.path.splitext(path)  # noqa: PTH122 - ten thousand paths at a time
    worlds = [f"{stem}{suffix[:2]}{suffix[-1]}w", f"{stem}{suffix}w", f"{stem}.wld"] if len(suffix) > 1 else []
    return [*(path + ending for ending in BESIDE), *worlds]


def _stamp_or_none(path: str) -> str | None:
    try:
        return file_stamp(path)
    except OSError:
        return None
