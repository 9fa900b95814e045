"""The Collection of products of one kind, updated with each new product."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pystac

from tilewright.catalogs.publish.validate import CLASSIFICATION, InvalidStacError, validate_collection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime


SUMMARISED = ("emb:dimensions", "emb:type", "gsd", "mlm:name", "mlm:tasks", "platform", "processing:level", "proj:code")
"""Properties whose values the Collection's summaries list."""

PICTURE = "thumbnail"
"""The asset of an Item by which browsers of catalogs show its Collection too."""

OF_ONE_MAP = ("count", "percentage", "statistics")
"""Fields of classes and bands that belong to one Item alone."""


def update_collection(
    existing: Mapping[str, Any] | None,
    item: pystac.Item,
    *,
    item_href: str = "./item.json",
    title: str = "",
    description: str = "",
) -> dict[str, Any]:
    """The Collection, as JSON values, with the Item added: wider extents, one link per Item, merged summaries.

    `existing` is the previous Collection, None for a new one; it is not changed. An Item that it already contains is
    linked once, by its new href; repeating a call gives the same Collection. `item_href` is relative to the Collection.
    `title` and `description` are for a new Collection; an existing one keeps its own.

    Raises:
        InvalidStacError: the result is not a valid Collection, for example because `existing` is not.
    """
    if existing is not None:
        validate_collection(existing)
    collection = dict(existing) if existing is not None else _new_collection(item, title, description)
    try:
        collection["extent"] = _merged_extent(collection.get("extent"), item)
    except (ValueError, OverflowError) as error:
        raise InvalidStacError(f"the extent of the Collection {item.collection_id} cannot be read: {error}") from error
    collection["summaries"] = _summaries(collection.get("summaries", {}), item.properties)
    collection["item_assets"] = {**collection.get("item_assets", {}), **_item_assets(item)}
    if any("classification:classes" in asset for asset in collection["item_assets"].values()):
        collection["stac_extensions"] = sorted({*collection.get("stac_extensions", ()), CLASSIFICATION})
    if PICTURE in item.assets and "/" not in item_href.removeprefix("./"):
        # Its href is relative to the Item, which lies beside the Collection.
        collection["assets"] = {**collection.get("assets", {}), PICTURE: item.assets[PICTURE].to_dict()}
    collection["links"] = _links(collection, item, item_href)
    validate_collection(collection)
    return collection


