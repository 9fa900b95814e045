"""Normalisation of any provider's STAC Item into a Scene."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.fields import listing, mapping, number, text
from tilewright.catalogs.footprint import bounds_of, footprint_of, solar_day, to_geojson
from tilewright.catalogs.hrefs import scheme_of
from tilewright.catalogs.items.assets import BandCandidate, find_bands
from tilewright.catalogs.items.bands import to_band_asset
from tilewright.catalogs.items.names import BandNames, NamedScene
from tilewright.catalogs.items.plausible import advertised_offset, is_physical
from tilewright.catalogs.items.properties import Acquisition, bbox_of, flag_of, read_acquisition
from tilewright.catalogs.items.radiometry import (
    ADVERTISED,
    PHYSICAL,
    TAKEN_AS_NONE,
    RadiometricState,
    decide_state,
)
from tilewright.catalogs.scene import BandAsset, Scene
from tilewright.catalogs.sensors import ESA_DN_PREFIXES, SENTINEL_2, band_of, canonical_collection
from tilewright.catalogs.sources.product import NO_BAND

if TYPE_CHECKING:
    import pystac

    from tilewright.catalogs.sources.source import Source


__all__ = ["BandAsset", "ReadItem", "Scene", "normalise_item", "read_item", "scene_collection"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadItem:
    """An item in normal form with the names of its bands; `lost` are its unusable bands, each with the error."""

    named: NamedScene
    lost: tuple[tuple[BandCandidate, CatalogError], ...] = ()


def normalise_item(
    item: pystac.Item | Mapping[str, Any], source: Source, *, radiometry: str = "auto", location: str | None = None
) -> Scene:
    """The item as a Scene with our names, absolute unsigned hrefs, and the radiometric state that its metadata imply.

    Reads STAC 1.0 (and its betas) and 1.1. `location` is the href the item was read from; relative hrefs refer to it,
    else to the item's absolute self link, else to the source's href. Bands that the item lacks are left out.

    Raises:
        CatalogError: the item is not valid, has an href that the source may not refer to, or numbers that cannot be
            meant, or does not determine its radiometric state; the message names the item.
    """
    plain: Mapping[str, Any] = item if isinstance(item, Mapping) else item.to_dict(transform_hrefs=False)
    read = read_item(plain, source, radiometry=radiometry, location=location)
    # A band that the source's own `bands` describe, and this item lacks, has no asset.
    lost = [error for candidate, error in read.lost if candidate.asset.get("href")]
    if lost:
        raise _of_item(plain, source, lost[0])
    return read.named.scene


def read_item(
    item: Mapping[str, Any],
    source: Source,
    *,
    radiometry: str = "auto",
    location: str | None = None,
    made: bool = False,
) -> ReadItem:
    """The item as `normalise_item` gives it, but without the bands that cannot be used, which are named beside it.

    `made`: it is a product's (`product_item`), whose bands are what it states, whatever collection it stands for.

    Raises:
        CatalogError: the item is not valid, or no band of it can be used; the message names the item.
        RadiometryError: the item does not determine its radiometric state.
    """
    try:
        base = location or _base_href(item, source)
        return _normalise(item, source, radiometry=radiometry, base=base, made=made)
    except CatalogError as error:
        raise _of_item(item, source, error) from error


def _of_item(item: Mapping[str, Any], source: Source, error: CatalogError) -> CatalogError:
    return type(error)(f"item {text(item.get('id')) or '(no id)'} of {source.name}: {error}")


def scene_collection(item: Mapping[str, Any], source: Source) -> str:
    """Our name of the item's collection, or the item's own name of it if we have none.

    Raises:
        CatalogError: the item names no collection.
    """
    theirs = text(item.get("collection"))
    if theirs is None:
        raise CatalogError("it names no collection")
    return next((ours for ours, others in source.collections.items() if theirs in others), canonical_collection(theirs))


def _normalise(item: Mapping[str, Any], source: Source, *, radiometry: str, base: str, made: bool) -> ReadItem:
    name = text(item.get("id"))
    if name is None:
        raise CatalogError("it has no id")
    collection = scene_collection(item, source)
    acquisition = read_acquisition(item)
    footprint = footprint_of(mapping(item.get("geometry")) or None, bbox_of(item))
    bands = find_bands(item, collection, source, table=not made)
    state = (
        RadiometricState(state="not-applicable", offset=0.0, reason="a product, whose numbers are as its Item says")
        if made
        else _radiometric_state(item, bands, acquisition, collection=collection, source=source, radiometry=radiometry)
    )
    esa_offset = None if state.state == "not-applicable" else state.offset
    told = not state.reason.endswith(TAKEN_AS_NONE)
    assets, lost = _band_assets(
        bands, item, collection=collection, source=source, base=base, esa_offset=esa_offset, told=told
    )
    scene = Scene(
        id=name,
        collection=collection,
        source=source.name,
        datetime=acquisition.datetime,
        solar_day=solar_day(acquisition.datetime, footprint),
        geometry=to_geojson(footprint),
        bbox=bounds_of(footprint),
        platform=acquisition.platform,
        granule=acquisition.granule,
        orbit_state=acquisition.orbit_state,
        relative_orbit=acquisition.relative_orbit,
        cloud_cover=acquisition.cloud_cover,
        baseline=acquisition.baseline,
        state=state.state,
        state_reason=state.reason,
        assets=assets,
        mode=acquisition.mode,
        sequence=acquisition.sequence,
        generated=acquisition.generated,
        updated=acquisition.updated,
        href=base,
        simulated=mapping(item.get("properties")).get("tw:simulated") is True,
        end=acquisition.end,
        made=made,
    )
    names = (
        BandNames(band=band.band, own=_own_names(band, collection, made=made), common=band.common) for band in bands
    )
    return ReadItem(named=NamedScene(scene=scene, names=tuple(names)), lost=lost)


def _own_names(band: BandCandidate, collection: str, *, made: bool) -> tuple[str, ...]:
    """The names of a band; of a layer that stands for a sensor's band, those of that band too."""
    known = band_of(collection, band.band) if made else None
    return (*band.names, *sorted(known[0].names)) if known else band.names


