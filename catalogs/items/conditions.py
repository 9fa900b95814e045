"""The conditions of a search, asked of each item: it is kept, counts for nothing, or is left out with the reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.errors import CatalogError, RadiometryError
from tilewright.catalogs.fields import mapping, text
from tilewright.catalogs.footprint import footprint_of
from tilewright.catalogs.items.bands import without_strange_crs
from tilewright.catalogs.items.duplicates import is_duplicate
from tilewright.catalogs.items.found import (
    CLOUDY,
    KEPT,
    NO_BAND,
    OTHER_PASS,
    OUTSIDE_AREA,
    OUTSIDE_PERIOD,
    UNUSABLE,
    Found,
    LeftOut,
    same_id,
)
from tilewright.catalogs.items.inherited import Collections
from tilewright.catalogs.items.names import NamedScene
from tilewright.catalogs.items.normalise import read_item
from tilewright.catalogs.items.properties import bbox_of, item_span
from tilewright.catalogs.sources.product import is_product, product_item

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from tilewright.catalogs.items.normalise import ReadItem
    from tilewright.catalogs.scene import Scene
    from tilewright.catalogs.sources.source import Query, RawItem, Source


NAMELESS = "(no id)"
"""The name under which items without an id are counted."""

ORBIT_STATES = ("ascending", "descending")


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
            raise CatalogError(f"limits.items is {self.limit_items}; expected at least 1")

    def failed_by(self, scene: Scene) -> str | None:
        """The fate of a scene that fails a condition, None for one that passes."""
        if scene.made:
            # The conditions are on acquisitions.
            return None
        if self.max_cloud is not None and scene.cloud_cover is not None and scene.cloud_cover > self.max_cloud:
            return CLOUDY
        passes = (
            self.orbit_state in {None, scene.orbit_state}
            and self.relative_orbit in {None, scene.relative_orbit}
            and (self.mode is None or self.mode.upper() == scene.mode)
            and (not self.platforms or scene.platform in {platform.lower() for platform in self.platforms})
        )
        return None if passes else OTHER_PASS


@dataclass(slots=True, kw_only=True)
class Sorting:
    """The items of one search, asked one after the other; `passing` are those kept so far, `lost` bands without use."""

    query: Query
    filters: Filters
    source: Source
    radiometry: str
    passing: list[NamedScene] = field(default_factory=list)
    left_out: dict[LeftOut, None] = field(default_factory=dict)
    lost: dict[str, list[tuple[frozenset[str], LeftOut]]] = field(default_factory=dict)
    fates: dict[str, str] = field(default_factory=dict)
    moments: dict[str, datetime] = field(default_factory=dict)
    by_id: dict[tuple[str, str], Scene] = field(default_factory=dict)
    collections: Collections = field(init=False)

    def __post_init__(self) -> None:
        self.collections = Collections(source=self.source)

    def add(self, raw: RawItem) -> None:
        """Ask one item.

        Raises:
            RadiometryError: its radiometric state is for the caller to decide.
        """
        name = text(raw.item.get("id"))
        try:
            if raw.problem:
                raise CatalogError(raw.problem)
            fate = self._outside(raw.item) or self._inside(raw)
        except RadiometryError:
            raise
        except CatalogError as error:
            fate = UNUSABLE
            reason = str(error).removeprefix(f"item {name or NAMELESS} of {self.source.name}: ")
            self.left_out[LeftOut(item=name or NAMELESS, reason=reason)] = None
        if name is None or (fate != KEPT and self.fates.get(name) == KEPT):
            # An item without an id of its own counts by itself.
            name = f"{name or NAMELESS} {len(self.fates)}"
        self.fates[name] = fate

    def _outside(self, item: Mapping[str, Any]) -> str | None:
        """The fate of an item outside the period or the area, before its other fields can be refused; else None.

        Raises:
            CatalogError: it may be inside, and has no date or no footprint that can be used.
        """
        problem: CatalogError | None = None
        try:
            start, end = item_span(item)
            if not self.query.in_period(start, end):
                self.moments[text(item.get("id")) or NAMELESS] = start
                return OUTSIDE_PERIOD
        except CatalogError as error:
            problem = error
        try:
            footprint = footprint_of(mapping(item.get("geometry")) or None, bbox_of(item))
        except CatalogError as error:
            footprint, problem = _bbox_footprint(item), problem or error
        if footprint is not None and not self.query.aoi.intersects(footprint):
            return OUTSIDE_AREA
        if problem is not None:
            raise problem
        return None

    def _inside(self, raw: RawItem) -> str:
        made = is_product(raw.item)
        item = product_item(raw.item) if made else self.collections.complete(raw)
        read = read_item(item, self.source, radiometry=self.radiometry, location=raw.location, made=made)
        scene = without_strange_crs(read.named.scene)
        fate = self.filters.failed_by(scene)
        if fate is None:
            self._check_id(scene)
            self.passing.append(NamedScene(scene=scene, names=read.named.names))
            self._note_lost(scene.id, read)
        return fate or KEPT

    def _check_id(self, scene: Scene) -> None:
        """Do nothing unless an item of another moment or place has the same id.

        Raises:
            CatalogError: it has, so that neither could be told from the other.
        """
        known = self.by_id.setdefault((scene.collection, scene.id), scene)
        if known is not scene and not is_duplicate(scene, known):
            raise CatalogError(same_id(scene.id, known).reason)

    def _note_lost(self, item: str, read: ReadItem) -> None:
        for candidate, error in read.lost:
            names = frozenset(name.lower() for name in (candidate.band, candidate.common, *candidate.names) if name)
            entry = LeftOut(item=item, reason=f"without its band {candidate.band}: {error}")
            self.lost.setdefault(item, []).append((names, entry))

    @property
    def lost_names(self) -> frozenset[str]:
        """The names in lower case of the bands that some item has and cannot be used."""
        return frozenset(name for entries in self.lost.values() for names, _ in entries for name in names)

    def found(self, scenes: Sequence[Scene], bands: Sequence[str]) -> Found:
        """The outcome, where `scenes` are those that are left of the passing ones when their bands are asked for."""
        asked = {band.lower() for band in bands}
        left = {name for scene in scenes for name in (scene.id, *scene.replaces)}
        fates, left_out = dict(self.fates), dict(self.left_out)
        for name, reason in self.collections.unread.items():
            left_out[LeftOut(item=name, reason=f"what this collection says of its items' assets: {reason}")] = None
        for entry in self.passing:
            name = entry.scene.id
            wanting = [told for names, told in self.lost.get(name, ()) if names & asked]
            left_out |= dict.fromkeys(wanting)
            if name not in left:
                fates[name] = UNUSABLE if wanting else NO_BAND
        return Found(scenes=tuple(scenes), left_out=tuple(left_out), fates=fates, moments=dict(self.moments))


def moment_over(raw: RawItem, query: Query) -> datetime | None:
    """The moment of an item over the query's area, None for another or one that cannot be placed."""
    try:
        footprint = footprint_of(mapping(raw.item.get("geometry")) or None, bbox_of(raw.item))
        return item_span(raw.item)[0] if footprint.intersects(query.aoi) else None
    except CatalogError:
        return None


def _bbox_footprint(item: Mapping[str, Any]) -> Any:
    try:
        return footprint_of(None, bbox_of(item))
    except CatalogError:
        return None
