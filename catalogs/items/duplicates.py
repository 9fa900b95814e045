"""Several processings of one scene: the newest stays, and remembers the others."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any

from shapely.geometry import shape

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tilewright.catalogs.scene import Scene


# One pass sees a granule once; processings of it differ by less than this in the time they state.
SAME_PASS = timedelta(seconds=60)

# Two halves of a granule from two ground stations barely overlap, two processings of it do.
SAME_FOOTPRINT = 0.5


def keep_newest(scenes: Iterable[Scene]) -> tuple[Scene, ...]:
    """The scenes ordered by (datetime, id), of every duplicated one only the newest, with the others in `replaces`.

    Duplicates have the same platform, granule and pass, and footprints that overlap by more than half of the smaller;
    radar scenes, which have no granule, have the same start to the second. Newest is: highest processing baseline, then
    latest generation, then highest sequence, then last updated, then last id. An id met twice counts once.
    """
    unique: dict[tuple[str, str], Scene] = {}
    for scene in scenes:
        known = unique.get((scene.collection, scene.id))
        if known is None or _newness(scene) > _newness(known):
            unique[scene.collection, scene.id] = scene
    kept: list[Scene] = []
    for _, group in groupby(sorted(unique.values(), key=_place), key=_place):
        kept += _settle(list(group))
    return tuple(sorted(kept, key=lambda scene: (scene.datetime, scene.id)))


def _place(scene: Scene) -> tuple[str, ...]:
    """What duplicates share; scenes that do not say enough are alone in theirs."""
    if scene.platform is None:
        return (scene.collection, "alone", scene.id)
    if scene.granule is not None:
        return (scene.collection, scene.platform, scene.granule)
    if scene.mode is not None:
        return (scene.collection, scene.platform, scene.mode, scene.datetime.replace(microsecond=0).isoformat())
    return (scene.collection, "alone", scene.id)


def _settle(group: Sequence[Scene]) -> list[Scene]:
    """The winners of one place, from the newest down; each takes the losers it covers."""
    kept: list[Scene] = []
    for scene in sorted(group, key=_newness, reverse=True):
        winner = next((place for place, other in enumerate(kept) if _same(scene, other)), None)
        if winner is None:
            kept.append(scene)
        else:
            kept[winner] = replace(kept[winner], replaces=(*kept[winner].replaces, scene.id))
    return kept


def _same(scene: Scene, other: Scene) -> bool:
    if abs(scene.datetime - other.datetime) > SAME_PASS:
        return False
    first, second = shape(scene.geometry), shape(other.geometry)
    smaller = min(first.area, second.area)
    return smaller > 0 and bool(first.intersection(second).area / smaller > SAME_FOOTPRINT)


def _newness(scene: Scene) -> tuple[Any, ...]:
    sequence = -1 if scene.sequence is None else scene.sequence
    return (scene.baseline or "", scene.generated or "", sequence, scene.updated or "", scene.id)