def _band_assets(
    bands: list[BandCandidate], item: Mapping[str, Any], **context: Any
) -> tuple[tuple[BandAsset, ...], tuple[tuple[BandCandidate, CatalogError], ...]]:
    """(usable bands, unusable ones with their errors).

    Raises:
        CatalogError: there are bands, and none can be used.
    """
    assets: list[BandAsset] = []
    lost: list[tuple[BandCandidate, CatalogError]] = []
    for band in bands:
        try:
            assets.append(to_band_asset(band, item, **context))
        except CatalogError as error:
            lost.append((band, error))
    if lost and not assets:
        # What is wrong with a band says more than that something beside it is none.
        raise next((error for band, error in lost if NO_BAND not in band.asset), lost[0][1])
    return tuple(assets), tuple(lost)


def _radiometric_state(
    item: Mapping[str, Any],
    bands: list[BandCandidate],
    acquisition: Acquisition,
    *,
    collection: str,
    source: Source,
    radiometry: str,
) -> RadiometricState:
    reflectance = [band for band in bands if band.facts and band.facts.unit == "reflectance"]
    measured = [band for band in reflectance if not is_physical(band)]
    if collection in SENTINEL_2 and reflectance and not measured:
        return RadiometricState(state="offset-applied", offset=0.0, reason=PHYSICAL)
    if collection in SENTINEL_2 and measured and all(number(band.override.get("offset")) == 0 for band in measured):
        return RadiometricState(state="offset-applied", offset=0.0, reason=f"{ADVERTISED} 0, as the source says")
    offsets = [offset for offset in map(advertised_offset, measured) if offset is not None]
    hrefs = [text(band.asset.get("href")) or "" for band in measured]
    return decide_state(
        collection=collection,
        baseline=acquisition.baseline,
        flag=flag_of(item),
        advertised=offsets,
        dn_as_esa=source.dn_as_esa or (bool(hrefs) and all(href.startswith(ESA_DN_PREFIXES) for href in hrefs)),
        radiometry=radiometry,
    )


def _base_href(item: Mapping[str, Any], source: Source) -> str:
    """The location that the item's relative hrefs refer to: its absolute self link, else the source's href."""
    links = [mapping(link) for link in listing(item.get("links"))]
    own = next((text(link.get("href")) for link in links if link.get("rel") == "self"), None)
    if own and (scheme_of(own) != "file" or (source.local and own.startswith(("/", "file:")))):
        return own
    return source.href
