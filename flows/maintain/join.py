"""Products of a folder joined by STAC: one Collection that links all of a kind, and a Catalog over several kinds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pystac

from tilewright.catalogs.publish.collection import update_collection
from tilewright.catalogs.publish.validate import InvalidStacError
from tilewright.flows.maintain.status import products_in
from tilewright.tasks.inventory.finished import read_item
from tilewright.tasks.storage.documents import read_object
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.storage import open_storage

if TYPE_CHECKING:
    from tilewright.tasks.storage.storage import Storage

CATALOG = "catalog.json"

COLLECTION = "collection.json"

TITLE = "Products of Tilewright"
"""The id of the Catalog is ``tilewright-products``; by it a Catalog of others is told, which is never written over."""


def join_products(folder: str) -> dict[str, Any]:
    """Write a Collection over the finished products that lie in a folder, or a Catalog over one for each kind of them.

    Written anew from what lies there, so that a second call takes new products in. Returns what was written: ``file``,
    ``collections`` (id to the names of its products), and ``left_out``, the folders of products that are not finished.

    Raises StoreError where there is no product, and for files of that name that are of others.
    """
    home = Path(folder)
    outputs = products_in(folder)
    if outputs == [folder]:
        raise StoreError(f"{folder} is no folder of products: give the one in which several lie.")
    items: dict[str, dict[str, pystac.Item]] = {}
    left_out: list[str] = []
    for output in outputs:
        name = Path(output).name
        found = read_item(open_storage(output))
        if found is None:
            left_out.append(name)
            continue
        item = pystac.Item.from_dict(found, migrate=False)
        items.setdefault(str(item.collection_id), {})[name] = item
    if not items:
        raise StoreError(f"{folder} holds no finished product: run their jobs to the end first.")
    storage, one = open_storage(str(home)), len(items) == 1
    # A number tells ids apart that differ in what no file name should have.
    plain = [re.sub(r"[^A-Za-z0-9._-]+", "-", kind) for kind in items]
    told = [f"{name}-{plain[:at].count(name)}" if name in plain[:at] else name for at, name in enumerate(plain)]
    names = {kind: COLLECTION if one else f"{name}.json" for kind, name in zip(items, told, strict=True)}
    for name in (*names.values(), CATALOG):
        _check_own(storage, name, kinds={*items})
    for kind, products in items.items():
        storage.write_json(names[kind], _collection(products, root=None if one else f"./{CATALOG}"))
    if not one:
        storage.write_json(CATALOG, _catalog(names))
    return {
        "file": str(home / (COLLECTION if one else CATALOG)),
        "collections": {kind: sorted(products) for kind, products in sorted(items.items())},
        "left_out": left_out,
    }


def _check_own(storage: Storage, name: str, *, kinds: set[str]) -> None:
    """Refuse to write over a document that is none of ours. Raises StoreError."""
    if storage.read(name) is None:
        return
    known = {*kinds, "tilewright-products"}
    if (read_object(storage, name) or {}).get("id") not in known:
        raise StoreError(f"{storage.uri}/{name} is there and is none of these products': move it elsewhere.")


def _collection(products: dict[str, pystac.Item], *, root: str | None) -> dict[str, Any]:
    """The Collection of the Items of products, by the names of their folders."""
    found: dict[str, Any] | None = None
    for name, item in sorted(products.items()):
        try:
            found = update_collection(found, item, item_href=f"./{name}/item.json")
        except InvalidStacError as error:
            raise StoreError(f"{name}: {error}.") from error
    assert found is not None, "there is a product of each kind"
    if root is not None:
        others = [link for link in found["links"] if link["rel"] not in {"root", "parent"}]
        found["links"] = [{"rel": rel, "href": root, "type": "application/json"} for rel in ("root", "parent")] + others
    return found


def _catalog(names: dict[str, str]) -> dict[str, Any]:
    """The Catalog over the Collections of several kinds."""
    children = [
        {"rel": "child", "href": f"./{name}", "type": "application/json", "title": kind}
        for kind, name in sorted(names.items())
    ]
    return {
        "type": "Catalog",
        "id": "tilewright-products",
        "stac_version": "1.1.0",
        "title": TITLE,
        "description": f"{TITLE}, by the models that made them.",
        "links": [{"rel": "root", "href": f"./{CATALOG}", "type": "application/json"}, *children],
    }
