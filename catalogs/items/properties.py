"""An acquisition read from an item's properties: date, platform, granule, orbit, cloud cover and processing."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.fields import (
    FIRST_YEAR,
    LAST_YEAR,
    first,
    instant,
    integer,
    listing,
    mapping,
    number,
    stated_span,
    text,
)
from tilewright.catalogs.sensors import parse_baseline

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping
    from datetime import datetime


MGRS = r"(\d{1,2})([C-X][A-Z]{2})"

PRODUCT_NAMES = ("s2:product_uri", "sentinel:product_id", "s2:product_id", "s2:granule_id", "s2:datatake_id")

GENERATION_TIMES = ("s2:generation_time", "processing:datetime", "s1:processing_datetime", "created")


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquisition:
    """The properties of one item; a field is None if the item lacks it. Scene says what the fields mean."""

    datetime: dt.datetime
    end: dt.datetime | None
    platform: str | None
    granule: str | None
    orbit_state: str | None
    relative_orbit: int | None
    cloud_cover: float | None
    baseline: str | None
    mode: str | None
    sequence: int | None
    generated: str | None
    updated: str | None


def read_acquisition(item: Mapping[str, Any]) -> Acquisition:
    """The acquisition an item describes.

    Raises:
        CatalogError: the item has no date, one of no satellite's time, or an interval that ends before it starts.
    """
    properties = mapping(item.get("properties"))
    taken, end = item_span(item)
    if not FIRST_YEAR <= taken.year <= LAST_YEAR:
        raise CatalogError(f"its date {taken.isoformat()} is not in the years {FIRST_YEAR} to {LAST_YEAR}")
    orbit_state = text(properties.get("sat:orbit_state"))
    generated = first(*(instant(properties.get(key)) for key in GENERATION_TIMES))
    updated = instant(properties.get("updated"))
    mode = text(properties.get("sar:instrument_mode"))
    cloud = number(properties.get("eo:cloud_cover"))
    return Acquisition(
        datetime=taken,
        end=end,
        platform=platform_of(item),
        granule=_granule(item),
        orbit_state=orbit_state.lower() if orbit_state else None,
        relative_orbit=integer(properties.get("sat:relative_orbit")),
        cloud_cover=cloud if cloud is not None and math.isfinite(cloud) else None,
        baseline=_baseline(item),
        mode=mode.upper() if mode else None,
        sequence=_sequence(item),
        generated=generated.isoformat() if generated else None,
        updated=updated.isoformat() if updated else None,
    )


def item_span(item: Mapping[str, Any]) -> tuple[datetime, datetime | None]:
    """(moment, None) of an item in UTC, or (start, end) of one that states an interval and no moment.

    Raises:
        CatalogError: it has neither, none of them can be read, or the interval ends before it starts.
    """
    properties = mapping(item.get("properties"))
    span = stated_span(properties)
    if span is None:
        stated = first(properties.get("datetime"), properties.get("start_datetime"))
        if stated is None:
            raise CatalogError("it has neither datetime nor start_datetime")
        raise CatalogError(f"its date {str(stated)[:40]!r} cannot be read; expected like 2021-06-17T10:05:59Z")
    start, end = span
    if end is not None and end < start:
        raise CatalogError(f"its interval ends at {end.isoformat()}, before it starts at {start.isoformat()}")
    return start, end


def platform_of(item: Mapping[str, Any]) -> str | None:
    """The satellite in lower case with dashes ("sentinel-2b"), or None."""
    platform = text(mapping(item.get("properties")).get("platform"))
    return re.sub(r"[\s_]+", "-", platform.lower()) if platform else None


def _product_names(item: Mapping[str, Any]) -> list[str]:
    """The item's product names and id, whose fixed parts replace missing properties."""
    properties = mapping(item.get("properties"))
    names = [text(properties.get(key)) for key in PRODUCT_NAMES]
    return [name for name in (*names, text(item.get("id"))) if name]


def _baseline(item: Mapping[str, Any]) -> str | None:
    properties = mapping(item.get("properties"))
    stated = (properties.get(key) for key in ("s2:processing_baseline", "processing:version", "sentinel2:baseline"))
    in_names = (match[1] for name in _product_names(item) if (match := re.search(r"_(N\d{2}\.?\d{2})(?:_|$)", name)))
    return first(*(parse_baseline(value) for value in (*stated, *in_names)))


def _granule(item: Mapping[str, Any]) -> str | None:
    """The MGRS granule ("33UUP"), or path and row ("WRS2-192027")."""
    properties = mapping(item.get("properties"))
    parts = [properties.get(f"mgrs:{part}") for part in ("utm_zone", "latitude_band", "grid_square")]
    stated = [text(properties.get(key)) for key in ("s2:mgrs_tile", "s2:tile_id", "grid:code")]
    if all(part is not None for part in parts):
        stated.append("".join(str(part) for part in parts))
    coded = (re.fullmatch(rf"(?:MGRS-|T)?{MGRS}", name) for name in stated if name)
    in_names = (re.search(rf"(?:_T|^S2[A-D]_){MGRS}(?:_|$)", name) for name in _product_names(item))
    match = first(*coded, *in_names)
    if match:
        return f"{int(match[1]):02d}{match[2]}"
    path, row = (text(str(properties.get(f"landsat:wrs_{part}") or "")) for part in ("path", "row"))
    return f"WRS2-{path}{row}" if path and row else None


def _sequence(item: Mapping[str, Any]) -> int | None:
    """Earth Search's running number of processings, from its property or from "S2B_33UUP_20210617_1_L2A"."""
    properties = mapping(item.get("properties"))
    match = re.search(r"_\d{8}_(\d+)_L[12][AC]$", str(item.get("id", "")))
    stated = (integer(properties.get(key)) for key in ("s2:sequence", "sentinel:sequence"))
    return first(*stated, int(match[1]) if match else None)


def flag_of(item: Mapping[str, Any]) -> bool | None:
    """Earth Search's flag that the offset has been applied to the DN, or None if the item has no such flag."""
    properties = mapping(item.get("properties"))
    flags = (properties.get(key) for key in ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied"))
    return first(*(flag for flag in flags if isinstance(flag, bool)))


def bbox_of(item: Mapping[str, Any]) -> list[float] | None:
    """The item's bounding box unchanged, or None if it is not four or six numbers."""
    numbers = [number(value) for value in listing(item.get("bbox"))]
    return [value for value in numbers if value is not None] if len(numbers) in {4, 6} and None not in numbers else None
