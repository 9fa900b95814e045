"""Area, period and filters -> ordered scenes, each with its radiometric state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shapely.geometry import shape

from tilewright.catalogs.errors import CatalogError, UnknownCollectionError
from tilewright.catalogs.fields import mapping
from tilewright.catalogs.footprint import footprint_of
from tilewright.catalogs.gdal import read_overview as read_band_overview
from tilewright.catalogs.items.duplicates import keep_newest
from tilewright.catalogs.items.normalise import normalise_item
from tilewright.catalogs.items.properties import bbox_of, item_datetime
from tilewright.catalogs.items.radiometry import BELIEFS, settle
from tilewright.catalogs.sensors import ALIASES, known_bands, our_collection
from tilewright.catalogs.sources.api import api_items
from tilewright.catalogs.sources.files import file_items
from tilewright.catalogs.sources.geoparquet import geoparquet_items
from tilewright.catalogs.sources.registry import sign_href
from tilewright.catalogs.sources.source import Query, Source
from tilewright.catalogs.sources.static import static_items

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    import numpy as np
    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry

    from tilewright.catalogs.scene import BandAsset, Scene
    from tilewright.catalogs.sources.source import RawItem


ORBIT_STATES = ("ascending", "descending")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What a scene must be to be used, each None or empty where it does not matter.

    `max_cloud` is in percent and drops only scenes that say more; the others drop scenes that do not say, too.
    `mode` is the radar's instrument mode (IW), `platforms` are like sentinel-2b. `limit_items` bounds what a search
    may bring before filtering.
    """

    max_cloud: float | None = None
    orbit_state: str | None = None
    relative_orbit: int | None = None
    mode: str | None = None
    platforms: tuple[str, ...] = ()
    limit_items: int = 10_000

    def __post_init__(self) -> None:
        if self.max_cloud is not None and not 0 <= self.max_cloud <= 100:
            raise CatalogError(f"filter.max_cloud is {self.max_cloud}; expected a percentage from 0 to 100")
        if self.orbit_state is not None and self.orbit_state not in ORBIT_STATES:
            raise CatalogError(f"filter.orbit_state is {self.orbit_state!r}; expected ascending or descending")
        if self.limit_items < 1:
            raise CatalogError(f"filter.limit_items is {self.limit_items}; expected at least 1")


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
    """The scenes of a collection whose footprint meets the area in the period, ordered by (datetime, id).

    `aoi` is in EPSG:4326 and cut at 180 degrees; the period includes both ends, None leaves it open. Scenes own at
    least one of `bands`; of several processings of one scene only the newest is left. Claims about the offset are
    checked on overviews (see radiometry.settle). Empty where there is none.

    Raises:
        CatalogError: unknown collection or band, a source that cannot be reached, an item that is refused.
    """
    filters = filters or Filters()
    _check_belief(radiometry)
    _check_place_and_time(aoi, start, end)
    if not bands:
        raise CatalogError(f"no bands are asked of {collection}")
    if collection not in source.collections:
        # A card may say it in a provider's words: cop-dem-glo-30 is our dem.
        collection = our_collection(collection)
    query = Query(
        collections=_their_names(source, collection), aoi=aoi, start=start, end=end, limit_items=filters.limit_items
    )
    met = [
        normalise_item(raw.item, source, radiometry=radiometry, location=raw.location)
        for raw in _bounded(_raw_items(source, query), source, filters.limit_items)
        if _in_question(raw.item, query)
    ]
    wanted = [scene for scene in met if _passes(scene, filters) and shape(scene.geometry).intersects(aoi)]
    owning = _owning(keep_newest(wanted), collection, bands)
    look = read_overview or _overviews(source)
    return settle(owning, radiometry=radiometry, read_overview=look)


def _check_belief(radiometry: str) -> None:
    if radiometry not in BELIEFS:
        raise CatalogError(f"radiometry is {radiometry!r}; expected one of {', '.join(BELIEFS)}")


def _check_place_and_time(aoi: BaseGeometry, start: datetime | None, end: datetime | None) -> None:
    if aoi.is_empty:
        raise CatalogError("the area is empty; nothing can be searched in it")
    if any(moment is not None and moment.tzinfo is None for moment in (start, end)):
        raise CatalogError("the period has no time zone; expected UTC")
    if start is not None and end is not None and start > end:
        raise CatalogError(f"the period is reversed: it starts {start.isoformat()} and ends {end.isoformat()}")


def _their_names(source: Source, collection: str) -> tuple[str, ...]:
    """What the source calls our collection; where it has no table, our name and the well-known ones.

    Raises:
        CatalogError: the source has a table and the collection is not in it.
    """
    if not source.collections:
        return (collection, *ALIASES.get(collection, ()))
    if collection not in source.collections:
        there = ", ".join(source.collections)
        raise UnknownCollectionError(f"{source.name} has no collection {collection}; it has: {there}")
    return source.collections[collection]


def _raw_items(source: Source, query: Query) -> Iterator[RawItem]:
    readers = {"api": api_items, "static": static_items, "geoparquet": geoparquet_items, "files": file_items}
    return readers[source.kind](source, query)


def _bounded(raw_items: Iterator[RawItem], source: Source, limit: int) -> Iterator[RawItem]:
    for n_items, raw in enumerate(raw_items, start=1):
        if n_items > limit:
            advice = "take a smaller area or period, or raise filter.limit_items"
            raise CatalogError(f"{source.name} gives more than {limit} items; {advice}")
        yield raw


def _in_question(item: Mapping[str, Any], query: Query) -> bool:
    """False for items outside period or area, before anything else of them can be found wrong."""
    try:
        taken = item_datetime(item)
        footprint = footprint_of(mapping(item.get("geometry")) or None, bbox_of(item))
    except CatalogError as error:
        raise CatalogError(f"item {item.get('id', '(no id)')}: {error}") from error
    early = query.start is not None and taken < query.start
    late = query.end is not None and taken > query.end
    return not early and not late and bool(footprint.intersects(query.aoi))


def _passes(scene: Scene, filters: Filters) -> bool:
    cloudy = filters.max_cloud is not None and scene.cloud_cover is not None and scene.cloud_cover > filters.max_cloud
    return (
        not cloudy
        and filters.orbit_state in {None, scene.orbit_state}
        and filters.relative_orbit in {None, scene.relative_orbit}
        and (filters.mode is None or filters.mode.upper() == scene.mode)
        and (not filters.platforms or scene.platform in {platform.lower() for platform in filters.platforms})
    )


def _owning(scenes: Sequence[Scene], collection: str, bands: Sequence[str]) -> tuple[Scene, ...]:
    """Scenes with at least one of the bands.

    Raises:
        CatalogError: a band neither the collection is known to have nor any scene has.
    """
    there = {band for scene in scenes for band in scene.bands}
    known = set(known_bands(collection)) | there
    unknown = [band for band in bands if band not in known]
    if unknown and known:
        raise CatalogError(f"{collection} has no band {', '.join(unknown)}; it has: {', '.join(sorted(known))}")
    return tuple(scene for scene in scenes if any(scene.asset(band) for band in bands))


def _overviews(source: Source) -> Callable[[BandAsset], NDArray[np.generic]]:
    return lambda asset: read_band_overview(asset, lambda href: sign_href(source, href))
