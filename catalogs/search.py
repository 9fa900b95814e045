"""The search: area, period and filters in, ordered scenes with their radiometric states out."""

from __future__ import annotations

from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING

import shapely

from tilewright.catalogs.errors import CatalogError, UnknownCollectionError
from tilewright.catalogs.gdal import read_overview as read_band_overview
from tilewright.catalogs.items.conditions import Filters, Sorting, moment_over
from tilewright.catalogs.items.duplicates import keep_newest
from tilewright.catalogs.items.found import (
    KEPT,
    OUTSIDE_PERIOD,
    Found,
    LeftOut,
    check_share,
    left_out_sentence,
    merged,
)
from tilewright.catalogs.items.names import NamedScene, with_asked_bands
from tilewright.catalogs.items.radiometry import RADIOMETRY_CHOICES, verify_states
from tilewright.catalogs.sensors import ALIASES, BANDS, band_of, canonical_collection, known_bands
from tilewright.catalogs.sources.api import api_items
from tilewright.catalogs.sources.files import file_items
from tilewright.catalogs.sources.geoparquet import geoparquet_items
from tilewright.catalogs.sources.product import product_items
from tilewright.catalogs.sources.registry import sign_href
from tilewright.catalogs.sources.source import Query, Source
from tilewright.catalogs.sources.static import static_items

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    import numpy as np
    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry

    from tilewright.catalogs.scene import BandAsset, Scene
    from tilewright.catalogs.sources.source import RawItem

__all__ = [
    "KEPT",
    "OUTSIDE_PERIOD",
    "Filters",
    "Found",
    "LeftOut",
    "check_share",
    "left_out_sentence",
    "merged",
    "nearest_moments",
    "search_items",
    "search_scenes",
]

READERS = {
    "api": api_items,
    "static": static_items,
    "geoparquet": geoparquet_items,
    "files": file_items,
    "product": product_items,
}


NEARBY_ITEMS = 1000
"""The most items that are looked at for advice on a search that found none."""


def search_scenes(
    source: Source,
    *,
    collection: str,
    aoi: BaseGeometry,
    start: datetime | None,
    end: datetime | None,
    bands: Sequence[str],
    filters: Filters | None = None,
    radiometry: str = "auto",
    read_overview: Callable[[BandAsset], NDArray[np.generic]] | None = None,
) -> tuple[Scene, ...]:
    """The scenes of a collection in the period whose footprints intersect the area, ordered by (datetime, id).

    `aoi` is in EPSG:4326 and split at 180 degrees; the period includes both ends, and None leaves an end open. Each
    scene has at least one of `bands`, under the name that was asked for. Of several processings of one scene only the
    newest is returned. Offsets that items claim are checked on overviews (see radiometry.verify_states). Items that
    cannot be used are left out (`search_items` names them). Empty if no scene matches.

    Raises:
        CatalogError: unknown collection or band, a source that cannot be reached, no item that can be used, or an item
            whose radiometry is for the caller to decide.
    """
    found = search_items(
        source,
        collection=collection,
        aoi=aoi,
        start=start,
        end=end,
        bands=bands,
        filters=filters,
        radiometry=radiometry,
        read_overview=read_overview,
    )
    check_share(found, most=1.0, source=source.name)
    return found.scenes


def search_items(
    source: Source,
    *,
    collection: str,
    aoi: BaseGeometry,
    start: datetime | None,
    end: datetime | None,
    bands: Sequence[str],
    filters: Filters | None = None,
    radiometry: str = "auto",
    read_overview: Callable[[BandAsset], NDArray[np.generic]] | None = None,
) -> Found:
    """The scenes that `search_scenes` finds, with the items left out and why the others do not count.

    Raises:
        CatalogError: as there, but not where no item can be used.
    """
    filters = filters or Filters()
    if radiometry not in RADIOMETRY_CHOICES:
        raise CatalogError(f"radiometry is {radiometry!r}; expected one of {', '.join(RADIOMETRY_CHOICES)}")
    _check_aoi_and_period(aoi, start, end)
    if not bands:
        raise CatalogError(f"no bands are asked of {collection}")
    if collection not in source.collections:
        # A card may use a provider's name: cop-dem-glo-30 is our dem.
        collection = canonical_collection(collection)
    _check_described(source, collection, bands)
    names = _source_names(source, collection)
    # An area of many parts is asked once per item.
    shapely.prepare(aoi)
    query = Query(collections=names, aoi=aoi, start=start, end=end, limit_items=filters.limit_items)
    sorting = Sorting(query=query, filters=filters, source=source, radiometry=radiometry)
    for raw in _limited(READERS[source.kind](source, query), source, filters.limit_items):
        sorting.add(raw)
    candidates = _scenes_with_bands(sorting.passing, collection, bands, lost=sorting.lost_names)
    read = read_overview or (
        lambda asset: read_band_overview(asset, lambda href: sign_href(source, href), s3=source.s3, rules=source.rules)
    )
    return sorting.found(verify_states(candidates, radiometry=radiometry, read_overview=read), bands)


