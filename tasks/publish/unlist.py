"""Takes a product out of what lists it before anything of it changes, and repairs what lists it.

A Collection and a table may list other products too; what lists them stays. A product is listed after its Item is
there, and gone from the lists before its Item goes: nothing leads to what is not there. From the first of these writes
on it is an unfinished product, and whoever goes on with it finishes this first.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pystac

from tilewright.catalogs.publish.collection import update_collection, with_summaries
from tilewright.tasks.inventory.finished import is_item
from tilewright.tasks.inventory.listing import list_top
from tilewright.tasks.inventory.record import COLLECTION, PART_ITEM, TABLE, remove_recorded
from tilewright.tasks.inventory.table import read_rows, table_bytes
from tilewright.tasks.storage.documents import json_object, read_object
from tilewright.tasks.storage.fence import ITEM
from tilewright.tasks.storage.storage import json_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilewright.tasks.inventory.record import ProductRecord
    from tilewright.tasks.storage.storage import Storage


def unlist(storage: Storage, record: ProductRecord) -> None:
    """Remove a product's links in the Collection, its rows in the table and its Items, in this order.

    A table or a Collection that lists nothing else is removed, and so is one that is damaged: both are written again
    when the product is published. Repeated calls are harmless. Raises StorageError if storage refuses.
    """
    _drop_links(storage, record)
    _drop_rows(storage, record)
    remove_recorded(storage, record, [ITEM])
    remove_recorded(storage, record, sorted(name for name in record.files if PART_ITEM.fullmatch(name)))


def other_rows(storage: Storage, record: ProductRecord, content: bytes) -> list[dict[str, Any]]:
    """The Items of other products in a table; from their own files where the table is damaged."""
    rows = read_rows(content)
    if rows is None:
        rows = list(other_items(storage, record).values())
    return [row for row in rows if row.get("id") not in record.ids]


def other_items(storage: Storage, record: ProductRecord) -> dict[str, dict[str, Any]]:
    """The whole Items of other products directly in the output, by file name; no links, pipes or unreadable files."""
    names = [name for name in list_top(storage) if name.endswith(".json") and name not in record.files]
    # Object stores have no keys with control characters or half letters, which file systems allow.
    found = {name: read_object(storage, name) for name in names if name.isprintable()}
    return {
        name: item
        for name, item in found.items()
        if item is not None and is_item(item) and item["id"] not in record.ids and _is_listable(item, f"./{name}")
    }


def _is_listable(item: Mapping[str, Any], href: str) -> bool:
    """True if a Collection and a table can list an Item; whoever wrote its file may have written anything."""
    try:
        update_collection(None, pystac.Item.from_dict(dict(item)), item_href=href)
        table_bytes([item])
    except Exception:
        # Readers of STAC and writers of Parquet raise whatever the damage leads them to.
        return False
    return True


def other_links(collection: Mapping[str, Any], record: ProductRecord) -> list[dict[str, Any]]:
    """The links of a Collection without those to a product's Items."""
    links = collection.get("links")
    kept = [link for link in (links if isinstance(links, list) else ()) if isinstance(link, dict)]
    return [link for link in kept if link.get("rel") != "item" or not _is_ours(link, record)]


def collection_with(storage: Storage, record: ProductRecord, items: Mapping[str, pystac.Item]) -> dict[str, Any]:
    """The Collection with a product's Items, by file name, added to those of other products.

    One that is damaged is made anew, with the other products whose Items are in the output.
    """
    existing = read_object(storage, COLLECTION)
    if existing is not None:
        try:
            kept = other_links(existing, record)
            linked = _linked({**existing, "links": kept}, items)
            known = _properties(storage, record, kept)
            ours = [item.properties for item in items.values()]
            return linked if known is None else with_summaries(linked, [*known, *ours])
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, AssertionError):
            # Whatever stands in its place, or a Collection of another version.
            pass
    others = {name: pystac.Item.from_dict(plain) for name, plain in other_items(storage, record).items()}
    return _linked(None, {**others, **items})


def _linked(collection: Mapping[str, Any] | None, items: Mapping[str, pystac.Item]) -> dict[str, Any]:
    for name, item in items.items():
        collection = update_collection(collection, item, item_href=f"./{name}")
    assert collection is not None, "a product has an Item"
    return dict(collection)


def _drop_rows(storage: Storage, record: ProductRecord) -> None:
    content = storage.read(TABLE)
    if content is None:
        return
    rows = read_rows(content)
    kept = other_rows(storage, record, content)
    if not kept:
        remove_recorded(storage, record, [TABLE])
    elif rows is None or len(kept) < len(rows):
        storage.write(TABLE, table_bytes(kept))


def _drop_links(storage: Storage, record: ProductRecord) -> None:
    content = storage.read(COLLECTION)
    if content is None:
        return
    collection = json_object(content)
    kept = other_links(collection, record) if collection is not None else []
    if collection is None or not any(link.get("rel") == "item" for link in kept):
        remove_recorded(storage, record, [COLLECTION])
        return
    left = {**collection, "links": kept}
    if isinstance(known_assets := left.pop("assets", None), dict):
        others = {key: asset for key, asset in known_assets.items() if not _is_own_file(asset, record)}
        left |= {"assets": others} if others else {}
    with suppress(KeyError, TypeError, ValueError, AttributeError):
        # Whatever a damaged Collection or table leads to: its links alone are changed then.
        known = _properties(storage, record, kept)
        left = left if known is None else with_summaries(left, known)
    changed = json_bytes(left)
    if changed != content:
        storage.write(COLLECTION, changed)


def _properties(
    storage: Storage, record: ProductRecord, links: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]] | None:
    """The properties of the Items behind a Collection's links, from the table; None where it lacks one of them."""
    content = storage.read(TABLE)
    rows = [] if content is None else other_rows(storage, record, content)
    known = {row["id"]: row["properties"] for row in rows if isinstance(row.get("properties"), dict)}
    titles = [link.get("title") for link in links if link.get("rel") == "item"]
    return [known[title] for title in titles] if all(title in known for title in titles) else None


def _is_ours(link: Mapping[str, Any], record: ProductRecord) -> bool:
    name = str(link.get("href")).removeprefix("./")
    return name in record.files or ("/" not in name and link.get("title") in record.ids)


def _is_own_file(asset: object, record: ProductRecord) -> bool:
    return isinstance(asset, dict) and str(asset.get("href")).removeprefix("./") in record.files
