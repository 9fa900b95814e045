"""Finished products of Tilewright as items whose layers are bands: one, or those of a Collection or a folder."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.fields import listing, mapping, text
from tilewright.catalogs.hrefs import display_href, local_path, resolve_href, scheme_of
from tilewright.catalogs.sources import fetch
from tilewright.catalogs.sources.pages import SearchTime, read_linked
from tilewright.catalogs.sources.source import RawItem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tilewright.catalogs.s3 import S3Settings
    from tilewright.catalogs.sources.source import Query, Source


ITEM, STATE = "item.json", ".tilewright"
"""The Item of a product, written last of all, and the folder of what its runs know."""

KINDS = frozenset({"data", "places"})
"""Keys of assets of which a product has one: its store, or the table of a job over places."""

PART = re.compile(r"item_r\d+c\d+\.json")
"""The Items of a product whose layers are cut into several files."""

COG, VRT, TABLE = "image/tiff", "application/xml", "application/vnd.apache.parquet"

IDS = "int32"
"""The type of layers of ids, and of no others."""

NO_BAND = "tw:no_band"
"""The field of an asset, as `product_item` gives it, with the reason why nothing can be read from it as a band."""

NO_BANDS = {
    "ids": "it is a layer of ids, which name objects and measure nothing: take the class layer of the product",
    "table": "it is a table, and bands are rasters: take a layer of the product",
    "observations": "it is kept in data.zarr alone, and bands are read from the product's COGs",
}

SEARCH_SECONDS = 900.0


def is_product(item: Mapping[str, Any]) -> bool:
    """True for the Item of a product or of a part of one."""
    properties, assets = mapping(item.get("properties")), mapping(item.get("assets"))
    expression = mapping(properties.get("processing:expression"))
    software = mapping(properties.get("processing:software"))
    return (
        item.get("type") == "Feature"
        and expression.get("format") == "stac-mlm"
        and "tilewright" in software
        and ("plan" in assets or any(text(mapping(asset).get("type")) for asset in assets.values()))
    )


def is_product_collection(document: Mapping[str, Any]) -> bool:
    """True for the Collection of products of one model."""
    described = mapping(document.get("item_assets"))
    return document.get("type") == "Collection" and "plan" in described and bool(KINDS & described.keys())


def product_items(source: Source, query: Query, root: tuple[str, Mapping[str, Any]] | None = None) -> Iterator[RawItem]:
    """The items of the products at a source, as those of the collection that is asked for.

    `root`: the href of a document that was read, and the document: a product's Item or Collection. Without it the
    source leads to one of these, or to a folder of products, of which those that are not finished are left out by name.

    Raises:
        CatalogError: there is no finished product.
    """
    if source.promised is not None:
        yield _raw(source.promised, source.href, query)
        return
    time = SearchTime.of(source, SEARCH_SECONDS)
    if root is None and not source.href.endswith(".json"):
        yield from _folder_items(source, query, time)
        return
    href, document = root or (source.href, _document(source.href, source, time))
    yield from _below(href, document, source, query, time)


def product_item(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """The Item of a product in the form of a scene's: its layers are its assets, each with its bands.

    What a satellite's scene states of itself is left out: the product was made of many.

    Raises:
        CatalogError: none of its layers is a raster that can be read.
    """
    properties, assets = mapping(item.get("properties")), mapping(item.get("assets"))
    found = {key: _as_band(key, mapping(asset)) for key, asset in assets.items()}
    bands = {key: asset for key, asset in found.items() if asset}
    rasters = [key for key, asset in assets.items() if _media(mapping(asset)).startswith((COG, VRT))]
    if "places" in assets and "data" not in assets:
        raise CatalogError("it is a table of places, not a map: nothing in it can be a band")
    if not any(key for key in rasters if _has_bands(mapping(assets[key]))):
        raise CatalogError("no layer of it is a COG, so that it has no band: run its job again, and take its layers")
    kept = ("datetime", "start_datetime", "end_datetime", "tw:simulated", "gsd")
    stated = {key: value for key, value in properties.items() if key in kept or key.startswith("proj:")}
    if stated.get("start_datetime"):
        # It is the beginning of the period, and the product stands for all of that.
        stated["datetime"] = None
    observations = {"href": "./data.zarr", NO_BAND: NO_BANDS["observations"], "bands": [{"name": "observations"}]}
    return {**item, "properties": stated, "links": [], "assets": {"observations": observations, **bands}}


def _as_band(key: str, asset: Mapping[str, Any]) -> dict[str, Any]:
    """The asset of a layer with its bands, or of a table with the reason why it is none; empty for other files."""
    media, href = _media(asset), asset.get("href")
    if media == TABLE and "data" in listing(asset.get("roles")):
        return {"href": href, NO_BAND: NO_BANDS["table"], "bands": [{"name": key}]}
    # The VRT over a layer's parts is none: the parts have Items of their own.
    if not media.startswith(COG) or not _has_bands(asset):
        return {}
    older = listing(asset.get("raster:bands"))
    classes = bool(listing(asset.get("classification:classes")))
    bands = []
    for position, given in enumerate(listing(asset.get("bands"))):
        band = mapping(given)
        numbers = {**(mapping(older[position]) if position < len(older) else {}), **band}
        is_class = classes or bool(listing(band.get("classification:classes")))
        bands.append(
            {
                "name": text(band.get("name")) or key,
                "data_type": numbers.get("data_type"),
                "nodata": numbers.get("nodata"),
                "unit": "class" if is_class else numbers.get("unit"),
                "raster:scale": numbers.get("raster:scale", numbers.get("scale", 1.0)),
                "raster:offset": numbers.get("raster:offset", numbers.get("offset", 0.0)),
            }
        )
    ids = {NO_BAND: NO_BANDS["ids"]} if any(band["data_type"] == IDS for band in bands) and not classes else {}
    checksum = {"file:checksum": asset["file:checksum"]} if "file:checksum" in asset else {}
    return {"href": href, "type": COG, "roles": ["data"], "bands": bands, **checksum, **ids}


def _media(asset: Mapping[str, Any]) -> str:
    return (text(asset.get("type")) or "").lower()


def _has_bands(asset: Mapping[str, Any]) -> bool:
    return any("data_type" in mapping(band) for band in listing(asset.get("bands")))


def _raw(item: Mapping[str, Any], href: str, query: Query) -> RawItem:
    return RawItem(item={**item, "collection": query.collections[0]}, location=href)


def _below(href: str, document: Mapping[str, Any], source: Source, query: Query, time: SearchTime) -> Iterator[RawItem]:
    """The items of a product's Item, or of those that a Collection of products links to."""
    if is_product(document):
        parts = _parts(document)
        for part in parts:
            place = resolve_href(part, href)
            yield _raw(read_linked(place, source, time), place, query)
        if not parts:
            yield _raw(document, href, query)
        return
    if document.get("type") != "Collection":
        raise CatalogError(f"{display_href(href)} is no Item and no Collection of a product of Tilewright")
    places = list(dict.fromkeys(resolve_href(each, href) for each in _linked(document, "item")))
    if not places:
        raise CatalogError(f"{display_href(href)} links to no product: run its job to the end")
    for place in places:
        item = _document(place, source, time)
        if not _parts(item):
            # The Collection links to the parts of a product beside it.
            yield _raw(item, place, query)


