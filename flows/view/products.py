"""The finished products of the page: opened once, each document bounded and checked, whoever made it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import obstore

from tilewright.catalogs.hrefs import display_href, scheme_of
from tilewright.flows.environment import storage_options
from tilewright.flows.view.files import PLAIN_FILE, Files
from tilewright.flows.view.layers import ViewedLayer, viewed_layers
from tilewright.tasks.inventory.finished import is_item
from tilewright.tasks.report.fields import mapping, text
from tilewright.tasks.report.format import instant
from tilewright.tasks.report.outlines.columns import cell
from tilewright.tasks.report.sections import period_text
from tilewright.tasks.storage.documents import read_object
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilewright.tasks.storage.storage import Storage

ITEM, REPORT, MANIFEST = "item.json", "report.json", "manifest.parquet"

READABLE = frozenset({"file", "s3", "http", "https"})
"""Schemes of what GDAL reads with the settings of this project."""

MOST_PRODUCTS, LARGEST_DOCUMENT = 24, 64 * 2**20

TABLE_TYPE = "application/vnd.apache.parquet"

NOT_SHAPES = frozenset({"manifest", "items"})
"""Keys of assets that are tables, and none of places on the ground."""

MOST_TABLES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewedProduct:
    """One product: its layers, the ``files`` of its tables of shapes, and ``notes`` on what is not shown.

    ``trusted``: the scenes that its plan names may be read.
    """

    storage: Storage
    report: Mapping[str, Any] = field(repr=False)
    layers: tuple[ViewedLayer, ...]
    tables: tuple[str, ...]
    notes: tuple[str, ...]
    trusted: bool

    def to_json(self) -> dict[str, Any]:
        """What the page is told of the product."""
        facts = {
            "model": text(mapping(self.report, "model"), "name"),
            "period": " ".join(period_text(self.report).split()),
            "made": instant(self.report.get("finished")),
            "attribution": text(self.report, "attribution"),
            "place": display_href(self.storage.uri),
        }
        return {
            "name": cell(text(self.report, "name")) or "unnamed",
            "facts": {name: value[:300] for name, value in facts.items()},
            "layers": [layer.to_json() for layer in self.layers],
            "tables": [cell(name.removesuffix(".parquet")) for name in self.tables],
            "notes": list(self.notes),
            "series": self.trusted,
        }


def open_products(outputs: Sequence[str], files: Files, *, trusted: bool) -> tuple[ViewedProduct, ...]:
    """The products in these folders and places, in their order.

    Raises StoreError for a place without a finished product, or with nothing that can be shown.
    """
    if len(outputs) > MOST_PRODUCTS:
        raise StoreError(f"{len(outputs)} products are too many for one page: give at most {MOST_PRODUCTS}.")
    return tuple(_open(output, files, trusted=trusted) for output in outputs)


def _open(output: str, files: Files, *, trusted: bool) -> ViewedProduct:
    if scheme_of(output) not in READABLE:
        raise StoreError(f"{output}: products are viewed in a folder, or at s3:// or http(s)://.")
    storage = open_storage(output, options=storage_options(output))
    item = bounded_document(storage, ITEM)
    if item is None or not is_item(item):
        raise StoreError(f"{output} holds no finished product: give the output of a finished run.")
    report = bounded_document(storage, REPORT) or {}
    layers, notes = viewed_layers(storage, report, files)
    tables = _tables(item)
    if not layers and not tables:
        raise StoreError(f"{output} has nothing to show: {' '.join(notes) or 'its report names no layer.'}")
    return ViewedProduct(
        storage=storage,
        report=report,
        layers=layers,
        tables=tables,
        notes=notes,
        trusted=trusted or storage.folder is not None,
    )


def bounded_document(storage: Storage, name: str) -> dict[str, Any] | None:
    """A JSON object of a product; None if there is none. Raises StoreError for one that is too large."""
    size = size_of(storage, name)
    if size is None:
        return None
    if size > LARGEST_DOCUMENT:
        raise StoreError(f"{storage.uri}/{name} has {size} bytes, which is no document of a product.")
    return read_object(storage, name)


def size_of(storage: Storage, name: str) -> int | None:
    """The bytes of a file directly in a product; None if there is none, or it is a link."""
    if storage.root is None:
        return None
    if storage.folder is not None:
        path = storage.folder / name
        return None if path.is_symlink() or not path.is_file() else path.stat().st_size
    try:
        return int(storage.call_with_retries(f"look at {name} in", partial(obstore.head, storage.root, name))["size"])
    except FileNotFoundError:
        return None


def _tables(item: Mapping[str, Any]) -> tuple[str, ...]:
    """The files of the tables of shapes, as the Item names them."""
    found = []
    for key, asset in item["assets"].items():
        name = asset["href"].removeprefix("./")
        if asset.get("type") == TABLE_TYPE and key not in NOT_SHAPES and PLAIN_FILE.fullmatch(name):
            found.append(name)
    return tuple(dict.fromkeys(found))[:MOST_TABLES]
