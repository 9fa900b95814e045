"""The scenes of a job's inputs, searched over the area and its surroundings; none is a refusal with advice."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import shapely
from pyproj import Transformer
from pyproj.exceptions import ProjError
from shapely.geometry import box, shape
from shapely.ops import transform

from tilewright.catalogs.errors import CatalogError, UnknownCollectionError
from tilewright.catalogs.footprint import WORLD
from tilewright.catalogs.search import (
    KEPT,
    NEARBY_ITEMS,
    OUTSIDE_PERIOD,
    Filters,
    Found,
    check_share,
    merged,
    nearest_moments,
    search_items,
)
from tilewright.flows.access import check_finished, job_sources
from tilewright.flows.job.areas.area import Area
from tilewright.flows.job.job import JobError
from tilewright.flows.job.margin import search_area
from tilewright.flows.job.options import SceneFilter
from tilewright.flows.job.period import JobPeriod
from tilewright.flows.job.places.search import joined_spans
from tilewright.flows.plan.model_card import job_card
from tilewright.tasks.grid.areas import covered_share
from tilewright.tasks.report.format import plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime, timedelta

    from shapely.geometry.base import BaseGeometry

    from tilewright.catalogs.scene import Scene
    from tilewright.catalogs.search import LeftOut
    from tilewright.catalogs.sources.source import Source, Sources
    from tilewright.flows.job.job import Job
    from tilewright.models.card.card import ModelCard
    from tilewright.models.spec.inputs import InputSpec


ELSEWHERE, NOWHERE = " lies elsewhere", ": it has no item"
"""Clauses on a source whose items no wider area or period would find."""

RADAR = "sentinel-1"
"""Prefix of the collections that have an instrument mode."""

BOX_SEGMENTS = 50
"""Segments along each side of a box that is brought into another CRS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputScenes:
    """The scenes found for an input: ``scenes`` within reach of the area's windows, ``touching`` on the area itself.

    Both are empty if none touches the area. ``left_out`` are items that cannot be used.
    """

    scenes: tuple[Scene, ...]
    touching: tuple[Scene, ...]
    left_out: tuple[LeftOut, ...] = ()


def search_inputs(job: Job, card: ModelCard, sources: Sources, *, reach: float) -> dict[str, InputScenes]:
    """The scenes of every input of the card, by its name; ``reach``: metres that windows extend beyond the area.

    Raises JobError where a required input has no scene, CatalogError where too many items cannot be used.
    """
    shapely.prepare(job.area.geometry)
    inputs: dict[str, InputScenes] = {}
    for spec in card.inputs:
        source = sources.of(spec.collection)
        if source is None:
            # An optional input whose collection no source names.
            inputs[spec.name] = InputScenes(scenes=(), touching=())
            continue
        found = input_items(job, spec, source, reach=reach)
        touching = tuple(scene for scene in found.scenes if job.area.geometry.intersects(shape(scene.geometry)))
        if not spec.optional:
            check_share(found, most=job.tolerance.items_left_out, source=source.name)
            if not touching:
                raise JobError(no_scenes_message(job, spec, source, found))
        scenes = found.scenes if touching else ()
        if source.promised is None:
            check_finished(scenes, name=spec.name)
        inputs[spec.name] = InputScenes(scenes=scenes, touching=touching, left_out=found.left_out)
    return inputs


def left_out_of(inputs: Mapping[str, InputScenes]) -> tuple[LeftOut, ...]:
    """The items that cannot be used, over all inputs and each once."""
    return tuple(dict.fromkeys(entry for found in inputs.values() for entry in found.left_out))


def no_scenes_message(job: Job, spec: InputSpec, source: Source, found: Found) -> str:
    """The message on an input without scenes: which condition left none, with counts, and what to do."""
    periods = ", ".join(period.text for period in job.period)
    searched = f"{source.name} has none with {' '.join(spec.source_bands)} over the area in {periods}"
    why = _why_none(job, spec, source, found)
    return f"No scenes for input {spec.name}: {searched}{why}. {_advice(job, spec, source, why)}"


