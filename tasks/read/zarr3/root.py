"""The one raster of a Zarr store whose href names no array: by the store's metadata, or by its folders on a disk."""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilewright.tasks.read.zarr3.objects import RefusedArrayError, is_plain_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tilewright.tasks.read.zarr3.objects import StoreObjects


MOST_FOLDERS = 2048
"""Of a store on a disk that are looked at."""

WHICH = "the href names a Zarr store, and not which of its arrays"

REMEDY = "name the array in the href (scene.zarr/red)"

GROUP_REMEDY = f"{REMEDY}, or state zarr:node_type: group in the asset, with bands named like the arrays"


def only_array(objects: StoreObjects, document: Mapping[str, Any]) -> str:
    """The name of the one array of a store that has rows and columns; ``document`` is that of the store.

    Raises RefusedArrayError for none or several, OSError where a folder cannot be read.
    """
    found = _consolidated(document)
    if not found and not objects.remote:
        found = [folder for folder, each in _documents_on_disk(objects) if _is_raster(each)]
    if not found and objects.remote:
        raise RefusedArrayError(
            f"{WHICH}: its metadata lists none. Consolidate it (zarr.consolidate_metadata), or {REMEDY}"
        )
    if len(found) != 1 or not all(map(is_plain_name, found[0].split("/"))):
        raise RefusedArrayError(which_array(found))
    return found[0]


def which_array(names: Iterable[str]) -> str:
    """What is said of an href of a whole store in which there are rasters of these names, or none."""
    shown = ", ".join(name[:40] for name in sorted(names)[:8])[:100]
    return f"{WHICH}: {shown or 'none with rows and columns is there'}. {GROUP_REMEDY[0].upper()}{GROUP_REMEDY[1:]}"


def _is_raster(document: Any) -> bool:
    shape = document.get("shape") if isinstance(document, dict) else None
    return isinstance(shape, list) and len(shape) >= 2


def _consolidated(document: Mapping[str, Any]) -> list[str]:
    told = document.get("consolidated_metadata")
    members = told.get("metadata") if isinstance(told, dict) else None
    return [name for name, each in members.items() if _is_raster(each)] if isinstance(members, dict) else []


def _documents_on_disk(objects: StoreObjects) -> Iterator[tuple[str, dict[str, Any]]]:
    """(folder, document) of the arrays of a store on a disk, those of its groups too; no link is followed."""
    waiting = deque([""])
    for _ in range(MOST_FOLDERS):
        if not waiting:
            return
        folder = waiting.popleft()
        document: dict[str, Any] = {}
        with suppress(RefusedArrayError):
            document = objects.document(folder) or {}
        if document.get("node_type") == "group":
            waiting += _folders(Path(objects.root.removeprefix("file://"), folder), folder)
        elif document:
            yield folder, document
    if waiting:
        raise RefusedArrayError(f"{WHICH}: it has more than {MOST_FOLDERS:,} folders. {REMEDY[0].upper()}{REMEDY[1:]}")


def _folders(path: Path, folder: str) -> list[str]:
    with os.scandir(path) as entries:
        some = islice(entries, 2 * MOST_FOLDERS)
        names = sorted(each.name for each in some if each.is_dir(follow_symlinks=False) and is_plain_name(each.name))
    return [f"{folder}/{name}".lstrip("/") for name in names]
