"""Which asset of a foreign item holds which band."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.fields import first, listing, mapping, number, text, whole
from tilewright.catalogs.sensors import BANDS, BandFacts, band_facts, band_of

if TYPE_CHECKING:
    from tilewright.catalogs.sources.source import Source


LOOKS = frozenset({"thumbnail", "overview", "visual", "metadata", "tiles"})

LOOK_KEYS = frozenset({"visual", "overview", "preview", "rendered_preview", "thumbnail", "tilejson", "tci"})

READABLE = ("tiff", "geotiff", "jp2", "jpeg2000", "zarr", "octet-stream")


@dataclass(frozen=True, slots=True, kw_only=True)
class BandCandidate:
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


def find_bands(item: Mapping[str, Any], collection: str, source: Source) -> list[BandCandidate]:
    """The bands of an item, one file each, in the order of the collection's table, then of their names.

    What the source's own mapping tells goes before what the item says; in a collection we do not know it is all.
    """
    told = source.bands.get(collection, {})
    alone = bool(told) and collection not in BANDS
    best: dict[str, BandCandidate] = {}
    for found in (*_told(item, collection, told), *(() if alone else _guessed(item, collection))):
        if found.band not in best or (found.band not in told and found.rank < best[found.band].rank):
            best[found.band] = found
    order = {facts.band: place for place, facts in enumerate(BANDS.get(collection, ()))}
    return sorted(best.values(), key=lambda found: (order.get(found.band, len(order)), found.band))


def _told(item: Mapping[str, Any], collection: str, told: Mapping[str, Mapping[str, Any]]) -> Iterator[BandCandidate]:
    """Bands as the user's own mapping names them."""
    assets = mapping(item.get("assets"))
    for band, said in told.items():
        asset = mapping(assets.get(said["asset"]))
        if asset:
            place = (whole(said.get("index")) or 1) - 1
            yield _found(band, said["asset"], asset, place, band_facts(collection, band), said=said)


def _guessed(item: Mapping[str, Any], collection: str) -> Iterator[BandCandidate]:
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
) -> BandCandidate:
    transform = [number(value) for value in listing(asset.get("proj:transform"))]
    pixel = abs(transform[0]) if transform and transform[0] else None
    stated = first(resolution, pixel, number(entry_at(asset, "raster:bands", place).get("spatial_resolution")))
    size = first(stated, number(asset.get("raster:spatial_resolution")), number(asset.get("gsd")))
    return BandCandidate(
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


def entry_at(asset: Mapping[str, Any], key: str, place: int) -> Mapping[str, Any]:
    """What a list of an asset says of the band at a place counted from 0, empty where it says nothing."""
    entries = listing(asset.get(key))
    return mapping(entries[place]) if place < len(entries) else {}


def _band_name(asset: Mapping[str, Any], place: int, collection: str) -> str | None:
    """The most telling name of a band: the sensor's, where our table has it, else the common one, else any."""
    bands, eo_bands = entry_at(asset, "bands", place), entry_at(asset, "eo:bands", place)
    names = [bands.get("name"), eo_bands.get("name"), bands.get("eo:common_name"), eo_bands.get("common_name")]
    stated = [name for name in map(text, names) if name]
    telling = (name for name in stated if band_of(collection, name))
    return next(telling, (stated[-1] if stated else None))
