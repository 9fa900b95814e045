"""Passes: the scenes that are one look of one satellite at the ground, cut into pieces by its producer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import shapely
from shapely.geometry import shape

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from shapely.geometry.base import BaseGeometry

    from tilewright.catalogs.scene import Scene


LONGEST_GAP = timedelta(minutes=30)
"""Time between two neighbouring scenes of a pass at most: pieces over the sea are not delivered, and an orbit of the
Sentinels takes 98 minutes (Sentinel-2 Products Specification Document 15.1, section 2.1)."""

ONE_LOOK = timedelta(minutes=2)
"""Time within which a satellite sees one place once. A later scene of the same place is another look, as the next
image of a satellite that stands still above the equator is."""

SAME_PLACE = 0.5
"""Share of the smaller of two footprints from which on they show the same place; neighbouring pieces share less."""


@dataclass(frozen=True, eq=False)
class Pass:
    """One observation: scenes of one collection and platform in a row, ordered by (datetime, id)."""

    scenes: tuple[Scene, ...]

    @property
    def moment(self) -> datetime:
        """The moment of the first scene, UTC."""
        return self.scenes[0].datetime

    @property
    def day(self) -> str:
        """The solar day of the first scene, ISO; the whole pass is on it, also across 180 degrees."""
        return self.scenes[0].solar_day

    @property
    def ids(self) -> tuple[str, ...]:
        """The scenes' ids."""
        return tuple(scene.id for scene in self.scenes)

    @cached_property
    def cloud_cover(self) -> float | None:
        """The mean cloud cover of the scenes in percent; None if none states one."""
        known = [scene.cloud_cover for scene in self.scenes if scene.cloud_cover is not None]
        return sum(known) / len(known) if known else None


def group_passes(scenes: Iterable[Scene]) -> tuple[Pass, ...]:
    """The scenes in passes, ordered by (moment, id); each scene is in exactly one.

    Neighbours in time of one collection, platform and relative orbit belong together while LONGEST_GAP lies between
    them at most, unless one shows the place of another that is more than ONE_LOOK older. A scene without platform or
    orbit is taken for one of the same. Midnight and 180 degrees part nothing.
    """
    by_platform: dict[tuple[str, str], list[Scene]] = {}
    for scene in sorted(scenes, key=_time_and_id):
        by_platform.setdefault((scene.collection, scene.platform or ""), []).append(scene)
    found = [Pass(tuple(members)) for same in by_platform.values() for members in _runs(same)]
    return tuple(sorted(found, key=lambda one: _time_and_id(one.scenes[0])))


def seeing_order(scenes: Iterable[Scene], bands: Sequence[str]) -> tuple[Scene, ...]:
    """The scenes of a pass in the order in which a pixel is taken: most of the bands first, then by (datetime, id)."""
    return tuple(
        sorted(scenes, key=lambda scene: (sum(scene.asset(band) is None for band in bands), *_time_and_id(scene)))
    )


def _time_and_id(scene: Scene) -> tuple[datetime, str]:
    return scene.datetime, scene.id


def _runs(scenes: Sequence[Scene]) -> list[list[Scene]]:
    """Scenes of one platform, in time's order, as runs that are one pass each."""
    runs: list[list[Scene]] = []
    outlines: list[list[BaseGeometry]] = []
    for scene in scenes:
        outline = shape(scene.geometry)
        # The latest first: a scene of another orbit in between parts no pass.
        recent = (
            number for number in reversed(range(len(runs))) if scene.datetime - runs[number][-1].datetime <= LONGEST_GAP
        )
        found = next((number for number in recent if _continues(runs[number], outlines[number], scene, outline)), None)
        if found is None:
            runs.append([scene])
            outlines.append([outline])
        else:
            runs[found].append(scene)
            outlines[found].append(outline)
    return runs


def _continues(run: Sequence[Scene], outlines: Sequence[BaseGeometry], scene: Scene, outline: BaseGeometry) -> bool:
    """True if a scene belongs to the pass of a run, whose scenes have these outlines."""
    orbits = {member.relative_orbit for member in (*run, scene)} - {None}
    if len(orbits) > 1:
        return False
    older = [known for member, known in zip(run, outlines, strict=True) if scene.datetime - member.datetime > ONE_LOOK]
    return not any(_same_place(known, outline) for known in older)


def _same_place(one: BaseGeometry, other: BaseGeometry) -> bool:
    smaller = min(one.area, other.area)
    if smaller == 0 or not shapely.box(*one.bounds).intersects(shapely.box(*other.bounds)):
        return False
    return bool(one.intersection(other).area / smaller > SAME_PLACE)
