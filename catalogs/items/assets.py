"""The bands of a provider's item and the assets that hold them."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.fields import first, integer, listing, mapping, number, text
from tilewright.catalogs.sensors import BANDS, BandFacts, band_facts, band_of
from tilewright.catalogs.sources.product import NO_BAND

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tilewright.catalogs.sources.source import Source


COMMON_FIELDS = (
    "data_type",
    "nodata",
    "unit",
    "raster:scale",
    "raster:offset",
    "raster:spatial_resolution",
)
"""Fields of a band that an item may state once in its properties, for all assets. Source: STAC 1.1, common metadata."""

PREVIEW_ROLES = frozenset({"thumbnail", "overview", "visual", "metadata", "tiles"})

PREVIEW_KEYS = frozenset({"visual", "overview", "preview", "rendered_preview", "thumbnail", "tilejson", "tci"})

MOST_BANDS = 4096
"""Bands of an item: hyperspectral files have some hundreds. Each is compared with the others of its item."""

RASTER_MEDIA = ("tiff", "geotiff", "jp2", "jpeg2000", "zarr", "octet-stream")


ZARR_GROUP = re.compile(r"\.zarr/+[^/?][^?]*$", re.IGNORECASE)
"""A place inside a Zarr store."""

ZARR_ROOT = re.compile(r"\.zarr/*$", re.IGNORECASE)
"""A whole Zarr store."""

ARRAY_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class BandCandidate:
    """A band in an asset of an item, one of the candidates for the band.

    `position` is the band's position in the file, from 0; `resolution` its pixel size in CRS units or metres, None if
    the item has none. `override` is the source's own description of the band, empty without one. `by_key` is True if
    the asset's key is a name of the band. `names` are the names of this band alone, the first one its own in the item;
    `common` is the common name that the item gives it, which bands may share.
    """

    band: str
    facts: BandFacts | None
    key: str
    position: int
    asset: Mapping[str, Any]
    resolution: float | None
    override: Mapping[str, Any]
    by_key: bool
    names: tuple[str, ...] = ()
    common: str | None = None

    @property
    def rank(self) -> tuple[Any, ...]:
        """Sort key of the preferred asset: it has an href, is named after the band, has native pixels, the finest."""
        native = self.facts.resolution if self.facts else None
        pixel_size = self.resolution if self.resolution is not None else math.inf
        return (
            text(self.asset.get("href")) is None,
            not self.by_key,
            pixel_size != native,
            pixel_size,
            self.position,
            self.key,
        )


def find_bands(item: Mapping[str, Any], collection: str, source: Source, *, table: bool = True) -> list[BandCandidate]:
    """The bands of an item, one asset each, in the order of the collection's table, then of their names.

    The source's own `bands` take precedence over the item. If there are any and the collection has no table in
    `sensors`, they are the only bands. In a collection without a table a band is called by its common name, or by its
    own where bands share the common one. `table` False: a collection's table does not hold for this item.

    Raises:
        CatalogError: the item lists more bands than any file has.
    """
    band_map = source.bands.get(collection, {})
    collection = collection if table else ""
    map_only = bool(band_map) and collection not in BANDS
    best: dict[str, BandCandidate] = {}
    detected = () if map_only else tuple(_detected_bands(item, collection))
    if collection not in BANDS:
        detected = _told_apart(detected)
    for candidate in (*_mapped_bands(item, collection, band_map), *detected):
        known = best.get(candidate.band)
        if known is None or (candidate.band not in band_map and candidate.rank < known.rank):
            best[candidate.band] = candidate
    order = {facts.band: position for position, facts in enumerate(BANDS.get(collection, ()))}
    found = list(best.values()) if collection in BANDS else _by_common_name(best)
    return sorted(found, key=lambda candidate: (order.get(candidate.band, len(order)), candidate.band))


def _told_apart(detected: Sequence[BandCandidate]) -> tuple[BandCandidate, ...]:
    """The bands of a collection without a table; those of one name that nothing tells apart go by their places.

    The name is then common to them, so that who asks for it is told the places.
    """
    ties = Counter((candidate.band, candidate.rank[:4]) for candidate in detected)
    return tuple(
        replace(candidate, band=candidate.names[-1], names=candidate.names[-1:], common=candidate.band)
        if ties[candidate.band, candidate.rank[:4]] > 1
        else candidate
        for candidate in detected
    )


def _by_common_name(best: Mapping[str, BandCandidate]) -> list[BandCandidate]:
    """The bands of a collection without a table under their common names, where these belong to one band alone."""
    sharing = Counter(candidate.common for candidate in best.values())
    return [
        replace(candidate, band=candidate.common)
        if candidate.common and sharing[candidate.common] == 1 and candidate.common not in best
        else candidate
        for candidate in best.values()
    ]


def _mapped_bands(
    item: Mapping[str, Any], collection: str, band_map: Mapping[str, Mapping[str, Any]]
) -> Iterator[BandCandidate]:
    """Bands that the source's own `bands` describe; one whose asset the item lacks is none, whatever else it has."""
    assets = _described_assets(item)
    for band, override in band_map.items():
        key = override["asset"]
        asset = mapping(assets.get(key)) or {NO_BAND: _absent(band, key, sorted(assets))}
        position = (integer(override.get("index")) or 1) - 1
        yield _candidate(band, key, asset, position, band_facts(collection, band), override=override)