def nearest_moments(source: Source, *, collection: str, aoi: BaseGeometry, most: int = NEARBY_ITEMS) -> list[datetime]:
    """The moments of up to `most` items of a collection over an area, whatever the period: for advice alone.

    Raises:
        CatalogError: the source cannot be reached, or has no such collection.
    """
    names = _source_names(
        source, canonical_collection(collection) if collection not in source.collections else collection
    )
    query = Query(collections=names, aoi=aoi, start=None, end=None, limit_items=most)
    moments = (moment_over(raw, query) for raw in islice(READERS[source.kind](source, query), most))
    return [moment for moment in moments if moment is not None]


def _check_aoi_and_period(aoi: BaseGeometry, start: datetime | None, end: datetime | None) -> None:
    if aoi.is_empty:
        raise CatalogError("the area is empty; nothing can be searched in it")
    if any(moment is not None and moment.tzinfo is None for moment in (start, end)):
        raise CatalogError("the period has no time zone; expected UTC")
    if start is not None and end is not None and start > end:
        raise CatalogError(f"the period is reversed: it starts {start.isoformat()} and ends {end.isoformat()}")


def _check_described(source: Source, collection: str, bands: Sequence[str]) -> None:
    """Raise CatalogError for a collection or band that the source's own `bands` call nearly so: it would not count.

    Of collections and bands of the tables alone: names of a user's own may be near to each other and both be meant.
    """
    if collection not in BANDS:
        return
    collections = [name for name in source.bands if name not in BANDS and name not in source.collections]
    own = [name for name in source.bands.get(collection, {}) if not band_of(collection, name)]
    for asked, known, others, within in (
        ([collection], source.bands, collections, "bands"),
        (bands, source.bands.get(collection, {}), own, f"bands.{collection}"),
    ):
        for name in asked:
            similar = get_close_matches(name, others, n=1, cutoff=0.75) if name not in known else []
            if similar and (within == "bands" or band_of(collection, name)):
                raise CatalogError(f"{source.name}: {within} has {similar[0]!r}; did you mean {name!r}?")


def _source_names(source: Source, collection: str) -> tuple[str, ...]:
    """The source's names of our collection; our name and the aliases if the source has no table.

    Raises:
        CatalogError: the source has a table and the collection is not in it.
    """
    if not source.collections:
        return (collection, *ALIASES.get(collection, ()))
    if collection not in source.collections:
        available = ", ".join(source.collections)
        raise UnknownCollectionError(f"{source.name} has no collection {collection}; it has: {available}")
    return source.collections[collection]


def _limited(raw_items: Iterator[RawItem], source: Source, limit: int) -> Iterator[RawItem]:
    for n_items, raw in enumerate(raw_items, start=1):
        if n_items > limit:
            # Readers of APIs and tables ask for the area and the period only; those of catalogs on disk look at all.
            smaller = "take a smaller area or period, or " if source.kind in {"api", "geoparquet"} else ""
            raise CatalogError(f"{source.name} gives more than {limit} items; {smaller}raise limits.items")
        yield raw


def _scenes_with_bands(
    passing: Sequence[NamedScene], collection: str, bands: Sequence[str], *, lost: frozenset[str]
) -> tuple[Scene, ...]:
    """The newest scenes with at least one of the bands, ordered; `lost` are names of bands that cannot be used.

    Raises:
        CatalogError: a band that neither the table of the collection nor any scene has, or a name of several bands.
    """
    names = {(entry.scene.collection, entry.scene.id): entry.names for entry in passing}
    newest = keep_newest(entry.scene for entry in passing)
    named = [NamedScene(scene=scene, names=names[scene.collection, scene.id]) for scene in newest]
    scenes = with_asked_bands(named, bands)
    known = set(known_bands(collection)) | {band for scene in scenes for band in scene.bands}
    unknown = [
        band for band in bands if band not in known and band.lower() not in lost and not band_of(collection, band)
    ]
    if unknown and known:
        similar = get_close_matches(unknown[0].lower(), sorted(known), n=1)
        hint = f" (did you mean {similar[0]!r}?)" if similar else ""
        raise CatalogError(f"{collection} has no band {', '.join(unknown)}{hint}; it has: {', '.join(sorted(known))}")
    return tuple(scene for scene in scenes if any(scene.asset(band) for band in bands))
