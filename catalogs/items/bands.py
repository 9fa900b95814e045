"""A band of a foreign item as the reader takes it: where its file lies and how its numbers become physical."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from pyproj import CRS
from pyproj.exceptions import CRSError

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.fields import first, listing, mapping, number, text, whole
from tilewright.catalogs.hrefs import check_href, resolve_href, scheme_of
from tilewright.catalogs.items.assets import entry_at
from tilewright.catalogs.scene import BandAsset
from tilewright.catalogs.sensors import PROBABILITIES, SENTINEL_1, UNITS, BandFacts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilewright.catalogs.items.assets import BandCandidate
    from tilewright.catalogs.sources.source import Source


# Aerosol and water vapour never carry ESA's offset, though some items write it on every asset.
WITHOUT_OFFSET = ("aot", "wvp")

OUR_UNITS = frozenset({"reflectance", "linear", "db", "class", "m", "1"})


def advertised_offset(found: BandCandidate) -> float | None:
    """The offset the item names for the band, or None where it names none."""
    return number(first(found.said.get("offset"), _field(found, "offset")))


def to_band_asset(
    found: BandCandidate,
    item: Mapping[str, Any],
    *,
    collection: str,
    source: Source,
    base: str,
    esa_offset: float | None,
) -> BandAsset:
    """The band as the reader takes it.

    `esa_offset` is the offset of the scene's radiometric state for reflectance of Sentinel-2; None for everything else,
    where what the item says holds.

    Raises:
        CatalogError: its href leads where the source may not send us.
    """
    facts, said = found.facts, found.said
    dtype = _dtype(first(said.get("dtype"), _field(found, "data_type")), facts)
    unit = _unit(
        text(first(said.get("unit"), _field(found, "unit"))), collection=collection, found=found, source=source
    )
    scale, offset = _calibration(found, dtype)
    if esa_offset is not None and unit == "reflectance":
        offset = (advertised_offset(found) or esa_offset) if esa_offset else 0.0
    return BandAsset(
        band=found.band,
        key=found.key,
        href=_href(found.asset, source=source, base=base),
        index=found.place + 1,
        dtype=dtype,
        nodata=_nodata(found),
        scale=1.0 if unit == "class" else scale,
        offset=0.0 if unit == "class" else offset,
        unit=unit,
        crs=crs_of(found.asset, mapping(item.get("properties"))),
        shape=shape_of(found.asset, mapping(item.get("properties"))),
        transform=transform_of(found.asset, mapping(item.get("properties"))),
        checksum=text(found.asset.get("file:checksum")),
    )


def _field(found: BandCandidate, name: str) -> Any:
    """What the item says of the band, by STAC 1.1 `bands`, `raster:bands`, then the asset itself."""
    band, raster = entry_at(found.asset, "bands", found.place), entry_at(found.asset, "raster:bands", found.place)
    prefixed = f"raster:{name}"
    return first(band.get(name), band.get(prefixed), raster.get(name), found.asset.get(name), found.asset.get(prefixed))


def _dtype(stated: Any, facts: BandFacts | None) -> str:
    try:
        return np.dtype(stated).name if isinstance(stated, str) else (facts.dtype if facts else "float32")
    except TypeError:
        return facts.dtype if facts else "float32"


def _nodata(found: BandCandidate) -> float | None:
    if found.band in PROBABILITIES and found.facts:
        return None
    stated = number(first(found.said.get("nodata"), _field(found, "nodata")))
    return number(found.facts.nodata) if stated is None and found.facts else stated


def _calibration(found: BandCandidate, dtype: str) -> tuple[float, float]:
    """(scale, offset) as stated; a table's scale is of integers, so floats without one are physical already."""
    scale = number(first(found.said.get("scale"), _field(found, "scale")))
    offset = advertised_offset(found)
    facts = found.facts
    default = (facts.scale, facts.offset) if facts and np.dtype(dtype).kind in "ui" else (1.0, 0.0)
    if facts and facts.band in WITHOUT_OFFSET and not found.said:
        return default
    if scale is None and offset is None:
        return default
    if scale is None:
        return (default[0], offset or 0.0)
    return (scale, offset or 0.0)