def _absent(band: str, key: str, assets: Sequence[str]) -> str:
    similar = get_close_matches(key.lower(), [each.lower() for each in assets], n=1)
    meant = next((each for each in assets if each.lower() in similar), None)
    there = f"did you mean {meant!r}?" if meant else f"there are {', '.join(assets[:20])}"
    return f"the source's bands say that {band} is the asset {key!r}, which it has not: {there}"


def _detected_bands(item: Mapping[str, Any], collection: str) -> Iterator[BandCandidate]:
    """Bands found by the assets' keys, else by the names in the assets' fields."""
    rasters = [(key, asset) for key, asset in sorted(_described_assets(item).items()) if _is_raster(key, asset)]
    if (total := sum(_n_bands(asset) for _, asset in rasters)) > MOST_BANDS:
        raise CatalogError(f"its assets list {total:,} bands, and an item is read with at most {MOST_BANDS:,}")
    for key, asset in rasters:
        known = band_of(collection, key)
        if known:
            yield _candidate(known[0].band, key, asset, 0, known[0], resolution=known[1], by_key=True)
            continue
        for position in range(_n_bands(asset)):
            own, common = _stated_names(asset, position)
            name = next((name for name in (*own, common) if name and band_of(collection, name)), None)
            facts = band_of(collection, name) if name else None
            if facts:
                yield _candidate(facts[0].band, key, asset, position, facts[0])
            elif collection not in BANDS:
                names = (*own, key if _n_bands(asset) == 1 else f"{key}_{position + 1}")
                yield _candidate(names[0], key, asset, position, None, names=names, common=common)