def with_summaries(collection: Mapping[str, Any], properties: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The Collection with summaries of exactly these properties, of all the Items that it links to, as JSON values.

    Entries that are none of `SUMMARISED` are somebody else's and stay, as do ranges and JSON Schemas.
    """
    summaries = {
        name: known
        for name, known in collection.get("summaries", {}).items()
        if name not in SUMMARISED or not isinstance(known, list)
    }
    for each in properties:
        summaries = _summaries(summaries, each)
    return {**collection, "summaries": summaries}


def merge_bbox(one: Sequence[float], other: Sequence[float]) -> list[float]:
    """The smallest bbox (minx, miny, maxx, maxy) in degrees around two; minx > maxx if it crosses the antimeridian.

    Source: RFC 7946, section 5.2.
    """
    if not all(-360 <= edge <= 360 for edge in one):
        raise ValueError(f"{list(one)} is no bbox in degrees")
    spans = [(_longitudes(one), _longitudes(other, shift)) for shift in (-360, 0, 360)]
    west, east = min(
        ((min(a[0], b[0]), max(a[1], b[1])) for a, b in spans), key=lambda span: (span[1] - span[0], abs(span[0]))
    )
    south, north = min(one[1], other[1]), max(one[3], other[3])
    if east - west >= 360:
        return [-180.0, south, 180.0, north]
    return [_wrapped_longitude(west, 180), south, _wrapped_longitude(east, -180), north]


def merge_interval(one: Sequence[str | None], other: Sequence[str | None]) -> list[str | None]:
    """The interval around two (start, end) of STAC datetimes; an end that is open (None) in either is open."""
    (first, last), (start, end) = one, other
    return [
        first and start and min(first, start, key=_parsed),
        last and end and max(last, end, key=_parsed),
    ]


def _longitudes(bbox: Sequence[float], shift: float = 0) -> tuple[float, float]:
    west, _, east, _ = bbox
    return west + shift, east + shift + (360 if east < west else 0)


def _wrapped_longitude(longitude: float, excluded: float) -> float:
    """The longitude within -180 to 180; the antimeridian itself as the one of +-180 that is not `excluded`."""
    while longitude > 180:
        longitude -= 360
    while longitude < -180:
        longitude += 360
    return -excluded if longitude == excluded else longitude


def _new_collection(item: pystac.Item, title: str, description: str) -> dict[str, Any]:
    return {
        "type": "Collection",
        "id": item.collection_id,
        "stac_version": "1.1.0",
        "title": title or item.collection_id,
        "description": description
        or f"Maps of the kind {item.collection_id}, made with {item.properties['mlm:name']}.",
        "license": item.properties.get("license", "other"),
    }


def _merged_extent(extent: Mapping[str, Any] | None, item: pystac.Item) -> dict[str, Any]:
    assert item.bbox is not None, f"{item.id} has no bbox"
    start, end = _period(item)
    if extent is None:
        return {"spatial": {"bbox": [list(item.bbox)]}, "temporal": {"interval": [[start, end]]}}
    boxes, intervals = extent["spatial"]["bbox"], extent["temporal"]["interval"]
    return {
        "spatial": {**extent["spatial"], "bbox": [merge_bbox(boxes[0], item.bbox), *boxes[1:]]},
        "temporal": {**extent["temporal"], "interval": [merge_interval(intervals[0], (start, end)), *intervals[1:]]},
    }


def _parsed(stamp: str) -> datetime:
    return pystac.utils.str_to_datetime(stamp)


def _period(item: pystac.Item) -> tuple[str, str]:
    metadata = item.common_metadata
    start, end = metadata.start_datetime or item.datetime, metadata.end_datetime or item.datetime
    assert start is not None, f"{item.id} has no date"
    assert end is not None, f"{item.id} has no date"
    return pystac.utils.datetime_to_str(start), pystac.utils.datetime_to_str(end)


def _summaries(summaries: Mapping[str, Any], properties: Mapping[str, Any]) -> dict[str, Any]:
    """The summaries with the values of one more Item. A range is widened; a JSON Schema says no values and stays."""
    merged = dict(summaries)
    for name in SUMMARISED:
        value, known = properties.get(name), merged.get(name, [])
        listed = value if isinstance(value, list) else [value]
        values = [each for each in listed if isinstance(each, str | int | float)]
        if values and isinstance(known, list):
            merged[name] = sorted({*known, *values}, key=_in_order)
        elif values and isinstance(known, dict) and {"minimum", "maximum"} <= known.keys():
            ends = sorted([known["minimum"], known["maximum"], *values], key=_in_order)
            merged[name] = {**known, "minimum": ends[0], "maximum": ends[-1]}
    return merged


def _in_order(value: object) -> tuple[bool, Any]:
    """Numbers by size before texts by letter: Items of others may say either."""
    return (True, value) if isinstance(value, str) else (False, value)


def _item_assets(item: pystac.Item) -> dict[str, Any]:
    """What all Items of the kind have: their assets with bands and classes, without figures of this one."""
    return {
        key: {
            "title": asset.title or key,
            "type": asset.media_type,
            "roles": list(asset.roles or []),
            **{
                name: [{k: v for k, v in entry.items() if k not in OF_ONE_MAP} for entry in asset.extra_fields[name]]
                for name in ("bands", "classification:classes")
                if name in asset.extra_fields
            },
        }
        for key, asset in item.assets.items()
    }


def _links(collection: Mapping[str, Any], item: pystac.Item, item_href: str) -> list[dict[str, Any]]:
    kept = [
        dict(link)
        for link in collection.get("links", ())
        if link.get("rel") != "item" or (link.get("title") != item.id and link.get("href") != item_href)
    ]
    root = {
        "rel": "root",
        "href": "./collection.json",
        "type": "application/json",
        "title": collection.get("title") or collection["id"],
    }
    others = [link for link in kept if link["rel"] != "item"] or [root]
    items = [link for link in kept if link["rel"] == "item"]
    items.append({"rel": "item", "href": item_href, "type": "application/geo+json", "title": item.id})
    return others + sorted(items, key=lambda link: (link.get("title", ""), link["href"]))