def _unit(stated: str | None, *, collection: str, found: BandCandidate, source: Source) -> str:
    if collection in SENTINEL_1 or found.band in {"vv", "vh", "hh", "hv"}:
        return _backscatter_unit(stated, source.units.get(collection, UNITS.get(collection, "1")))
    if found.facts:
        return found.facts.unit
    named = (stated or "1").lower()
    return {"metre": "m", "meter": "m", "db": "db"}.get(named, named if named in OUR_UNITS else "1")


def _backscatter_unit(stated: str | None, default: str) -> str:
    """Linear power for "1" (and for what says linear), dB for "dB"; the source's word where the item has none."""
    if stated is None:
        return default
    named = stated.lower()
    return "db" if named in {"db", "decibel"} else "linear" if named in {"1", "linear", "power", "m2/m2"} else default


def _href(asset: Mapping[str, Any], *, source: Source, base: str) -> str:
    """The asset's absolute href; among alternates the scheme the source prefers."""
    others = mapping(asset.get("alternate")).values()
    choices = [text(asset.get("href")), *(text(mapping(other).get("href")) for other in others)]
    hrefs = [resolve_href(_rewritten(href, source), base) for href in choices if href]
    if not hrefs:
        raise CatalogError("an asset without an href")
    allowed = [href for href in hrefs if _allowed(href, source)]
    preferred = [href for href in allowed if scheme_of(href) == source.prefer]
    return next(iter(preferred or allowed), None) or check_href(hrefs[0], origin=source.href, hosts=source.hosts)


def _allowed(href: str, source: Source) -> bool:
    try:
        check_href(href, origin=source.href, hosts=source.hosts)
    except CatalogError:
        return False
    return True


def _rewritten(href: str, source: Source) -> str:
    """The href with the beginning the source's table replaces; /vsicurl/ and /vsis3/ become URLs again."""
    for prefix, scheme in (("/vsicurl/", ""), ("/vsis3/", "s3://")):
        href = scheme + href[len(prefix) :] if href.startswith(prefix) else href
    for old, new in source.rewrite.items():
        href = new + href[len(old) :] if href.startswith(old) else href
    return href


def crs_of(asset: Mapping[str, Any], properties: Mapping[str, Any]) -> str:
    """The asset's CRS as "EPSG:n" or WKT, empty where neither it nor the item says one.

    Raises:
        CatalogError: what it says is neither WKT nor PROJJSON.
    """
    for level in (asset, properties):
        code = first(text(level.get("proj:code")), whole(level.get("proj:epsg")))
        if code is not None:
            return f"EPSG:{code}" if isinstance(code, int) else str(code)
        stated = first(text(level.get("proj:wkt2")), level.get("proj:projjson") or None)
        if stated is not None:
            try:
                return str(CRS.from_user_input(stated).to_wkt())
            except CRSError as error:
                raise CatalogError("its CRS is neither WKT nor PROJJSON") from error
    return ""


def shape_of(asset: Mapping[str, Any], properties: Mapping[str, Any]) -> tuple[int, int] | None:
    """(height, width) in pixels, None where missing."""
    for level in (asset, properties):
        sizes = [whole(value) for value in listing(level.get("proj:shape"))]
        if len(sizes) == 2 and all(size and size > 0 for size in sizes):
            return (sizes[0] or 0, sizes[1] or 0)
    return None


def transform_of(asset: Mapping[str, Any], properties: Mapping[str, Any]) -> tuple[float, ...] | None:
    """Six numbers a b c d e f; None where missing or without a pixel size (some write GDAL's order)."""
    for level in (asset, properties):
        numbers = [number(value) for value in listing(level.get("proj:transform"))]
        if len(numbers) in {6, 9} and all(value is not None and math.isfinite(value) for value in numbers):
            six = tuple(value for value in numbers[:6] if value is not None)
            return six if six[0] and six[4] else None
    return None
