"""The assets of a foreign item as bands: which file holds which band, and how its numbers are to be read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pyproj import CRS
from pyproj.exceptions import CRSError

from catalogs.errors import CatalogError
from catalogs.fields import first, listing, mapping, number, text, whole
from catalogs.hrefs import check_href, resolve_href, scheme_of
from catalogs.scene import BandAsset
from catalogs.sentinel import BANDS, PROBABILITIES, SENTINEL_1, UNITS, BandFacts, band_facts, band_of

if TYPE_CHECKING:
    from catalogs.sources import Source

LOOKS = frozenset({"thumbnail", "overview", "visual", "metadata", "tiles"})
LOOK_KEYS = frozenset({"visual", "overview", "preview", "rendered_preview", "thumbnail", "tilejson", "tci"})
READABLE = ("tiff", "geotiff", "jp2", "jpeg2000", "zarr", "octet-stream")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One band in one asset of an item, before a choice is made among several."""

    band: str
    facts: BandFacts | None
    key: str
    place: int
    asset: Mapping[str, Any]
    resolution: float | None
    said: Mapping[str, Any]
    by_key: bool

    @property
    def rank(self) -> tuple[Any, ...]:
        """Sorts the file to be read first: named after the band, in native pixels, else the finest, then by key."""
        native = self.facts.resolution if self.facts else None
        size = self.resolution if self.resolution is not None else math.inf
        return (not self.by_key, size != native, size, self.place, self.key)


def find_bands(item: Mapping[str, Any], collection: str, source: Source) -> list[Found]:
    """The bands of an item, one file each, in the order of the collection's table, then of their names."""
    told = source.bands.get(collection, {})
    best: dict[str, Found] = {}
    for found in (*_told(item, collection, told), *_guessed(item, collection)):
        if found.band not in best or (found.band not in told and found.rank < best[found.band].rank):
            best[found.band] = found
    order = {facts.band: place for place, facts in enumerate(BANDS.get(collection, ()))}
    return sorted(best.values(), key=lambda found: (order.get(found.band, len(order)), found.band))


def advertised_offset(found: Found) -> float | None:
    """The offset the item names for the band, or None where it names none."""
    return number(first(found.said.get("offset"), _field(found, "offset")))


def to_band_asset(
    found: Found, item: Mapping[str, Any], *, collection: str, source: Source, base: str, esa_offset: float | None
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
        crs=_crs(found.asset, mapping(item.get("properties"))),
        shape=_shape(found.asset, mapping(item.get("properties"))),
        transform=_transform(found.asset, mapping(item.get("properties"))),
        checksum=text(found.asset.get("file:checksum")),
    )


def _told(item: Mapping[str, Any], collection: str, told: Mapping[str, Mapping[str, Any]]) -> Iterator[Found]:
    """Bands as the user's own mapping names them."""
    assets = mapping(item.get("assets"))
    for band, said in told.items():
        asset = mapping(assets.get(said["asset"]))
        if asset:
            place = (whole(said.get("index")) or 1) - 1
            yield _found(band, said["asset"], asset, place, band_facts(collection, band), said=said)


def _guessed(item: Mapping[str, Any], collection: str) -> Iterator[Found]:
    """Bands by the assets' keys, then by what the assets say of their bands."""
    for key, asset in sorted(mapping(item.get("assets")).items()):
        if not isinstance(asset, Mapping) or not _is_raster(key, asset):
            continue
        known = band_of(collection, key)
        if known:
            yield _found(known[0].band, key, asset, 0, known[0], resolution=known[1], by_key=True)
            continue
        for place in range(_n_bands(asset)):
            name = _band_name(asset, place, collection)
            facts = band_of(collection, name) if name else None
            if facts:
                yield _found(facts[0].band, key, asset, place, facts[0])
            elif collection not in BANDS:
                yield _found(name or (key if _n_bands(asset) == 1 else f"{key}_{place + 1}"), key, asset, place, None)


def _found(
    band: str,
    key: str,
    asset: Mapping[str, Any],
    place: int,
    facts: BandFacts | None,
    *,
    resolution: float | None = None,
    said: Mapping[str, Any] | None = None,
    by_key: bool = False,
) -> Found:
    transform = [number(value) for value in listing(asset.get("proj:transform"))]
    pixel = abs(transform[0]) if transform and transform[0] else None
    stated = first(resolution, pixel, number(_at(asset, "raster:bands", place).get("spatial_resolution")))
    size = first(stated, number(asset.get("raster:spatial_resolution")), number(asset.get("gsd")))
    return Found(
        band=band, facts=facts, key=key, place=place, asset=asset, resolution=size, said=said or {}, by_key=by_key
    )