def _why_none(job: Job, spec: InputSpec, source: Source, found: Found) -> str:
    """A clause with the counts of the conditions that the items fail, or with what the source has instead."""
    counts = found.counts()
    if counts:
        total = sum(counts.values())
        kept = counts.pop(KEPT, 0)
        parts = [
            f"{n} {fate}{_nearest(job, found.moments.values()) if fate == OUTSIDE_PERIOD else ''}"
            for fate, n in counts.items()
        ]
        parts += [f"{kept} beside it"] if kept else []
        return f": of {plural(total, 'item')} of {spec.collection} {', '.join(parts)}"
    # These searches serve the sentence only; their errors would hide it.
    with suppress(CatalogError):
        over = nearest_moments(source, collection=spec.collection, aoi=job.area.geometry)
        if over:
            return f": it has {_at_least(len(over))} there, all outside the period{_nearest(job, over)}"
        anywhere = nearest_moments(source, collection=spec.collection, aoi=WORLD, most=1)
        return f": its {spec.collection}{ELSEWHERE}" if anywhere else f"{NOWHERE} of {spec.collection}"
    return ""


def _at_least(n_items: int) -> str:
    return f"at least {n_items} items" if n_items == NEARBY_ITEMS else plural(n_items, "item")


def _nearest(job: Job, moments: Iterable[datetime]) -> str:
    """The date nearest to the job's periods in brackets, empty without any."""

    def distance(moment: datetime) -> timedelta:
        return min(max(period.start - moment, moment - period.end) for period in job.period)

    nearest = min(moments, key=distance, default=None)
    return "" if nearest is None else f" (nearest {nearest.date().isoformat()})"


def _advice(job: Job, spec: InputSpec, source: Source, why: str) -> str:
    swapped = with_axes_swapped(job)
    # The search serves the advice only; its errors would hide the message.
    with suppress(CatalogError):
        if swapped is not None and input_items(swapped, spec, source).scenes:
            return "There are some with latitude and longitude swapped: an area is written longitude first."
    if why.endswith(ELSEWHERE):
        return "Choose an area where it has some, or another source."
    if why.startswith(NOWHERE):
        return "Choose another source."
    loosen = "loosen filter, " if job.filter != SceneFilter() else ""
    return f"Widen the period or the area, {loosen}or choose another source."


def with_axes_swapped(job: Job) -> Job | None:
    """The job with x and y of its area swapped, to look for scenes alone; None if that would leave the globe."""
    west, _, east, _ = job.area.geometry.bounds
    if west < -90 or east > 90:
        return None
    swapped = shapely.transform(job.area.geometry, lambda places: places[:, ::-1])
    return job.model_copy(update={"area": Area(geometry=swapped), "radiometry": "metadata"})


def input_scenes(job: Job, spec: InputSpec, source: Source, *, reach: float = 0.0) -> tuple[Scene, ...]:
    """The scenes of an input over the area buffered by ``reach`` metres, ordered and each once.

    Empty if the source lacks the collection and the input is optional.
    Raises CatalogError where too many items cannot be used.
    """
    found = input_items(job, spec, source, reach=reach)
    check_share(found, most=job.tolerance.items_left_out, source=source.name)
    return found.scenes


def input_items(job: Job, spec: InputSpec, source: Source, *, reach: float = 0.0) -> Found:
    """The outcome of the searches of an input: as ``input_scenes``, with the items that do not count."""
    aoi = search_area(job.area.geometry, metres=reach) if reach else job.area.geometry
    static = spec.dates.kind == "static"
    parts: list[Found] = []
    for start, end in [(None, None)] if static else [period.known_ends for period in job.period]:
        try:
            part = search_items(
                source,
                collection=spec.collection,
                aoi=aoi,
                start=start,
                end=end,
                bands=[*spec.source_bands],
                filters=_filters(job, spec),
                radiometry=job.radiometry,
            )
        except UnknownCollectionError:
            if not spec.optional:
                raise
            return Found()
        parts.append(part)
    return merged(parts)


