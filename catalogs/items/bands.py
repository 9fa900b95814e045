"""A BandAsset made from a band of a provider's item: href, data type, scale and offset, unit and grid."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pyproj import CRS
from pyproj.exceptions import CRSError

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.fields import first, integer, listing, mapping, number, text
from tilewright.catalogs.hrefs import resolve_href, scheme_of
from tilewright.catalogs.items.assets import entry_at
from tilewright.catalogs.items.plausible import (
    calibrated_by,
    calibration_of,
    check_numbers,
    dtype_of,
    item_field,
    offset_of_state,
)
from tilewright.catalogs.network.check import check_href
from tilewright.catalogs.scene import BandAsset
from tilewright.catalogs.sensors import PROBABILITY_BANDS, SENTINEL_1, UNITS
from tilewright.catalogs.sources.product import NO_BAND

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilewright.catalogs.items.assets import BandCandidate
    from tilewright.catalogs.scene import Scene
    from tilewright.catalogs.sources.source import Source


NUMBERS = ("scale", "offset", "nodata")

PERCENT = frozenset({"percent", "%"})
"""A unit that says neither whether numbers are to be divided nor whether they are already."""

EARTH_AXIS = 6_378_137.0
"""The Earth's semi-major axis in metres. Source: WGS 84."""

EARTH_SHARE = 0.01
"""Ellipsoids of the Earth differ by less than this share of it, those of other bodies by far more."""

OUR_UNITS = frozenset({"reflectance", "linear", "db", "class", "m", "1"})


def to_band_asset(
    candidate: BandCandidate,
    item: Mapping[str, Any],
    *,
    collection: str,
    source: Source,
    base: str,
    esa_offset: float | None,
    told: bool = True,
) -> BandAsset:
    """The BandAsset of a candidate.

    `base` is the location that relative hrefs refer to. `esa_offset` is the offset of the scene's radiometric state and
    applies to reflectance of Sentinel-2; it is None for other collections, whose items' own offsets apply. Unless it is
    `told` by anything, a header that says another one is refused.

    Raises:
        CatalogError: the band has no href, or one that the source may not refer to, or a scale and offset that cannot
            be reflectance.
    """
    facts, override = candidate.facts, candidate.override
    if reason := text(candidate.asset.get(NO_BAND)):
        raise CatalogError(reason)
    _check_described(candidate)
    dtype = dtype_of(first(override.get("dtype"), item_field(candidate, "data_type")), facts)
    stated_unit = text(first(override.get("unit"), item_field(candidate, "unit")))
    if (override.get("unit") or source.kind == "files") and (stated_unit or "").lower() in PERCENT:
        raise CatalogError(
            f"the source says unit: {stated_unit} for {candidate.band}: write scale: 0.01 for shares from 0 to 1, or "
            "unit: 1 for its numbers as they are"
        )
    unit = _unit(stated_unit, collection=collection, candidate=candidate, source=source)
    scale, offset = calibration_of(candidate, dtype)
    if esa_offset is not None and unit == "reflectance":
        offset = offset_of_state(candidate, esa_offset)
    names = {"collection": collection, "band": candidate.band, "key": candidate.key}
    check_numbers(scale, offset, unit=unit, dtype=dtype, facts=facts, **names)
    properties = mapping(item.get("properties"))
    return BandAsset(
        band=candidate.band,
        key=candidate.key,
        href=_href(candidate.asset, source=source, base=base),
        index=candidate.position + 1,
        dtype=dtype,
        **_nodata(candidate),
        scale=1.0 if unit == "class" else scale,
        offset=0.0 if unit == "class" else offset,
        unit=unit,
        crs=crs_of(candidate.asset, properties),
        shape=shape_of(candidate.asset, properties),
        transform=transform_of(candidate.asset, properties),
        checksum=text(candidate.asset.get("file:checksum")),
        alpha=_alpha(candidate),
        band_names=_band_names(candidate, source.bands.get(collection, {})),
        calibration="stated" if unit == "class" or (esa_offset is not None and told) else calibrated_by(candidate),
    )


