"""Items of a STAC API: its search is read page by page, within limits of size and time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import shapely

from tilewright.catalogs.errors import CatalogError, UnknownCollectionError
from tilewright.catalogs.fields import listing, mapping, text
from tilewright.catalogs.hrefs import resolve_href
from tilewright.catalogs.sources.fetch import (
    check_document,
    parse_json,
    quoted,
    send,
    texts_of,
    tls_options,
)
from tilewright.catalogs.sources.pages import SearchTime, distinct_features, next_link, read_linked
from tilewright.catalogs.sources.source import RawItem
from tilewright.catalogs.sources.static import static_items

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from datetime import datetime

    from pystac_client import ItemSearch
    from pystac_client.stac_api_io import StacApiIO
    from shapely.geometry.base import BaseGeometry

    from tilewright.catalogs.sources.source import Query, Source


# Earth Search runs in a function whose response is at most 6 MB; 100 items are about half of that.
PAGE_ITEMS = 100

SEARCH_SECONDS = 900.0

MOST_CORNERS = 500

MOST_COLLECTION_PAGES = 20

FIXED_HEADERS = frozenset(
    {
        "connection",
        "content-length",
        "cookie",
        "expect",
        "host",
        "proxy-authorization",
        "te",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that a link to the next page must not set: they say where a request ends and whom it is for."""


def api_items(source: Source, query: Query) -> Iterator[RawItem]:
    """The items that the API's search returns, in its order; those of a static catalog if the URL is one.

    Raises:
        CatalogError: the API cannot be reached, refuses, takes too long, or has none of the collections (the message
            names those it has).
    """
    time = SearchTime.of(source, SEARCH_SECONDS)
    landing = read_linked(source.href, source, time)
    searches = [mapping(link) for link in listing(landing.get("links")) if mapping(link).get("rel") == "search"]
    if not searches and "conformsTo" not in landing:
        yield from static_items(source, query)
        return
    collections = query.collections if source.collections else _supported_collections(source, query.collections, time)
    n_items, others = 0, set()
    pages = _result_pages(source, query, collections, _search_link(source, searches), time)
    for feature in distinct_features(pages, name=source.name, limit=_page_size(query)):
        theirs = text(feature.get("collection"))
        if theirs is not None and theirs not in {*query.collections, *collections}:
            # Some servers do not know the parameter and answer with all that they have.
            others.add(theirs)
            continue
        n_items += 1
        yield RawItem(item=feature, location=None)
    if n_items == 0 and others:
        given = ", ".join(sorted(others)[:30])
        raise CatalogError(f"{source.name} answered a search of {collections[0]} with items of {given} alone")
    if n_items == 0 and source.collections:
        # Raises if the API has none of them.
        _supported_collections(source, collections, time)


