"""Items of a static catalog: its tree of documents is read level by level, without branches outside the query."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from shapely.geometry import box

from tilewright.catalogs.errors import CatalogError, UnknownCollectionError
from tilewright.catalogs.fields import instant, last_instant, listing, mapping, number, text
from tilewright.catalogs.footprint import longitudes_of
from tilewright.catalogs.hrefs import resolve_href, scheme_of
from tilewright.catalogs.sources.pages import SearchTime, n_matched, next_link, read_linked
from tilewright.catalogs.sources.product import is_product, is_product_collection, product_items
from tilewright.catalogs.sources.source import RawItem

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

    from tilewright.catalogs.sources.source import Query, Source


AT_ONCE = 8

MOST_DOCUMENTS = 200_000

SEARCH_SECONDS = 3600.0
"""Seconds for the tree of a static catalog, which for a large one on a slow server is many documents."""


def static_items(source: Source, query: Query) -> Iterator[RawItem]:
    """Items of the wanted collections in the tree below the source's document, in the order of its links.

    A collection whose extent lies outside the area or the period is skipped; single items are not filtered.

    Raises:
        CatalogError: a document cannot be read or is no STAC; there is no wanted collection (the message names others).
    """
    seen: set[str] = set()
    found: set[str] = set()
    time = SearchTime.of(source, SEARCH_SECONDS)
    level: list[tuple[str, str | None]] = [(source.href, None)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while level:
            fresh = list(dict.fromkeys(entry for entry in level if entry[0] not in seen))
            seen.update(href for href, _ in fresh)
            if len(seen) > MOST_DOCUMENTS:
                raise CatalogError(f"{source.name} holds more than {MOST_DOCUMENTS} documents; give a smaller catalog")
            level = []
            for (href, parent), document in _documents(fresh, source, time, pool):
                if href == source.href and _is_of_products(document, query):
                    yield from product_items(source, query, (href, document))
                    return
                yield from _items_of(document, href, parent, query, found)
                level += _next_level(document, href, parent, query, found)
    if not found & set(query.collections):
        available = ", ".join(sorted(found)) or "none"
        raise UnknownCollectionError(f"{source.name} has no collection {query.collections[0]}; it has: {available}")


def _is_of_products(document: Mapping[str, Any], query: Query) -> bool:
    """True for a product's Item or Collection, unless the query asks for its collection by its own name."""
    own = text(document.get("id" if document.get("type") == "Collection" else "collection"))
    return own not in query.collections and (is_product(document) or is_product_collection(document))


def _documents(
    entries: Sequence[tuple[str, str | None]], source: Source, time: SearchTime, pool: ThreadPoolExecutor
) -> Iterator[tuple[tuple[str, str | None], Mapping[str, Any]]]:
    """Each entry with its document, of which few are held at a time. A local disk is read sequentially."""
    if source.local:
        yield from ((entry, read_linked(entry[0], source, time)) for entry in entries)
        return
    asked: deque[tuple[tuple[str, str | None], Future[dict[str, Any]]]] = deque()
    try:
        for entry in entries:
            asked.append((entry, pool.submit(read_linked, entry[0], source, time)))
            if len(asked) > AT_ONCE:
                oldest, document = asked.popleft()
                yield oldest, document.result()
        yield from ((entry, document.result()) for entry, document in asked)
    finally:
        for _, document in asked:
            document.cancel()


def _items_of(
    document: Mapping[str, Any], href: str, parent: str | None, query: Query, found: set[str]
) -> Iterator[RawItem]:
    kind = document.get("type")
    if kind == "Feature":
        features: Sequence[Any] = (document,)
    elif kind == "FeatureCollection":
        features = [feature for feature in listing(document.get("features")) if isinstance(feature, Mapping)]
    elif kind in ("Catalog", "Collection") or "links" in document:
        return
    else:
        raise CatalogError(f"{href} is no STAC catalog, collection or item")
    for feature in features:
        collection = text(feature.get("collection")) or parent
        if collection is not None:
            found.add(collection)
        if collection is None or collection in query.collections:
            # The search leaves out by name what may be meant and says no collection.
            yield RawItem(item={**feature, "collection": collection}, location=href)


def _next_page(document: Mapping[str, Any], href: str, parent: str | None) -> list[tuple[str, str | None]]:
    """(href, collection) of the page after a page of items; none after an empty or the last one.

    Raises:
        CatalogError: the next page cannot be had by its address alone.
    """
    following, n_features = next_link(document), len(listing(document.get("features")))
    matched = n_matched(document)
    if following is None or not n_features or (matched is not None and n_features >= matched):
        return []
    if str(following.get("method", "GET")).upper() != "GET":
        raise CatalogError(f"{href} is one page of a search that goes on: give the API itself, or all of its items")
    return [(resolve_href(str(following["href"]), href), parent)]


def _next_level(
    document: Mapping[str, Any], href: str, parent: str | None, query: Query, found: set[str]
) -> list[tuple[str, str | None]]:
    """(href, collection) of each link to follow from a document."""
    if document.get("type") == "Feature":
        return []
    if document.get("type") == "FeatureCollection":
        return _next_page(document, href, parent)
    name = text(document.get("id")) if document.get("type") == "Collection" or "extent" in document else None
    if name is not None:
        found.add(name)
        if name in query.collections and not _may_match(mapping(document.get("extent")), query):
            return []
    wanted = {"child", "item", "items"} if name is None or name in query.collections else {"child"}
    links = [mapping(link) for link in listing(document.get("links"))]
    hrefs = [text(link.get("href")) for link in links if link.get("rel") in wanted]
    return [(_without_fragment(resolve_href(link, href)), name) for link in hrefs if link]


def _without_fragment(href: str) -> str:
    return href.split("#", 1)[0] if scheme_of(href) != "file" else href


def _may_match(extent: Mapping[str, Any], query: Query) -> bool:
    """False if a collection's extent excludes every item of the query."""
    boxes = listing(mapping(extent.get("spatial")).get("bbox"))
    if boxes and not any(_bbox_intersects(entry, query.aoi) for entry in boxes):
        return False
    intervals = listing(mapping(extent.get("temporal")).get("interval"))
    return not intervals or any(_interval_overlaps(entry, query) for entry in intervals)


def _bbox_intersects(entry: Any, aoi: BaseGeometry) -> bool:
    numbers = [value for value in map(number, listing(entry)) if value is not None]
    if len(numbers) not in {4, 6} or not all(map(math.isfinite, numbers)):
        return True
    minx, miny, maxx, maxy = numbers if len(numbers) == 4 else (*numbers[:2], *numbers[3:5])
    return any(box(west, miny, east, maxy).intersects(aoi) for west, east in longitudes_of(minx, maxx))


def _interval_overlaps(entry: Any, query: Query) -> bool:
    first, last = (*listing(entry), None, None)[:2]
    start, end = instant(first), last_instant(last)
    return not ((query.end and start and start > query.end) or (query.start and end and end < query.start))