def _check_described(candidate: BandCandidate) -> None:
    """Do nothing unless the item states numbers for other bands of the file and none for this one, which has no table.

    Raises:
        CatalogError: a list of the asset's bands states scale, offset or nodata, and ends before this band.
    """
    asset, override = candidate.asset, candidate.override
    if candidate.facts or any(first(override.get(name), item_field(candidate, name)) is not None for name in NUMBERS):
        return
    for key in ("bands", "raster:bands"):
        entries = [mapping(entry) for entry in listing(asset.get(key))]
        states = {name.removeprefix("raster:") for entry in entries for name in entry} & set(NUMBERS)
        if states and candidate.position >= len(entries):
            raise CatalogError(
                f"its asset {candidate.key} states {', '.join(sorted(states))} in {key} for {len(entries)} of its "
                f"bands, not for {candidate.band}, the {candidate.position + 1}th; say them under bands in the source"
            )


def _nodata(candidate: BandCandidate) -> dict[str, Any]:
    """The markers of the source and the item, and the usual one of the collection (fields of BandAsset)."""
    probability = candidate.band in PROBABILITY_BANDS and candidate.facts is not None
    stated = [number(value) for value in (candidate.override.get("nodata"), item_field(candidate, "nodata"))]
    markers = [marker for marker in stated if marker is not None and not (probability and marker == 0)]
    more = tuple(marker for marker in markers[1:] if str(marker) != str(markers[0]))
    return {
        "nodata": markers[0] if markers else None,
        "more_nodata": more,
        "usual_nodata": number(candidate.facts.nodata) if candidate.facts else None,
        "zero_is_value": probability,
    }


def _alpha(candidate: BandCandidate) -> bool | None:
    """The source's word on whether the band that the file calls alpha is one, None without it."""
    stated = first(candidate.override.get("alpha"), candidate.asset.get("tw:alpha"))
    return stated if isinstance(stated, bool) else None