def _result_pages(
    source: Source, query: Query, collections: tuple[str, ...], link: tuple[str, str], time: SearchTime
) -> Iterator[Mapping[str, Any]]:
    from pystac_client import ItemSearch  # noqa: PLC0415  half a second of import that only its users pay
    from pystac_client.exceptions import APIError  # noqa: PLC0415

    href, method = link
    outline = shapely.geometry.mapping(_simplified(query.aoi))
    search = ItemSearch(
        url=href,
        method=method,
        collections=list(collections),
        intersects=outline,
        datetime=_interval(query.start, query.end),
        limit=_page_size(query),
        max_items=None,
    )
    try:
        yield from _pages(search, source, time)
    except APIError as error:
        _supported_collections(source, collections, time)
        raise CatalogError(f"{source.name} refused the search: {str(error)[:300]}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise CatalogError(f"{source.name} answered a search with something that is no item collection") from error


def _page_size(query: Query) -> int:
    return min(PAGE_ITEMS, query.limit_items + 1)


def _pages(search: ItemSearch, source: Source, time: SearchTime) -> Iterator[Mapping[str, Any]]:
    """The pages of a search, also those after an empty one, which the library would take for the end."""
    from pystac import Link  # noqa: PLC0415

    parameters = search.get_parameters()
    stac_io = _bounded_io(source, time, own=texts_of(parameters))
    page = stac_io.read_json(search.url, method=search.method, parameters=parameters)
    followed: Mapping[str, Any] | None = None
    while True:
        yield page
        following = next_link(page)
        if following is None or (following == followed and not listing(page.get("features"))):
            return
        followed = following
        page = stac_io.read_json(Link.from_dict(dict(following)), parameters=parameters)


def _bounded_io(source: Source, time: SearchTime, *, own: Collection[str]) -> StacApiIO:
    """The network access of pystac-client, with our limits and retries, and with each href checked.

    Of what is sent, `own` are the values that are no secrets of a link.
    """
    import requests  # noqa: PLC0415
    from pystac_client.exceptions import APIError  # noqa: PLC0415
    from pystac_client.stac_api_io import StacApiIO  # noqa: PLC0415

    class BoundedIO(StacApiIO):
        def request(
            self,
            href: str,
            method: str | None = None,
            headers: dict[str, str] | None = None,
            parameters: dict[str, Any] | None = None,
        ) -> str:
            check_document(href, origin=source.href, hosts=source.hosts)
            method = (method or "GET").upper()
            if method not in {"GET", "POST"}:
                raise CatalogError(f"{source.name} asks for a page by {method[:20]}: only GET and POST are sent")
            headers = {name: value for name, value in (headers or {}).items() if name.lower() not in FIXED_HEADERS}
            seconds = time.document_s()
            body = {"json": parameters} if method == "POST" else {"params": parameters or {}}
            request = requests.Request(method, href, headers=headers, **body)
            more = {"origin": source.href, "hosts": source.hosts, "seconds": seconds, **tls_options(source.s3)}
            status, answer = send(request, **more)
            if not 200 <= status < 300:
                raise APIError(f"HTTP {status}: {quoted(answer, request, known=own)}")
            return answer.decode("utf-8", errors="replace")

        def read_json(self, source: Any, *given: Any, **more: Any) -> dict[str, Any]:
            shown = source if isinstance(source, str) else str(source.href)
            return parse_json(self.read_text(source, *given, **more).encode(), shown)

    return BoundedIO()


def _search_link(source: Source, links: list[Mapping[str, Any]]) -> tuple[str, str]:
    """(href, method) of the search: POST if the API offers it or names no method, else GET."""
    methods = {str(link.get("method", "GET")).upper(): text(link.get("href")) for link in links}
    method = "POST" if "POST" in methods or not methods else "GET"
    base = source.href.split("?", 1)[0].rstrip("/") + "/"
    href = resolve_href(methods.get(method) or "search", base)
    # The library opens what is no URL as a file.
    return check_document(href, origin=source.href, hosts=source.hosts), method


def _supported_collections(source: Source, collections: tuple[str, ...], time: SearchTime) -> tuple[str, ...]:
    """The first of the collections if the API has it or lists none, else all others that the API has.

    Raises:
        CatalogError: the API has none of them.
    """
    available = _collection_names(source, time)
    if available is None:
        return collections[:1]
    if collections[0] in available:
        return collections[:1]
    found = tuple(name for name in collections if name in available)
    if found:
        return found
    named = ", ".join(sorted(available)[:30]) or "none"
    raise UnknownCollectionError(f"{source.name} has no collection {collections[0]}; it has: {named}")


def _collection_names(source: Source, time: SearchTime) -> set[str] | None:
    """Names of the API's collections, or None if it does not list them."""
    href: str | None = source.href.split("?", 1)[0].rstrip("/") + "/collections"
    names: set[str] = set()
    for _ in range(MOST_COLLECTION_PAGES):
        if href is None:
            break
        try:
            page = read_linked(href, source, time)
        except CatalogError:
            return names or None
        names |= {name for entry in listing(page.get("collections")) if (name := text(mapping(entry).get("id")))}
        following = next_link(page)
        href = None if following is None else text(following.get("href"))
    return names


def _interval(start: datetime | None, end: datetime | None) -> str | None:
    if start is None and end is None:
        return None
    return f"{_bound(start)}/{_bound(end)}"


def _bound(moment: datetime | None) -> str:
    return ".." if moment is None else moment.isoformat().replace("+00:00", "Z")


def _simplified(aoi: BaseGeometry) -> BaseGeometry:
    """A geometry of few corners that covers the area: itself, its hulls, or its boxes. The search filters again."""
    if shapely.get_num_coordinates(aoi) <= MOST_CORNERS:
        return aoi
    parts = list(getattr(aoi, "geoms", [aoi]))
    hulls = shapely.union_all([part.convex_hull for part in parts])
    if shapely.get_num_coordinates(hulls) <= MOST_CORNERS:
        return hulls
    boxes = shapely.union_all([part.envelope for part in parts])
    return boxes if shapely.get_num_coordinates(boxes) <= MOST_CORNERS else aoi.envelope
