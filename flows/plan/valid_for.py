"""Whether a job leaves the range that its models were made for: places, months, platforms, real data."""

from __future__ import annotations

import calendar
from typing import TYPE_CHECKING, Any, Final

from shapely.geometry import mapping
from shapely.lib import GEOSException

from tilewright.catalogs.footprint import footprint_of
from tilewright.tasks.grid.areas import geometry_km2
from tilewright.tasks.report.format import part_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from shapely.geometry.base import BaseGeometry

    from tilewright.catalogs.scene import Scene
    from tilewright.models.card.card import ModelCard
    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.plan.inputs import InputPlan

LONLAT: Final = "EPSG:4326"

LEAST_SHARE: Final = 1e-6
"""Share of an area below which its part outside is rounding of coordinates."""


def outside_valid_for(
    card: ModelCard, inputs: Sequence[InputPlan], *, area: BaseGeometry, grid: Grid
) -> list[dict[str, Any]]:
    """One entry for each model of a card that is used outside the range its own card states, as JSON values.

    ``area`` is the job's, in EPSG:4326; the part that the grid's extent holds counts, by its size on the ground. Keys:
    ``model``; ``area_percent`` and ``area_km2`` outside; ``months`` and ``platforms`` outside with ``month_scenes``
    and ``platform_scenes``, of ``scenes``; ``simulated`` is true if a model trained on simulated data sees real scenes.
    Inputs that are the same whatever the period (elevation, older maps) have no month and no platform.
    """
    mapped = _mapped(area, grid)
    entries = []
    for member in _members(card):
        static = {spec.name for spec in member.inputs if spec.dates.kind == "static"}
        mine = [entry for entry in inputs if entry.name.rpartition("/")[2] in {spec.name for spec in member.inputs}]
        scenes = _scenes([entry for entry in mine if entry.name.rpartition("/")[2] not in static])
        found = {**_area_outside(member, mapped), **_scenes_outside(member, scenes)}
        if found:
            entries.append({"model": member.name, **found})
    return entries


def _mapped(area: BaseGeometry, grid: Grid) -> BaseGeometry:
    """The part of an area that the grid's extent holds; all of it where the extent reaches beyond its CRS's domain."""
    try:
        outline = grid.geobox_of(grid.extent).footprint(LONLAT, npoints=64).geom
    except GEOSException:
        return area
    return area.intersection(footprint_of(mapping(outline), None))


def outside_warnings(entries: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The entries of ``outside_valid_for`` as sentences, each naming its model."""
    for entry in entries:
        name, total = entry["model"], entry.get("scenes")
        if entry.get("simulated"):
            yield f"The model {name} was trained on simulated data, and this job has real scenes."
        if "area_percent" in entry:
            percent = entry["area_percent"]
            share = f"{percent:.1f} %" if percent >= 0.1 else "less than 0.1 %"
            yield (
                f"The model {name} was made for another area: {share} of the job's ({entry['area_km2']:.4g} km2) lies "
                "outside its tw:valid_for.area."
            )
        if "months" in entry:
            months = ", ".join(calendar.month_name[month] for month in entry["months"])
            yield (
                f"The model {name} was made for other months: {_of_scenes(entry['month_scenes'], total)} of "
                f"{months}, outside its tw:valid_for.months."
            )
        if "platforms" in entry:
            yield (
                f"The model {name} was made for other platforms: {_of_scenes(entry['platform_scenes'], total)} of "
                f"{', '.join(entry['platforms'])}, outside its tw:valid_for.platforms."
            )


def _members(card: ModelCard) -> list[ModelCard]:
    """The models that a card combines, each once; the card itself if it is one model."""
    if not card.members:
        return [card]
    return list({member.digest: member for each in card.members for member in _members(each)}.values())


def _scenes(inputs: Sequence[InputPlan]) -> list[Scene]:
    """The scenes of the inputs' steps, each once."""
    found: dict[tuple[str, str], Scene] = {}
    for entry in inputs:
        used = {scene for step in entry.steps for scene in step.scenes}
        found |= {(scene.collection, scene.id): scene for scene in entry.scenes if scene.id in used}
    return list(found.values())


def _area_outside(card: ModelCard, mapped: BaseGeometry) -> dict[str, Any]:
    if card.valid_for.area is None or mapped.is_empty:
        return {}
    total = geometry_km2(mapped, LONLAT)
    outside = mapped.difference(card.valid_for.area)
    km2 = geometry_km2(outside, LONLAT) if not outside.is_empty else 0.0
    return {"area_percent": 100 * km2 / total, "area_km2": km2} if km2 > LEAST_SHARE * total else {}


def _scenes_outside(card: ModelCard, scenes: Sequence[Scene]) -> dict[str, Any]:
    valid, found = card.valid_for, dict[str, Any]()
    # A product has neither a month nor a satellite of its own.
    seen = [scene for scene in scenes if not scene.made]
    months = [month for scene in seen if valid.months and (month := _month(scene)) not in valid.months]
    if months:
        found |= {"months": sorted(set(months)), "month_scenes": len(months)}
    platforms = [
        scene.platform.lower()
        for scene in seen
        if valid.platforms and scene.platform and scene.platform.lower() not in valid.platforms
    ]
    if platforms:
        found |= {"platforms": sorted(set(platforms)), "platform_scenes": len(platforms)}
    if valid.simulated and any(not scene.simulated for scene in scenes):
        found["simulated"] = True
    return {**found, "scenes": len(seen)} if found else {}


def _month(scene: Scene) -> int:
    return int(scene.solar_day[5:7])


def _of_scenes(n_scenes: int, total: int | None) -> str:
    return part_of(n_scenes, total, "scene", singular="is", others="are")