def _band_names(candidate: BandCandidate, own: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """Names of the bands of the candidate's file, empty for an unnamed one; none at all for a file of one band."""
    named: dict[int, str] = {}
    for key in ("eo:bands", "bands"):
        for position in range(len(listing(candidate.asset.get(key)))):
            if name := text(entry_at(candidate.asset, key, position).get("name")):
                named[position] = name
    for band, fields in own.items():
        if fields.get("asset") == candidate.key:
            named[(integer(fields.get("index")) or 1) - 1] = band
    count = max([*(position + 1 for position in named), *_lengths(candidate.asset)], default=0)
    return tuple(named.get(position, "") for position in range(count)) if count > 1 else ()


def _lengths(asset: Mapping[str, Any]) -> list[int]:
    return [len(listing(asset.get(key))) for key in ("eo:bands", "bands", "raster:bands")]


def _unit(stated: str | None, *, collection: str, candidate: BandCandidate, source: Source) -> str:
    if collection in SENTINEL_1 or candidate.band in {"vv", "vh", "hh", "hv"}:
        return _backscatter_unit(stated, source.units.get(collection, UNITS.get(collection, "1")))
    if candidate.facts:
        return candidate.facts.unit
    named = (stated or "1").lower()
    return {"metre": "m", "meter": "m", "db": "db"}.get(named, named if named in OUR_UNITS else "1")


def _backscatter_unit(stated: str | None, default: str) -> str:
    """Linear power for "1" and names of linear power, dB for "dB"; the source's default for anything else."""
    if stated is None:
        return default
    named = stated.lower()
    return "db" if named in {"db", "decibel"} else "linear" if named in {"1", "linear", "power", "m2/m2"} else default


def _href(asset: Mapping[str, Any], *, source: Source, base: str) -> str:
    """The asset's absolute href; of several allowed alternates the one whose scheme the source prefers."""
    others = mapping(asset.get("alternate")).values()
    choices = [text(asset.get("href")), *(text(mapping(other).get("href")) for other in others)]
    hrefs = [resolve_href(_rewritten(href, source), base) for href in choices if href]
    if not hrefs:
        raise CatalogError("an asset without an href")
    allowed = [href for href in hrefs if _is_allowed(href, source)]
    preferred = [href for href in allowed if scheme_of(href) == source.prefer]
    return next(iter(preferred or allowed), None) or check_href(hrefs[0], origin=source.href, hosts=source.hosts)


def _is_allowed(href: str, source: Source) -> bool:
    try:
        check_href(href, origin=source.href, hosts=source.hosts)
    except CatalogError:
        return False
    return True


def _rewritten(href: str, source: Source) -> str:
    """The href with its prefix replaced as the source's `rewrite` says; /vsicurl/ and /vsis3/ become URLs."""
    for prefix, scheme in (("/vsicurl/", ""), ("/vsis3/", "s3://")):
        href = scheme + href[len(prefix) :] if href.startswith(prefix) else href
    for old, new in source.rewrite.items():
        href = new + href[len(old) :] if href.startswith(old) else href
    return href


def crs_of(asset: Mapping[str, Any], properties: Mapping[str, Any]) -> str:
    """The asset's CRS as "EPSG:n" or WKT, empty if neither the asset nor the item states a usable one.

    It is a hint: a code that PROJ does not know and WKT that is none count as missing, since the file itself knows
    where it lies.
    """
    for fields in (asset, properties):
        code = first(text(fields.get("proj:code")), integer(fields.get("proj:epsg")), text(fields.get("proj:epsg")))
        name = f"EPSG:{code}" if isinstance(code, int) or (code or "").isdecimal() else code
        if name and _is_crs(name):
            return str(name)
        stated = first(text(fields.get("proj:wkt2")), fields.get("proj:projjson") or None)
        if stated is not None and (wkt := _wkt(stated)):
            return wkt
    return ""


@lru_cache(1024)
def _is_crs(name: str) -> bool:
    """True for a CRS that PROJ knows."""
    try:
        CRS.from_user_input(name)
    except (CRSError, ValueError, RecursionError):
        return False
    return True


def _wkt(stated: Any) -> str | None:
    """The WKT of a stated WKT or PROJJSON, None if it is neither."""
    try:
        return str(CRS.from_user_input(stated).to_wkt())
    except (CRSError, TypeError, ValueError, RecursionError):
        return None


def without_strange_crs(scene: Scene) -> Scene:
    """The scene whose bands have no CRS but one of the Earth's ground: the file itself knows where it lies."""
    if all(not asset.crs or is_of_earth(asset.crs) for asset in scene.assets):
        return scene
    assets = (asset if not asset.crs or is_of_earth(asset.crs) else replace(asset, crs="") for asset in scene.assets)
    return replace(scene, assets=tuple(assets))


@lru_cache(1024)
def is_of_earth(name: str) -> bool:
    """True for a CRS of the ground (projected or geographic) whose ellipsoid is no other celestial body's."""
    crs = CRS.from_user_input(name)
    ground = crs.is_projected or crs.is_geographic
    return ground and (crs.ellipsoid is None or abs(crs.ellipsoid.semi_major_metre / EARTH_AXIS - 1) < EARTH_SHARE)


def shape_of(asset: Mapping[str, Any], properties: Mapping[str, Any]) -> tuple[int, int] | None:
    """(height, width) in pixels, None if missing."""
    for fields in (asset, properties):
        sizes = [integer(value) for value in listing(fields.get("proj:shape"))]
        if len(sizes) == 2 and all(size and size > 0 for size in sizes):
            return (sizes[0] or 0, sizes[1] or 0)
    return None


def transform_of(asset: Mapping[str, Any], properties: Mapping[str, Any]) -> tuple[float, ...] | None:
    """Six numbers a b c d e f; None where none are usable: a pixel size of 0 is not (some items use GDAL's order)."""
    for fields in (asset, properties):
        numbers = [number(value) for value in listing(fields.get("proj:transform"))]
        if len(numbers) in {6, 9} and all(value is not None and math.isfinite(value) for value in numbers):
            six = tuple(value for value in numbers[:6] if value is not None)
            if six[0] and six[4]:
                return six
    return None
