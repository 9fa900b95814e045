"""Pages of a search: each item once, and an end where the catalog's own paging has none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.fields import integer, listing, mapping, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


IDLE_PAGES = 20
"""The most pages without a new item in a row; some servers give a few that their own filter has emptied."""


def distinct_features(pages: Iterable[Mapping[str, Any]], *, name: str, limit: int) -> Iterator[Mapping[str, Any]]:
    """The features of the pages, each once. `limit` is the number of items that was asked for per page.

    A page that brings items and none that is new shows that the paging goes round. The answer counts as complete if the
    server's own number of matches has been reached, or if no page was full: a server that has more fills its pages.

    Raises:
        CatalogError: the paging goes round and the answer cannot be known to be complete, or pages without items go on.
    """
    seen: set[str] = set()
    idle, fullest, matched = 0, 0, None
    for page in pages:
        features = [feature for feature in listing(page.get("features")) if mapping(feature)]
        fullest, matched = max(fullest, len(features)), n_matched(page) if matched is None else matched
        fresh = {key: feature for feature in features if (key := _identity(feature)) not in seen}
        yield from fresh.values()
        seen |= set(fresh)
        if features and not fresh:
            if seen and (len(seen) == matched or (matched is None and fullest < limit)):
                return
            raise CatalogError(
                f"the paging of {name} goes round: a page holds the same items as those before it, and "
                f"{len(seen)} of {'an unknown number' if matched is None else matched} were given. Take a smaller area "
                "or period, which fits on one page, or tell those who run the catalog"
            )
        idle = 0 if fresh else idle + 1
        if idle and matched is not None and len(seen) >= matched:
            return
        if idle > IDLE_PAGES:
            raise CatalogError(
                f"the paging of {name} has no end: {IDLE_PAGES} pages in a row hold no item. "
                "Take a smaller area or period, or tell those who run the catalog"
            )


def n_matched(page: Mapping[str, Any]) -> int | None:
    """How many items match in all, as the server says; None if it does not."""
    stated = page.get("numberMatched", mapping(page.get("context")).get("matched"))
    return integer(stated)


def _identity(feature: Mapping[str, Any]) -> str:
    """The item's collection and id; its whole content without an id."""
    name = text(feature.get("id"))
    if name is None:
        return json.dumps(feature, sort_keys=True, default=str)
    return f"{feature.get('collection')}/{name}"


def next_link(page: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The page's link to the next one, None on the last page; a link that leads nowhere is none."""
    links = [mapping(link) for link in listing(page.get("links"))]
    return next((link for link in links if link.get("rel") == "next" and text(link.get("href"))), None)