def _parts(item: Mapping[str, Any]) -> list[str]:
    """The hrefs of the Items of a product's parts, from its own Item."""
    return [name for name in _linked(item, "related") if PART.fullmatch(PurePosixPath(name).name)]


def _linked(document: Mapping[str, Any], relation: str) -> list[str]:
    links = [mapping(link) for link in listing(document.get("links"))]
    hrefs = [text(link.get("href")) for link in links if link.get("rel") == relation]
    return [href for href in hrefs if href]


def _document(href: str, source: Source, time: SearchTime) -> Mapping[str, Any]:
    """The Item or Collection at an href. Raises CatalogError that says what the lack of one means."""
    try:
        return read_linked(href, source, time)
    except CatalogError as error:
        raise CatalogError(f"{error}: a product's Item is written last, so run its job to the end first") from error


def _folder_items(source: Source, query: Query, time: SearchTime) -> Iterator[RawItem]:
    """The items of the product that a folder is, or of those in the folders below it, by their names."""
    place = source.href.rstrip("/")
    own, names = f"{place}/{ITEM}", _folders(place, source)
    if STATE in names or not names:
        yield from _below(own, _document(own, source, time), source, query, time)
        return
    # A copy of a product may lack what its runs knew.
    document = _read(own, source, time)
    if is_product(document):
        yield from _below(own, document, source, query, time)
        return
    found = 0
    for name in names:
        href = f"{place}/{name}/{ITEM}"
        try:
            document = read_linked(href, source, time)
        except CatalogError as error:
            if STATE in _folders(f"{place}/{name}", source):
                found += 1
                # Told by name, and the others are used.
                yield RawItem(item={"id": name}, location=href, problem=f"it is not finished: {error}")
            continue
        if is_product(document):
            found += 1
            yield from _below(href, document, source, query, time)
    if not found:
        raise CatalogError(f"{display_href(source.href)} holds no product: give a product, or a folder of several")


def _read(href: str, source: Source, time: SearchTime) -> Mapping[str, Any]:
    """The document at an href, empty if it cannot be read."""
    try:
        return read_linked(href, source, time)
    except CatalogError:
        return {}


def _folders(place: str, source: Source) -> list[str]:
    """The names of the folders in a folder or below a prefix of a bucket, sorted; none of those on a web server."""
    scheme = scheme_of(place)
    if scheme == "file":
        try:
            return sorted(entry.name for entry in local_path(place).iterdir() if entry.is_dir())
        except OSError as error:
            raise CatalogError(f"{place} cannot be read ({error.strerror})") from error
    return _prefixes(place, source.s3) if scheme == "s3" else []


def _prefixes(place: str, s3: S3Settings) -> list[str]:
    """The names of what lies like folders below a prefix of a bucket, sorted."""
    import obstore  # noqa: PLC0415

    bucket, _, key = place[len("s3://") :].partition("/")
    try:
        store = obstore.store.S3Store(bucket, **fetch.bucket_options(s3), retry_config=fetch.OBJECT_RETRIES)
        listed = obstore.list_with_delimiter(store, f"{key}/" if key else None)
    except (OSError, obstore.exceptions.BaseError) as error:
        raise CatalogError(f"{display_href(place)} cannot be read ({type(error).__name__})") from error
    return sorted(folder.rstrip("/").rpartition("/")[2] for folder in listed["common_prefixes"])