def _filters(job: Job, spec: InputSpec) -> Filters:
    """The filters of job and card combined; ``mode`` only for collections that have one."""
    requested, of_card = job.filter, spec.filter
    clouds = [limit for limit in (requested.max_cloud, of_card.get("max_cloud")) if limit is not None]
    mode = requested.mode if spec.collection.startswith(RADAR) else None
    return Filters(
        max_cloud=min(clouds, default=None),
        orbit_state=_combined(spec, "orbit_state", requested.orbit_state),
        relative_orbit=_combined(spec, "relative_orbit", requested.relative_orbit),
        mode=_combined(spec, "mode", mode),
        platforms=tuple(_combined(spec, "platforms", requested.platforms or None) or ()),
        limit_items=job.limits.items,
    )


def _combined(spec: InputSpec, key: str, requested: Any) -> Any:
    """The value of one key of ``filter`` from job or card, None if neither has it.

    Raises JobError where they have different values.
    """
    of_card = spec.filter.get(key)
    if requested is not None and of_card is not None and _comparable(requested) != _comparable(of_card):
        raise JobError(
            f"filter.{key} is {requested!r}, but input {spec.name} of the model takes {of_card!r} only (tw:filter): "
            f"leave filter.{key} out."
        )
    return of_card if requested is None else requested


def _comparable(value: Any) -> Any:
    return sorted(value) if isinstance(value, (list, tuple)) else value


def find_scenes(job: Job, card: ModelCard | None = None) -> tuple[Scene, ...]:
    """The scenes a job would use, over all inputs of its card, ordered and each once."""
    return find_items(job, card).scenes


def find_items(job: Job, card: ModelCard | None = None) -> Found:
    """The scenes a job would use as ``find_scenes`` gives them, with the items that do not count.

    Raises CatalogError where too many items cannot be used.
    """
    card, job = card or job_card(job), _over_rows(job)
    sources = job_sources(job, card)
    named = [(spec, source) for spec in card.inputs if (source := sources.of(spec.collection)) is not None]
    found = merged(input_items(job, spec, source) for spec, source in named)
    check_share(found, most=job.tolerance.items_left_out, source=", ".join(source.name for source in sources))
    return found


def _over_rows(job: Job) -> Job:
    """The job whose period holds those of its rows, where these have their own."""
    places = job.places
    if places is None or not places.periods:
        return job
    used = (*places.periods, *(job.period if (places.of_row < 0).any() else ()))
    return job.model_copy(update={"period": periods_around(used)})


def periods_around(periods: Iterable[JobPeriod]) -> tuple[JobPeriod, ...]:
    """Few periods that hold all of these."""
    spans = joined_spans((period.start, period.end) for period in periods)
    return tuple(JobPeriod(name=f"span-{number}", start=start, end=end) for number, (start, end) in enumerate(spans))


def no_scenes(job: Job, card: ModelCard, found: Found) -> str:
    """The message on a job for which ``find_items`` found no scene."""
    spec = next((spec for spec in card.inputs if not spec.optional), card.inputs[0])
    sources = job_sources(job, card)
    return no_scenes_message(job, spec, sources.of(spec.collection) or next(iter(sources)), found)


def asked_area(job: Job) -> BaseGeometry:
    """The area in EPSG:4326 that is mapped: cut to ``grid.bounds`` where the job gives them in a CRS of their own."""
    options = job.grid
    if options.bounds is None or options.crs == "utm":
        return job.area.geometry
    try:
        outline = densified_box(options.bounds)
        cut = transform(Transformer.from_crs(options.crs, "EPSG:4326", always_xy=True).transform, outline)
    except ProjError:
        return job.area.geometry
    inside = job.area.geometry.intersection(cut) if cut.is_valid else job.area.geometry
    return inside if inside.area > 0 else job.area.geometry


def period_shares(job: Job, scenes: Sequence[Scene]) -> dict[str, float]:
    """The share (0-1) of the area that the footprints of each period's scenes cover, by the period's text."""
    area = asked_area(job)
    return {
        period.text: covered_share(
            area, [shape(scene.geometry) for scene in scenes if scene.within(period.start, period.end)]
        )
        for period in job.period
    }


def densified_box(bounds: tuple[float, float, float, float]) -> BaseGeometry:
    """The box with corners along its edges, which are curved in another CRS."""
    outline = box(*bounds)
    return outline.segmentize(max(outline.length / (4 * BOX_SEGMENTS), 1e-9))
