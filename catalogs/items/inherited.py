"""What a collection says of its items' assets, for those items that do not say it themselves."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.fields import listing, mapping, text
from tilewright.catalogs.hrefs import resolve_href
from tilewright.catalogs.network.check import address_scope
from tilewright.catalogs.sensors import BANDS, canonical_collection
from tilewright.catalogs.sources import fetch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilewright.catalogs.sources.source import RawItem, Source


BAND_LISTS = ("bands", "raster:bands", "eo:bands")
"""Fields that hold an entry for each band of a file."""

ITS_OWN = frozenset({"href", "title", "description", "alternate"})
"""Fields of an asset that are of one file alone."""


def with_item_assets(item: Mapping[str, Any], collection: Mapping[str, Any]) -> Mapping[str, Any]:
    """The item with the fields that its collection's `item_assets` state and its own assets do not.

    Lists of bands are joined entry by entry where they are equally long; else the item's stands. An asset that the item
    does not have is not made up. Source: STAC 1.1, collection-spec, `item_assets`; before that the item-assets
    extension 1.0.
    """
    described, assets = mapping(collection.get("item_assets")), mapping(item.get("assets"))
    joined = {
        key: _joined(asset, mapping(described.get(key))) if isinstance(asset, dict) else asset
        for key, asset in assets.items()
    }
    return {**item, "assets": joined} if described else item


def _joined(asset: Mapping[str, Any], described: Mapping[str, Any]) -> dict[str, Any]:
    """An asset with the fields of its description beneath its own."""
    beneath = {name: value for name, value in described.items() if name not in ITS_OWN}
    joined = {**beneath, **{name: value for name, value in asset.items() if value is not None}}
    for name in BAND_LISTS:
        own, general = listing(asset.get(name)), listing(described.get(name))
        if own and len(own) == len(general):
            joined[name] = [{**mapping(below), **mapping(above)} for above, below in zip(own, general, strict=True)]
    return joined


@dataclass(slots=True, kw_only=True)
class Collections:
    """The collections of a source that its items belong to, each read once when the first of its items is asked.

    All of them together take no more time and bytes than one document may: an item names what collection it likes.
    `unread` are those that could not be read, with the reason.
    """

    source: Source
    unread: dict[str, str] = field(default_factory=dict)
    _read: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    _seconds: float = field(default_factory=lambda: fetch.DOCUMENT_SECONDS)
    _bytes: int = fetch.DOCUMENT_BYTES

    def complete(self, raw: RawItem) -> Mapping[str, Any]:
        """The item with what its collection says of its assets.

        Collections with a table in `sensors` are not asked, nor is the network for the items of a local source.
        """
        name = text(raw.item.get("collection"))
        if name is None or self._is_known(name):
            return raw.item
        if name not in self._read:
            self._read[name] = self._document(raw, name)
        return with_item_assets(raw.item, self._read[name])

    def _is_known(self, name: str) -> bool:
        ours = next((ours for ours, theirs in self.source.collections.items() if name in theirs), name)
        return canonical_collection(ours) in BANDS

    def _document(self, raw: RawItem, name: str) -> Mapping[str, Any]:
        """The collection's document; empty if the item leads to none or it cannot be read.

        An item of an API that has no such link is of the API's own collection. Source: OGC API - Features, 7.14.
        """
        links = [mapping(link) for link in listing(raw.item.get("links"))]
        found = (text(link.get("href")) for rel in ("collection", "parent") for link in links if link.get("rel") == rel)
        href = next((href for href in found if href), None)
        if href is None and self.source.kind == "api":
            href = f"{self.source.href.rstrip('/')}/collections/{quote(name, safe='')}"
        if href is None:
            return {}
        try:
            href = resolve_href(href, raw.location or self.source.href)
            if self.source.local and address_scope(href) != "file":
                self.unread[name] = (
                    f"{href.partition('?')[0]} is not asked for a source on a disk: save it beside the items and link "
                    "to it there, or state scale, offset and nodata in the source's bands"
                )
                return {}
            document = self._parsed(href)
        except CatalogError as error:
            self.unread[name] = str(error)
            return {}
        return {"item_assets": document.get("item_assets")}

    def _parsed(self, href: str) -> Mapping[str, Any]:
        """The document at an href. Raises CatalogError, also if those before it took all the time or bytes."""
        if self._seconds <= 0 or self._bytes <= 0:
            raise CatalogError("not asked for, since the collections before it took too long or were too large")
        began = time.monotonic()
        try:
            content = fetch.read_bytes(
                href, origin=self.source.href, s3=self.source.s3, limit=self._bytes, seconds=self._seconds
            )
        finally:
            self._seconds -= time.monotonic() - began
        self._bytes -= len(content)
        return fetch.parse_json(content, href)
