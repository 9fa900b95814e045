"""The product's own record of what it writes, by which alone anything of an output is ever deleted.

The names are recorded before their files are written, so that a run that was killed still knows them. Files and folders
of other people in an output, and the targets of links, are never touched.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilewright.tasks.inventory.listing import UNFINISHED, keys_below
from tilewright.tasks.storage.documents import read_object
from tilewright.tasks.storage.fence import ITEM
from tilewright.tasks.storage.storage import STATE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tilewright.tasks.storage.storage import Storage


RECORD = f"{STATE_FOLDER}/files.json"

RECORD_FORMAT = 1

COLLECTION, TABLE = "collection.json", "items.parquet"
"""The two that list the product's Items, and may list those of other products."""

FIXED_FILES = (
    ITEM,
    COLLECTION,
    TABLE,
    "manifest.parquet",
    "report.json",
    "report.html",
    "preview.png",
    "progress.json",
)
"""Files of every product. An output is empty when a product is begun there, so that they are the product's."""

PART_ITEM = re.compile(r"item_r\d+c\d+\.json")
"""File names of the Items of parts."""

STORE_FOLDER = "data.zarr"

STORE_MEMBERS = frozenset({"observations", "x", "y", "spatial_ref", "time", "time_bounds"})
"""Arrays of every product's store, beside its layers."""

LEVEL_AXIS = re.compile(r"[xy]_\d+")
"""Names of the coordinates of a smaller level."""

_STORE_KEY = re.compile(
    rf"{re.escape(STORE_FOLDER)}/(?:overviews(?:/\d+)?/)?"
    r"(?:zarr\.json|\.zgroup|\.zattrs|\.zmetadata"
    r"|(?P<member>[^/]+)/(?:zarr\.json|\.zarray|\.zattrs|c(?:/\d+)*|\d+(?:[./]\d+)*))"
)

_STATE_KEY = re.compile(
    rf"{re.escape(STATE_FOLDER)}/(?:(?:plan|secrets|files|watch)\.json|failures\.ndjson|\.secrets\.json\.\d+"
    r"|ledger/-?\d+_-?\d+\.json|pyramid/(?P<layer>[^/]+)\.json|(?:cogs|tables)/(?P<file>[^/]+)\.json"
    r"|(?:boxes/[^/]+|places)/-?\d+_-?\d+\.bin|(?:blocks\.zarr|staging)/.+)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductRecord:
    """What a product writes: ``files`` directly in its output, ``layers`` of its store, ``ids`` of its Items.

    ``table`` is the SHA-256 in hex of the table of Items as it was published, empty before.
    """

    files: frozenset[str] = frozenset()
    layers: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()
    table: str = ""

    def __or__(self, other: ProductRecord) -> ProductRecord:
        """All that either of two products writes."""
        return ProductRecord(
            files=self.files | other.files, layers=self.layers | other.layers, ids=self.ids | other.ids
        )

    def holds(self, key: str) -> bool:
        """True if a key is of this product: an object that it wrote or writes, complete or not."""
        key = UNFINISHED.sub("", key)
        if "/" not in key:
            return key in self.files
        if (found := _STORE_KEY.fullmatch(key)) is not None:
            member = found["member"]
            return member is None or member in self.layers | STORE_MEMBERS or LEVEL_AXIS.fullmatch(member) is not None
        if (found := _STATE_KEY.fullmatch(key)) is None:
            return False
        in_layers = found["layer"] is None or found["layer"] in self.layers | STORE_MEMBERS
        return in_layers and (found["file"] is None or found["file"] in self.files)


def read_product_record(storage: Storage) -> ProductRecord | None:
    """The record of the product in a storage; None if there is none, or it is damaged."""
    plain = read_object(storage, RECORD)
    if plain is None or plain.get("format") != RECORD_FORMAT:
        return None
    files, layers, ids = (_texts(plain.get(key)) for key in ("files", "layers", "ids"))
    if files is None or layers is None or ids is None:
        return None
    # Whoever wrote it: a name with a path in it could lead out of the output.
    safe = frozenset(name for name in files if _is_plain(name))
    layers = frozenset(name for name in layers if _is_plain(name))
    return ProductRecord(files=safe, layers=layers, ids=ids, table=str(plain.get("table") or ""))


def write_product_record(storage: Storage, record: ProductRecord) -> None:
    """Write the record in place of the existing one, unless that says the same."""
    if read_product_record(storage) != record:
        storage.write_json(RECORD, _plain(record))


def with_table(record: ProductRecord, digest: str) -> ProductRecord:
    """The record of a product whose table of Items has this SHA-256."""
    return replace(record, table=digest)


def remove_recorded(storage: Storage, record: ProductRecord, keys: Iterable[str]) -> None:
    """Remove those of the keys that are of a product; a link is removed itself, and nothing is removed through one.

    A folder that has the name of a file is somebody's, and stays.
    """
    storage.delete([key for key in keys if record.holds(key) and _is_removable(storage, key)])


def remove_below(storage: Storage, record: ProductRecord, prefix: str) -> None:
    """Remove what a product has below a folder, and the folders that are empty then; a link is removed itself."""
    folder = storage.folder
    if folder is not None and (folder / prefix).is_symlink():
        storage.check_fence()
        (folder / prefix).unlink()
        return
    keys = keys_below(storage, prefix)
    if folder is None and all(map(record.holds, keys)):
        storage.delete_below(prefix)
        return
    remove_recorded(storage, record, keys)
    if folder is not None:
        _remove_empty_folders(storage, prefix)


def _remove_empty_folders(storage: Storage, prefix: str) -> None:
    """Zarr readers would list empty folders as unknown members."""
    assert storage.folder is not None, "a bucket has no folders"
    storage.check_fence()
    for parent, _folders, _names in os.walk(storage.folder / prefix, topdown=False):
        with suppress(OSError):
            # Refused for a folder that holds something.
            Path(parent).rmdir()


def _is_removable(storage: Storage, key: str) -> bool:
    if storage.folder is None:
        return True
    path = storage.folder / key
    above = [parent for parent in path.parents if storage.folder in parent.parents]
    return not any(parent.is_symlink() for parent in above) and (path.is_symlink() or not path.is_dir())


def _is_plain(name: str) -> bool:
    return bool(name) and name not in {".", "..", STATE_FOLDER} and not {"/", "\\", "\0"} & set(name)


def _texts(value: object) -> frozenset[str] | None:
    """The texts of a list; None for anything else."""
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        return None
    return frozenset(value)


def _plain(record: ProductRecord) -> Mapping[str, Any]:
    lists = {"files": sorted(record.files), "layers": sorted(record.layers), "ids": sorted(record.ids)}
    return {"format": RECORD_FORMAT, **lists, **({"table": record.table} if record.table else {})}
