"""Removal of duplicates: of several processings of one scene the newest is kept and lists the others."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any

from shapely.geometry import shape

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tilewright.catalogs.scene import Scene


# One pass covers a granule once; the times in its processings differ by less than this.
PASS_TOLERANCE = timedelta(seconds=60)

# Two halves of a granule from two ground stations barely overlap; two processings of it overlap by more than this.
OVERLAP_SHARE = 0.5


def keep_newest(scenes: Iterable[Scene]) -> tuple[Scene, ...]:
    """The scenes without duplicates, ordered by (datetime, id), each with the ids it supersedes in `replaces`.

    Duplicates have the same platform, granule and pass, and footprints that overlap by more than half of the smaller;
    radar scenes, which have no granule, have the same start to the second. Newest is: highest processing baseline, then
    latest generation, then highest sequence, then last updated, then last id. Scenes with the same id count as one.
    """
    unique: dict[tuple[str, str], Scene] = {}
    for scene in scenes:
        known = unique.get((scene.collection, scene.id))
        if known is None or _recency(scene) > _recency(known):
            unique[scene.collection, scene.id] = scene
    kept: list[Scene] = []
    for _, group in groupby(sorted(unique.values(), key=_duplicate_key), key=_duplicate_key):
        kept += _merge_duplicates(list(group))
    return tuple(sorted(kept, key=lambda scene: (scene.datetime, scene.id)))


def _duplicate_key(scene: Scene) -> tuple[str, ...]:
    """The properties that duplicates share; the scene's own id if it lacks them."""
    if scene.platform is None:
        return (scene.collection, "alone", scene.id)
    if scene.granule is not None:
        return (scene.collection, scene.platform, scene.granule)
    if scene.mode is not None:
        return (scene.collection, scene.platform, scene.mode, scene.datetime.replace(microsecond=0).isoformat())
    return (scene.collection, "alone", scene.id)


def _merge_duplicates(group: Sequence[Scene]) -> list[Scene]:
    """The scenes to keep of one group, from the newest to the oldest, each with its duplicates in `replaces`."""
    kept: list[Scene] = []
    for scene in sorted(group, key=_recency, reverse=True):
        winner = next((position for position, other in enumerate(kept) if is_duplicate(scene, other)), None)
        if winner is None:
            kept.append(scene)
        else:
            kept[winner] = replace(kept[winner], replaces=(*kept[winner].replaces, scene.id))
    return kept


def is_duplicate(scene: Scene, other: Scene) -> bool:
    """True for two scenes of one moment, to a minute, that overlap by more than half of the smaller footprint."""
    if abs(scene.datetime - other.datetime) > PASS_TOLERANCE:
        return False
    first, second = shape(scene.geometry), shape(other.geometry)
    smaller = min(first.area, second.area)
    return smaller > 0 and bool(first.intersection(second).area / smaller > OVERLAP_SHARE)


def _recency(scene: Scene) -> tuple[Any, ...]:
    sequence = -1 if scene.sequence is None else scene.sequence
    return (scene.baseline or "", scene.generated or "", sequence, scene.updated or "", scene.id)
