"""Who took a scene, where in the producer's grid, on which orbit and with which processing: one item's properties."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.fields import first, listing, mapping, moment, number, text, whole
from tilewright.catalogs.sensors import parse_baseline

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


MGRS = r"(\d{1,2})([C-X][A-Z]{2})"

PRODUCT_NAMES = ("s2:product_uri", "sentinel:product_id", "s2:product_id", "s2:granule_id", "s2:datatake_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquisition:
    """What an item says of itself, each None where it does not; see Scene for the meaning of the fields."""

    datetime: datetime
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
        CatalogError: the item has no date.
    """
    properties = mapping(item.get("properties"))
    orbit_state = text(properties.get("sat:orbit_state"))
    generated = first(*(moment(properties.get(key)) for key in _GENERATED))
    updated = moment(properties.get("updated"))
    mode = text(properties.get("sar:instrument_mode"))
    return Acquisition(
        datetime=item_datetime(item),
        platform=platform_of(item),
        granule=_granule(item),
        orbit_state=orbit_state.lower() if orbit_state else None,
        relative_orbit=whole(properties.get("sat:relative_orbit")),
        cloud_cover=number(properties.get("eo:cloud_cover")),
        baseline=_baseline(item),
        mode=mode.upper() if mode else None,
        sequence=_sequence(item),
        generated=generated.isoformat() if generated else None,
        updated=updated.isoformat() if updated else None,
    )


_GENERATED = ("s2:generation_time", "processing:datetime", "s1:processing_datetime", "created")


def item_datetime(item: Mapping[str, Any]) -> datetime:
    """When the item was taken, in UTC; the start where only a range is given.

    Raises:
        CatalogError: it has neither.
    """
    properties = mapping(item.get("properties"))
    found = first(*(moment(properties.get(key)) for key in ("datetime", "start_datetime")))
    if found is None:
        raise CatalogError("it has neither datetime nor start_datetime")
    return found


def platform_of(item: Mapping[str, Any]) -> str | None:
    """The satellite in lower case with dashes ("sentinel-2b"), or None."""
    platform = text(mapping(item.get("properties")).get("platform"))
    return re.sub(r"[\s_]+", "-", platform.lower()) if platform else None


def _names(item: Mapping[str, Any]) -> list[str]:
    """Product names, the item's own first: what they hold in fixed places stands in for missing properties."""
    properties = mapping(item.get("properties"))
    names = [text(properties.get(key)) for key in PRODUCT_NAMES]
    return [name for name in (*names, text(item.get("id"))) if name]


def _baseline(item: Mapping[str, Any]) -> str | None:
    properties = mapping(item.get("properties"))
    stated = (properties.get(key) for key in ("s2:processing_baseline", "processing:version", "sentinel2:baseline"))
    named = (found[1] for name in _names(item) if (found := re.search(r"_(N\d{2}\.?\d{2})(?:_|$)", name)))
    return first(*(parse_baseline(value) for value in (*stated, *named)))


def _granule(item: Mapping[str, Any]) -> str | None:
    """The MGRS granule ("33UUP"), or path and row ("WRS2-192027")."""
    properties = mapping(item.get("properties"))
    parts = [properties.get(f"mgrs:{part}") for part in ("utm_zone", "latitude_band", "grid_square")]
    stated = [text(properties.get(key)) for key in ("s2:mgrs_tile", "s2:tile_id", "grid:code")]
    if all(part is not None for part in parts):
        stated.append("".join(str(part) for part in parts))
    told = (re.fullmatch(rf"(?:MGRS-|T)?{MGRS}", name) for name in stated if name)
    named = (re.search(rf"(?:_T|^S2[A-D]_){MGRS}(?:_|$)", name) for name in _names(item))
    found = first(*told, *named)
    if found:
        return f"{int(found[1]):02d}{found[2]}"
    path, row = (text(str(properties.get(f"landsat:wrs_{part}") or "")) for part in ("path", "row"))
    return f"WRS2-{path}{row}" if path and row else None


def _sequence(item: Mapping[str, Any]) -> int | None:
    """Earth Search's running number of processings, from its property or from "S2B_33UUP_20210617_1_L2A"."""
    properties = mapping(item.get("properties"))
    found = re.search(r"_\d{8}_(\d+)_L[12][AC]$", str(item.get("id", "")))
    stated = (whole(properties.get(key)) for key in ("s2:sequence", "sentinel:sequence"))
    return first(*stated, int(found[1]) if found else None)


def flag_of(item: Mapping[str, Any]) -> bool | None:
    """Earth Search's word on whether the offset has been applied, or None where it says nothing."""
    properties = mapping(item.get("properties"))
    flags = (properties.get(key) for key in ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied"))
    return first(*(flag for flag in flags if isinstance(flag, bool)))


def bbox_of(item: Mapping[str, Any]) -> list[float] | None:
    """The item's bounding box as it stands, or None where it is not four or six numbers."""
    numbers = [number(value) for value in listing(item.get("bbox"))]
    return [value for value in numbers if value is not None] if len(numbers) in {4, 6} and None not in numbers else None
