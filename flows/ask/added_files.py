"""Files added to a finished product, which stays finished throughout: named in its Item and in its record."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pystac

from tilewright.flows.run.output_lock import lock_output
from tilewright.tasks.cog.write import file_multihash
from tilewright.tasks.inventory.finished import part_item_names, read_item, unfinished
from tilewright.tasks.inventory.record import COLLECTION, TABLE, ProductRecord, with_table, write_product_record
from tilewright.tasks.inventory.table import table_with
from tilewright.tasks.publish.names import existing_record
from tilewright.tasks.publish.unlist import collection_with, other_rows
from tilewright.tasks.publish.verify import check_written
from tilewright.tasks.storage.documents import read_object
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.fence import ITEM
from tilewright.tasks.storage.ledger import PLAN
from tilewright.tasks.storage.secrets import kept_of
from tilewright.tasks.storage.storage import json_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tilewright.tasks.storage.storage import Storage

ELSEWHERE = "give --to DIR for files beside the product"


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedFile:
    """A local file that comes into a product under a ``name``, as the asset ``key`` of its Item, with ``facts``."""

    name: str
    path: Path
    key: str
    media_type: str
    title: str
    roles: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesPlace:
    """A finished product that files may be added to, and its Item as it was when that was looked at."""

    storage: Storage
    item: bytes


def check_can_be_added_to(storage: Storage, *, elsewhere: str) -> None:
    """Check that a storage holds a finished product that may be written; ``elsewhere`` is what else may be done.

    Raises StoreError.
    """
    lacking = unfinished(storage) if storage.root is not None else (ITEM,)
    if lacking:
        raise StoreError(f"{storage.uri} lacks {', '.join(lacking[:3])}: run its job to the end, or {elsewhere}.")
    if storage.uri.startswith(("http://", "https://")):
        raise StoreError(f"{storage.uri} can only be read: {elsewhere}.")
    if storage.folder is not None and not os.access(storage.folder, os.W_OK):
        raise StoreError(f"Nothing may be written into {storage.uri}: {elsewhere}.")


def place_of_files(storage: Storage, names: Sequence[str]) -> FilesPlace:
    """The place of files in a finished product, looked for before they are made; nothing is written.

    Raises StoreError for a product that is not finished or cannot be written, and where it did not write such a file.
    """
    check_can_be_added_to(storage, elsewhere=ELSEWHERE)
    there = {*storage.top_names()} - recorded(storage).files
    for name in names:
        if name in there:
            raise StoreError(f"{storage.uri} holds {name}, which it did not write: move it, or {ELSEWHERE}.")
    return FilesPlace(storage=storage, item=storage.read(ITEM) or b"")


def recorded(storage: Storage) -> ProductRecord:
    """What a product's record says is its own."""
    return existing_record(storage, read_object(storage, PLAN)) or ProductRecord()


def add_files(place: FilesPlace, files: Sequence[AddedFile], *, properties: Mapping[str, Any] | None = None) -> None:
    """Put files into their place and name them in the Item, the table of Items and the Collection.

    ``properties`` are what the Item says of them, in place of what it said under these names. Files that are there
    with the same bytes, of which it says the same, are left. Whenever this is cut off, the product is finished: its
    Item names a file only while it is there as it says.

    Raises LockHeldError where a run is in progress, StoreError for a product that changed since the place was looked
    for, StorageError if storage refuses.
    """
    with lock_output(place.storage) as lock:
        storage = lock.storage
        if storage.read(ITEM) != place.item or unfinished(storage):
            raise StoreError(f"{storage.uri} changed while its pixels were read: give the same command again.")
        item = read_item(storage) or {}
        sums = {each.key: file_multihash(each.path) for each in files}
        told, wanted = item["properties"], dict(properties or {})
        same = all(item["assets"].get(key, {}).get("file:checksum") == sums[key] for key in sums)
        if same and all(told.get(name) == value for name, value in wanted.items()):
            return
        kept = kept_of((read_object(storage, PLAN) or {}).get("source"))
        record = recorded(storage)
        record = replace(record, files=record.files | {each.name for each in files})
        write_product_record(storage, record)
        # While its files are written anew the Item says nothing of them that may not be true.
        for each in files:
            item["assets"].pop(each.key, None)
        for name in wanted:
            told.pop(name, None)
        storage.write_json(ITEM, item, kept)
        for each in files:
            facts = {**each.facts, "file:size": each.path.stat().st_size, "file:checksum": sums[each.key]}
            storage.upload(each.name, each.path)
            item["assets"][each.key] = {
                "href": f"./{each.name}",
                "type": each.media_type,
                "title": each.title,
                "roles": list(each.roles),
                **facts,
            }
        told.update(wanted)
        publish_item(storage, item, record, kept)


def publish_item(storage: Storage, item: dict[str, Any], record: ProductRecord, kept: tuple[str, ...]) -> None:
    """Write a changed Item of a finished product, then the table of Items and the Collection that repeat it."""
    item["properties"]["updated"] = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    parts = {name: read_object(storage, name) or {} for name in part_item_names(item)}
    items = {ITEM: item, **parts}
    listed = table_with([*items.values()], other_rows(storage, record, storage.read(TABLE) or b""))
    collection = collection_with(
        storage, record, {name: pystac.Item.from_dict(plain, preserve_dict=True) for name, plain in items.items()}
    )
    write_product_record(storage, with_table(record, hashlib.sha256(listed).hexdigest()))
    storage.write_json(ITEM, item, kept)
    check_written(storage, ITEM, json_bytes(item, kept))
    storage.write(TABLE, listed)
    storage.write_json(COLLECTION, collection)