def _is_raster(key: str, asset: Mapping[str, Any]) -> bool:
    if key.lower() in LOOK_KEYS or key.lower().startswith("tci") or not text(asset.get("href")):
        return False
    roles = {str(role) for role in listing(asset.get("roles"))}
    media = (text(asset.get("type")) or "").lower()
    return not roles & LOOKS and (not media or any(name in media for name in READABLE))


def _n_bands(asset: Mapping[str, Any]) -> int:
    return max(1, *(len(listing(asset.get(key))) for key in ("bands", "eo:bands", "raster:bands")))


def _at(asset: Mapping[str, Any], key: str, place: int) -> Mapping[str, Any]:
    entries = listing(asset.get(key))
    return mapping(entries[place]) if place < len(entries) else {}


def _band_name(asset: Mapping[str, Any], place: int, collection: str) -> str | None:
    """The most telling name of a band: the sensor's, where our table has it, else the common one, else any."""
    bands, eo_bands = _at(asset, "bands", place), _at(asset, "eo:bands", place)
    names = [bands.get("name"), eo_bands.get("name"), bands.get("eo:common_name"), eo_bands.get("common_name")]
    stated = [name for name in map(text, names) if name]
    telling = (name for name in stated if band_of(collection, name))
    return next(telling, (stated[-1] if stated else None))


def _field(found: Found, name: str) -> Any:
    """What the item says of the band, by STAC 1.1 `bands`, `raster:bands`, then the asset itself."""
    band, raster = _at(found.asset, "bands", found.place), _at(found.asset, "raster:bands", found.place)
    prefixed = f"raster:{name}"
    return first(band.get(name), band.get(prefixed), raster.get(name), found.asset.get(name), found.asset.get(prefixed))


def _dtype(stated: Any, facts: BandFacts | None) -> str:
    try:
        return np.dtype(stated).name if isinstance(stated, str) else (facts.dtype if facts else "float32")
    except TypeError:
        return facts.dtype if facts else "float32"


def _nodata(found: Found) -> float | None:
    if found.band in PROBABILITIES and found.facts:
        return None
    stated = number(first(found.said.get("nodata"), _field(found, "nodata")))
    return number(found.facts.nodata) if stated is None and found.facts else stated


def _calibration(found: Found, dtype: str) -> tuple[float, float]:
    """(scale, offset) as stated; a table's scale is of integers, so floats without one are physical already."""
    scale = number(first(found.said.get("scale"), _field(found, "scale")))
    offset = advertised_offset(found)
    integer = np.dtype(dtype).kind in "ui"
    default = (found.facts.scale, found.facts.offset) if found.facts and integer else (1.0, 0.0)
    if scale is None and offset is None:
        return default
    return (
        default[0] if scale is None else scale,
        (default[1] if scale is None else 0.0) if offset is None else offset,
    )


def _unit(stated: str | None, *, collection: str, found: Found, source: Source) -> str:
    if collection in SENTINEL_1 or found.band in {"vv", "vh", "hh", "hv"}:
        return _backscatter_unit(stated, source.units.get(collection, UNITS.get(collection, "1")))
    if found.facts:
        return found.facts.unit
    named = (stated or "1").lower()
    return {"metre": "m", "meter": "m", "db": "db"}.get(named, named if named in _UNITS else "1")


_UNITS = frozenset({"reflectance", "linear", "db", "class", "m", "1"})


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


def _crs(asset: Mapping[str, Any], properties: Mapping[str, Any]) -> str:
    """The asset's CRS as "EPSG:n" or WKT, empty where neither it nor the item says one."""
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


def _shape(asset: Mapping[str, Any], properties: Mapping[str, Any]) -> tuple[int, int] | None:
    for level in (asset, properties):
        sizes = [whole(value) for value in listing(level.get("proj:shape"))]
        if len(sizes) == 2 and all(size and size > 0 for size in sizes):
            return (sizes[0] or 0, sizes[1] or 0)
    return None


def _transform(asset: Mapping[str, Any], properties: Mapping[str, Any]) -> tuple[float, ...] | None:
    """Six numbers a b c d e f; None where missing or not invertible (some write them in GDAL's order)."""
    for level in (asset, properties):
        numbers = [number(value) for value in listing(level.get("proj:transform"))]
        if len(numbers) in {6, 9} and all(value is not None and math.isfinite(value) for value in numbers):
            six = tuple(value for value in numbers[:6] if value is not None)
            return six if six[0] * six[4] - six[1] * six[3] else None
    return None