def _described_assets(item: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The item's assets, with the fields that its properties state for all of them; of a group its arrays."""
    properties = mapping(item.get("properties"))
    common = {name: properties[name] for name in COMMON_FIELDS if properties.get(name) is not None}
    assets = {key: asset for key, asset in mapping(item.get("assets")).items() if mapping(asset)}
    few = sum(map(_n_bands, assets.values())) <= MOST_BANDS
    found = [(key, *each) for key, asset in assets.items() for each in (_arrays(key, asset) if few else [(key, asset)])]
    # An asset of its own comes before a group's array of the same name.
    return {name: {**common, **each} for key, name, each in found if name == key or name not in assets}


def _arrays(key: str, asset: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """An asset by its key; of a group in a Zarr store, of which the item lists bands, each array by key/name.

    The bands are then the names of arrays. A whole store is a group where the asset says so, else it may be one raster
    of several bands. Source: items of ESA's EOPF in Zarr v3.
    """
    href, node = text(asset.get("href")) or "", asset.get("zarr:node_type")
    place = ZARR_GROUP.search(href) or (node == "group" and ZARR_ROOT.search(href))
    stated = node == "group" or "zarr" in (text(asset.get("type")) or "").lower()
    if not stated or not place or node == "array":
        return [(key, asset)]
    entries = [mapping(entry) for entry in listing(asset.get("bands"))]
    names = [text(entry.get("name")) or "" for entry in entries]
    several = len(entries) > 1 or (node == "group" and entries)
    if not several or len(set(names)) != len(names) or not all(ARRAY_NAME.fullmatch(name) for name in names):
        return [(key, asset)]
    shared = {field: value for field, value in asset.items() if field not in {"eo:bands", "raster:bands"}}
    return [
        (f"{key}/{name}", {**shared, **_own_place(entry), "href": f"{href.rstrip('/')}/{name}", "bands": [entry]})
        for name, entry in zip(names, entries, strict=True)
    ]


def _own_place(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What an entry says of the place and the pixels of its array, which an asset says of all of its own."""
    return {
        field: value
        for field, value in entry.items()
        if value is not None and (field.startswith("proj:") or field in {"gsd", "raster:spatial_resolution"})
    }


def _candidate(
    band: str,
    key: str,
    asset: Mapping[str, Any],
    position: int,
    facts: BandFacts | None,
    *,
    resolution: float | None = None,
    override: Mapping[str, Any] | None = None,
    by_key: bool = False,
    names: tuple[str, ...] = (),
    common: str | None = None,
) -> BandCandidate:
    transform = [number(value) for value in listing(asset.get("proj:transform"))]
    pixel_width = abs(transform[0]) if transform and transform[0] else None
    stated = first(resolution, pixel_width, number(entry_at(asset, "raster:bands", position).get("spatial_resolution")))
    pixel_size = first(stated, number(asset.get("raster:spatial_resolution")), number(asset.get("gsd")))
    return BandCandidate(
        band=band,
        facts=facts,
        key=key,
        position=position,
        asset=asset,
        resolution=pixel_size,
        override=override or {},
        by_key=by_key,
        names=names or (band, *sorted(facts.names if facts else ())),
        common=common,
    )


def _is_raster(key: str, asset: Mapping[str, Any]) -> bool:
    if key.lower() in PREVIEW_KEYS or key.lower().startswith("tci"):
        return False
    roles = {str(role) for role in listing(asset.get("roles"))}
    media = (text(asset.get("type")) or "").lower()
    # Some call an asset with overviews inside `data` and `overview`.
    return ("data" in roles or not roles & PREVIEW_ROLES) and (not media or any(name in media for name in RASTER_MEDIA))


def _n_bands(asset: Mapping[str, Any]) -> int:
    return max(1, *(len(listing(asset.get(key))) for key in ("bands", "eo:bands", "raster:bands")))


def entry_at(asset: Mapping[str, Any], key: str, position: int) -> Mapping[str, Any]:
    """The entry of an asset's list for the band at a position from 0, empty if there is none."""
    entries = listing(asset.get(key))
    return mapping(entries[position]) if position < len(entries) else {}


def _stated_names(asset: Mapping[str, Any], position: int) -> tuple[tuple[str, ...], str | None]:
    """(own names, common name) that the asset states for the band at a position."""
    bands, eo_bands = entry_at(asset, "bands", position), entry_at(asset, "eo:bands", position)
    own = (name for name in map(text, (bands.get("name"), eo_bands.get("name"))) if name)
    commons = (bands.get("eo:common_name"), eo_bands.get("common_name"), bands.get("common_name"))
    return tuple(dict.fromkeys(own)), first(*map(text, commons))
