"""A table added to a finished product, which stays finished throughout: named in its Item and its report, recorded."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
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
from tilewright.tasks.storage.storage import json_bytes, staging_folder
from tilewright.tasks.tables.convert import write_as
from tilewright.tasks.tables.table_file import MEDIA_TYPE, uploaded_table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tilewright.tasks.storage.storage import Storage
    from tilewright.tasks.tables.table_file import UploadedTable
    from tilewright.tasks.tables.vector_file import GeometryTable

ELSEWHERE = "give --to FILE for a table beside the product"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a table may be added: a finished product, and its Item as it was when that was looked at."""

    storage: Storage
    name: str
    item: bytes

    @property
    def file(self) -> str:
        """The name of the table's file."""
        return f"{self.name}.parquet"


def place_for(storage: Storage, name: str) -> Place:
    """The place of a table in a finished product, looked for before the table is made; nothing is written.

    Raises StoreError for a product that is not finished or cannot be written, and where something else has the name.
    """
    lacking = unfinished(storage) if storage.root is not None else (ITEM,)
    if lacking:
        raise StoreError(f"{storage.uri} lacks {', '.join(lacking[:3])}: run its job to the end, or {ELSEWHERE}.")
    if storage.uri.startswith(("http://", "https://")):
        raise StoreError(f"{storage.uri} can only be read: {ELSEWHERE}.")
    if storage.folder is not None and not os.access(storage.folder, os.W_OK):
        raise StoreError(f"Nothing may be written into {storage.uri}: {ELSEWHERE}.")
    place = Place(storage=storage, name=name, item=storage.read(ITEM) or b"")
    asset = (read_item(storage) or {"assets": {}})["assets"].get(name)
    if asset is not None and asset["href"].removeprefix("./") != place.file:
        raise StoreError(f"{storage.uri} has {name!r} already, as {asset['href']}: {ELSEWHERE}.")
    if place.file in storage.top_names() and place.file not in _record(storage).files:
        raise StoreError(f"{storage.uri} holds {place.file}, which it did not write: move it, or {ELSEWHERE}.")
    return place


def add_table(place: Place, table: GeometryTable) -> None:
    """Write a table into its place and name it in the report, the Item, the table of Items and the Collection.

    A table that is there with the same bytes is left. Whenever this is cut off, the product is finished: its Item
    names the table only while the file that it names is there.

    Raises LockHeldError where a run is in progress, StoreError for a product that changed since the place was looked
    for, StorageError if storage refuses.
    """
    with lock_output(place.storage) as lock:
        storage = lock.storage
        if storage.read(ITEM) != place.item or unfinished(storage):
            raise StoreError(f"{storage.uri} changed while its pixels were read: give the same command again.")
        with staging_folder(storage) as folder:
            draft = folder / place.file
            # The staging folder of a bucket's product is the system's.
            write_as(table, draft)
            item = read_item(storage) or {}
            known = item["assets"].get(place.name)
            if known is not None and known.get("file:checksum") == file_multihash(draft):
                return
            _add(storage, place, draft, item, n_rows=table.columns.num_rows)


def _add(storage: Storage, place: Place, draft: Path, item: dict[str, Any], *, n_rows: int) -> None:
    kept = kept_of((read_object(storage, PLAN) or {}).get("source"))
    record = _record(storage)
    record = replace(record, files=record.files | {place.file})
    write_product_record(storage, record)
    if item["assets"].pop(place.name, None) is not None:
        storage.write_json(ITEM, item, kept)
    made = uploaded_table(storage, draft, key="", n_rows=n_rows)
    _write_report(storage, place.name, made, kept)
    item["assets"][place.name] = _asset(made)
    item["properties"]["updated"] = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    parts = {name: read_object(storage, name) or {} for name in part_item_names(item)}
    items = {ITEM: item, **parts}
    rows = table_with([*items.values()], other_rows(storage, record, storage.read(TABLE) or b""))
    collection = collection_with(
        storage, record, {name: pystac.Item.from_dict(plain, preserve_dict=True) for name, plain in items.items()}
    )
    write_product_record(storage, with_table(record, hashlib.sha256(rows).hexdigest()))
    storage.write_json(ITEM, item, kept)
    check_written(storage, ITEM, json_bytes(item, kept))
    storage.write(TABLE, rows)
    storage.write_json(COLLECTION, collection)


def _record(storage: Storage) -> ProductRecord:
    return existing_record(storage, read_object(storage, PLAN)) or ProductRecord()


def _write_report(storage: Storage, name: str, made: UploadedTable, kept: tuple[str, ...]) -> None:
    report = read_object(storage, "report.json") or {}
    told = report.get("tables")
    others = [each for each in told if isinstance(each, dict)] if isinstance(told, list) else []
    entry = {"name": name, "file": made.name, "rows": made.n_rows, "bytes": made.size, "checksum": made.checksum}
    report["tables"] = [*(each for each in others if each.get("name") != name), entry]
    storage.write_json("report.json", report, kept)


def _asset(made: UploadedTable) -> Mapping[str, Any]:
    return {
        "href": f"./{made.name}",
        "type": MEDIA_TYPE,
        "title": f"{made.n_rows:,} rows",
        "roles": ["data"],
        "file:size": made.size,
        "file:checksum": made.checksum,
    }
