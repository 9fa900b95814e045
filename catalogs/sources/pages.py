"""Pages of a search: each item once, and an end where the catalog's own paging or its slowness has none."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.fields import integer, listing, mapping, text
from tilewright.catalogs.sources import fetch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tilewright.catalogs.sources.source import Source


IDLE_PAGES = 20
"""The most pages without a new item in a row; some servers give a few that their own filter has emptied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchTime:
    """The time that a search of a source may take in all, from the moment at which this was made."""

    name: str
    seconds: float
    until: float

    @classmethod
    def of(cls, source: Source, seconds: float) -> SearchTime:
        """The time for a search that begins now."""
        return cls(name=source.name, seconds=seconds, until=time.monotonic() + seconds)

    def left_s(self) -> float:
        """The seconds that are left. Raises CatalogError when there are none."""
        left = self.until - time.monotonic()
        if left <= 0:
            raise CatalogError(
                f"{self.name} took longer than {self.seconds:g} s to answer a search: take a smaller area or period, "
                "or a smaller catalog"
            )
        return left

    def document_s(self) -> float:
        """The seconds for one document. Raises CatalogError when no time is left."""
        return min(fetch.DOCUMENT_SECONDS, self.left_s())


def read_linked(href: str, source: Source, time: SearchTime) -> dict[str, Any]:
    """The JSON object at an href to which a source leads, within the time of a search.

    Raises:
        CatalogError: as `read_json`, or no time is left.
    """
    seconds = time.document_s()
    return fetch.read_json(href, origin=source.href, hosts=source.hosts, s3=source.s3, seconds=seconds)


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
