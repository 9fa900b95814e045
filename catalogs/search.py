"""The search: area, period and filters in, ordered scenes with their radiometric states out."""

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
from tilewright.catalogs.items.properties import bbox_of, item_span
from tilewright.catalogs.items.radiometry import RADIOMETRY_CHOICES, verify_states
from tilewright.catalogs.sensors import ALIASES, canonical_collection, known_bands
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

READERS = {"api": api_items, "static": static_items, "geoparquet": geoparquet_items, "files": file_items}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """The conditions that a scene must meet; None or empty means no condition.

    `max_cloud` is in percent and keeps scenes without a cloud cover; every other condition drops scenes that lack the
    property. `mode` is the radar's instrument mode (IW), `platforms` are like sentinel-2b. `limit_items` is the largest
    number of items that a search may return before filtering.
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
    """The scenes of a collection in the period whose footprints intersect the area, ordered by (datetime, id).

    `aoi` is in EPSG:4326 and split at 180 degrees; the period includes both ends, and None leaves an end open. Each
    scene has at least one of `bands`. Of several processings of one scene only the newest is returned. Offsets that
    items claim are checked on overviews (see radiometry.verify_states). Empty if no scene matches.

    Raises:
        CatalogError: unknown collection or band, a source that cannot be reached, an item that is refused.
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
    query = Query(
        collections=_source_names(source, collection), aoi=aoi, start=start, end=end, limit_items=filters.limit_items
    )
    raw_items = READERS[source.kind](source, query)
    scenes = [
        normalise_item(raw.item, source, radiometry=radiometry, location=raw.location)
        for raw in _limited(raw_items, source, filters.limit_items)
        if _within_query(raw.item, query)
    ]
    passing = [scene for scene in scenes if _passes(scene, filters) and shape(scene.geometry).intersects(aoi)]
    candidates = _scenes_with_bands(keep_newest(passing), collection, bands)
    read = read_overview or (
        lambda asset: read_band_overview(asset, lambda href: sign_href(source, href), s3=source.s3)
    )
    return verify_states(candidates, radiometry=radiometry, read_overview=read)


def _check_aoi_and_period(aoi: BaseGeometry, start: datetime | None, end: datetime | None) -> None:
    if aoi.is_empty:
        raise CatalogError("the area is empty; nothing can be searched in it")
    if any(moment is not None and moment.tzinfo is None for moment in (start, end)):
        raise CatalogError("the period has no time zone; expected UTC")
    if start is not None and end is not None and start > end:
        raise CatalogError(f"the period is reversed: it starts {start.isoformat()} and ends {end.isoformat()}")


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
            advice = "take a smaller area or period, or raise filter.limit_items"
            raise CatalogError(f"{source.name} gives more than {limit} items; {advice}")
        yield raw


def _within_query(item: Mapping[str, Any], query: Query) -> bool:
    """False for an item outside the period or the area, which is dropped before its other fields can be refused."""
    try:
        start, end = item_span(item)
        footprint = footprint_of(mapping(item.get("geometry")) or None, bbox_of(item))
    except CatalogError as error:
        raise CatalogError(f"item {item.get('id', '(no id)')}: {error}") from error
    return query.in_period(start, end) and bool(footprint.intersects(query.aoi))


def _passes(scene: Scene, filters: Filters) -> bool:
    cloudy = filters.max_cloud is not None and scene.cloud_cover is not None and scene.cloud_cover > filters.max_cloud
    return (
        not cloudy
        and filters.orbit_state in {None, scene.orbit_state}
        and filters.relative_orbit in {None, scene.relative_orbit}
        and (filters.mode is None or filters.mode.upper() == scene.mode)
        and (not filters.platforms or scene.platform in {platform.lower() for platform in filters.platforms})
    )


def _scenes_with_bands(scenes: Sequence[Scene], collection: str, bands: Sequence[str]) -> tuple[Scene, ...]:
    """Scenes with at least one of the bands.

    Raises:
        CatalogError: a band that neither the table of the collection nor any scene has.
    """
    available = {band for scene in scenes for band in scene.bands}
    known = set(known_bands(collection)) | available
    unknown = [band for band in bands if band not in known]
    if unknown and known:
        raise CatalogError(f"{collection} has no band {', '.join(unknown)}; it has: {', '.join(sorted(known))}")
    return tuple(scene for scene in scenes if any(scene.asset(band) for band in bands))
