"""Whether a product is finished: it has a whole Item of ours, and all that this Item and its Collection list is there.

A call on a finished product asks this alone, so that no slow import is made here.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from tilewright.tasks.inventory.listing import list_top
from tilewright.tasks.inventory.record import COLLECTION, PART_ITEM, STORE_FOLDER, TABLE, read_product_record
from tilewright.tasks.storage.documents import read_object
from tilewright.tasks.storage.fence import ITEM
from tilewright.tasks.storage.ledger import PLAN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tilewright.tasks.inventory.listing import Listed
    from tilewright.tasks.storage.storage import Storage


READ_THREADS = 16
"""Items of parts that are read at a time: they hide the latency of a bucket."""

DATA = frozenset({"data", "places"})
"""Keys of the assets of which a product has one: its store, or the table of a job over places."""

PARQUET_MAGIC = b"PAR1"
"""First and last bytes of a Parquet file. Source: Apache Parquet, "File Format"."""


def read_item(storage: Storage) -> dict[str, Any] | None:
    """The product's own Item; None if there is none, or it is not a whole Item of ours.

    Raises StorageError if storage refuses.
    """
    item = read_object(storage, ITEM) if storage.root is not None else None
    whole = item is not None and is_item(item) and "plan" in item["assets"] and bool(DATA & item["assets"].keys())
    return item if whole else None


def is_item(plain: Mapping[str, Any]) -> bool:
    """True for a whole Item of a product or of a part, whatever a person added to it."""
    kinds = {"id": str, "stac_version": str, "properties": dict, "assets": dict, "links": list, "bbox": list}
    return (
        plain.get("type") == "Feature"
        and all(isinstance(plain.get(key), kind) for key, kind in kinds.items())
        and isinstance(plain.get("geometry"), dict)
        and "processing:expression" in plain["properties"]
        and all(isinstance(asset, dict) and isinstance(asset.get("href"), str) for asset in plain["assets"].values())
    )


def part_item_names(item: Mapping[str, Any]) -> list[str]:
    """The file names of the Items of a product's parts, sorted, from the product's own Item; empty without parts."""
    links = item.get("links")
    hrefs = [
        str(link.get("href")).removeprefix("./")
        for link in (links if isinstance(links, list) else ())
        if isinstance(link, dict) and link.get("rel") == "related"
    ]
    return sorted(name for name in hrefs if PART_ITEM.fullmatch(name))


def unfinished(storage: Storage) -> tuple[str, ...]:
    """The names of what a product lacks to be a finished one, sorted; empty for a finished product.

    Missing, cut off or damaged: its Item and those of its parts, files by the sizes in the Items, documents and tables.

    Raises StorageError if storage refuses.
    """
    item = read_item(storage)
    if item is None:
        return (ITEM,)
    there = list_top(storage)
    names = part_item_names(item)
    with ThreadPoolExecutor(READ_THREADS) as pool:
        parts = dict(zip(names, pool.map(lambda name: read_object(storage, name), names), strict=True))
    lacking = {name for name, part in parts.items() if part is None or not is_item(part)}
    for document in (item, *(part for name, part in parts.items() if part is not None and name not in lacking)):
        lacking |= _lacking_files(document, there)
    lacking |= {name for name, is_whole in DOCUMENTS.items() if not is_whole(storage, item)}
    return tuple(sorted(lacking))


def _lacking_files(item: Mapping[str, Any], there: Mapping[str, Listed]) -> set[str]:
    """The names of an Item's files that are not there with their size; those in folders are left out."""
    sizes = {asset["href"].removeprefix("./"): asset.get("file:size") for asset in item["assets"].values()}
    return {
        name
        for name, size in sizes.items()
        if "/" not in name
        and name != STORE_FOLDER
        and (name not in there or (isinstance(size, int) and there[name].size != size) or there[name].size == 0)
    }


def _has_plan(storage: Storage, item: Mapping[str, Any]) -> bool:
    content = storage.read(PLAN)
    checksum = item["assets"]["plan"].get("file:checksum")
    return content is not None and checksum in {None, "1220" + hashlib.sha256(content).hexdigest()}


def _has_store(storage: Storage, item: Mapping[str, Any]) -> bool:
    return "data" not in item["assets"] or any(
        read_object(storage, f"{STORE_FOLDER}/{name}") is not None for name in ("zarr.json", ".zgroup")
    )


def _has_report(storage: Storage, _item: Mapping[str, Any]) -> bool:
    report = read_object(storage, "report.json")
    return report is not None and isinstance(report.get("layers"), list)


def _is_linked(storage: Storage, item: Mapping[str, Any]) -> bool:
    collection = read_object(storage, COLLECTION) or {}
    links = collection.get("links")
    hrefs = {link.get("href") for link in (links if isinstance(links, list) else ()) if isinstance(link, dict)}
    wanted = {f"./{name}" for name in (ITEM, *part_item_names(item))}
    return collection.get("type") == "Collection" and isinstance(collection.get("extent"), dict) and wanted <= hrefs


def _is_in_table(storage: Storage, item: Mapping[str, Any]) -> bool:
    """True if the table is the one that was published, or another one with the product's row."""
    content, record = storage.read(TABLE), read_product_record(storage)
    if content is None or not content.startswith(PARQUET_MAGIC) or not content.endswith(PARQUET_MAGIC):
        return False
    if record is not None and hashlib.sha256(content).hexdigest() == record.table:
        return True
    # A slow import, made if somebody wrote the table in the meantime, or an older version, which recorded nothing.
    from tilewright.tasks.inventory.table import read_rows  # noqa: PLC0415

    return any(row.get("id") == item["id"] for row in read_rows(content) or ())


DOCUMENTS: dict[str, Callable[[Storage, Mapping[str, Any]], bool]] = {
    PLAN: _has_plan,
    STORE_FOLDER: _has_store,
    "report.json": _has_report,
    COLLECTION: _is_linked,
    TABLE: _is_in_table,
}
"""The documents of a product by key, and whether what is there is whole and of its Item."""
