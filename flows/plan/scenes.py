"""The scenes of a job's inputs: searched over the area and its surroundings, or refused with advice."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import shapely
from shapely.affinity import scale, translate
from shapely.geometry import shape

from tilewright.catalogs.errors import CatalogError, UnknownCollectionError
from tilewright.catalogs.search import Filters, search_scenes
from tilewright.catalogs.sources.registry import resolve_source
from tilewright.flows.job.area import Area
from tilewright.flows.job.job import JobError, SceneFilter
from tilewright.flows.plan.model_card import job_card

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shapely.geometry.base import BaseGeometry

    from tilewright.catalogs.scene import Scene
    from tilewright.catalogs.sources.source import Source
    from tilewright.flows.job.job import Job
    from tilewright.flows.job.period import JobPeriod
    from tilewright.models.card.card import ModelCard
    from tilewright.models.spec.inputs import InputSpec


RADAR = "sentinel-1"
"""Start of the names of collections that have an instrument mode."""

METRES_PER_DEGREE = 110_574.0
"""Length of a degree of latitude at the equator, the shortest on the ellipsoid. Source: WGS 84."""

SLACK = 1.05
"""Buffers are polygons inside the circles they stand for, and projected pixels differ a little from metres."""

WORLD = shapely.box(-180.0, -90.0, 180.0, 90.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputScenes:
    """The scenes found for an input: all within reach of the area's windows, and those that touch the area itself.

    Both are empty where none touches the area.
    """

    scenes: tuple[Scene, ...]
    touching: tuple[Scene, ...]


def search_inputs(job: Job, card: ModelCard, source: Source, *, reach: float) -> dict[str, InputScenes]:
    """The scenes of every input of the card, by its name; ``reach`` in metres is how far windows see beyond the area.

    Raises JobError where an input that needs scenes has none.
    """
    shapely.prepare(job.area.geometry)
    found: dict[str, InputScenes] = {}
    for spec in card.inputs:
        scenes = input_scenes(job, spec, source, reach=reach)
        touching = tuple(scene for scene in scenes if job.area.geometry.intersects(shape(scene.geometry)))
        if not touching and not spec.optional:
            raise JobError(no_scenes_message(job, spec, source))
        found[spec.name] = InputScenes(scenes=scenes if touching else (), touching=touching)
    return found


def no_scenes_message(job: Job, spec: InputSpec, source: Source) -> str:
    """One or two sentences on an input without scenes."""
    periods = ", ".join(period.text for period in job.period)
    searched = f"{source.name} has none with {' '.join(spec.source_bands)} over the area in {periods}."
    return f"No scenes for input {spec.name}: {searched} {_advice(job, spec, source)}"


def _advice(job: Job, spec: InputSpec, source: Source) -> str:
    turned = with_axes_swapped(job)
    # The advice is a courtesy: an error of that search was not asked for.
    with suppress(CatalogError):
        if turned is not None and input_scenes(turned, spec, source):
            return "There are some with latitude and longitude swapped: an area is written longitude first."
    loosen = "loosen filter, " if job.filter != SceneFilter() else ""
    return f"Widen the period or the area, {loosen}or choose another source."


def with_axes_swapped(job: Job) -> Job | None:
    """The job with x and y of its area swapped, None where that would leave the globe."""
    west, _, east, _ = job.area.geometry.bounds
    if west < -90 or east > 90:
        return None
    turned = shapely.transform(job.area.geometry, lambda places: places[:, ::-1])
    # Only whether there are scenes is asked: no pixel is read for it.
    return job.model_copy(update={"area": Area(geometry=turned), "radiometry": "metadata"})


def input_scenes(job: Job, spec: InputSpec, source: Source, *, reach: float = 0.0) -> tuple[Scene, ...]:
    """The scenes of an input over the area grown by ``reach`` metres, ordered and each once.

    Empty where the source has no such collection and the card can do without.
    """
    found: dict[str, Scene] = {}
    aoi = search_area(job.area.geometry, metres=reach) if reach else job.area.geometry
    for start, end in _spans(job.period, spec):
        try:
            scenes = search_scenes(
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
            return ()
        found |= {scene.id: scene for scene in scenes}
    return tuple(sorted(found.values(), key=lambda scene: (scene.datetime, scene.id)))


def _spans(periods: Iterable[JobPeriod], spec: InputSpec) -> list[tuple[Any, Any]]:
    return [(None, None)] if spec.dates.kind == "static" else [(period.start, period.end) for period in periods]


def _filters(job: Job, spec: InputSpec) -> Filters:
    """What scenes must satisfy for both the job and the card; ``mode`` only where there are modes."""
    wish, own = job.filter, spec.filter
    clouds = [limit for limit in (wish.max_cloud, own.get("max_cloud")) if limit is not None]
    mode = wish.mode if spec.collection.startswith(RADAR) else None
    return Filters(
        max_cloud=min(clouds, default=None),
        orbit_state=_both(spec, "orbit_state", wish.orbit_state),
        relative_orbit=_both(spec, "relative_orbit", wish.relative_orbit),
        mode=_both(spec, "mode", mode),
        platforms=tuple(_both(spec, "platforms", wish.platforms or None) or ()),
        limit_items=job.limits.items,
    )


def _both(spec: InputSpec, key: str, wish: Any) -> Any:
    """What job and card together ask under one key of ``filter``, None where neither asks.

    Raises JobError where they ask for different things.
    """
    own = spec.filter.get(key)
    if wish is not None and own is not None and _plain(wish) != _plain(own):
        raise JobError(
            f"filter.{key} is {wish!r}, but input {spec.name} of the model takes {own!r} only (tw:filter): "
            f"leave filter.{key} out."
        )
    return own if wish is None else wish


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, (list, tuple)) else value


def find_scenes(job: Job, card: ModelCard | None = None) -> tuple[Scene, ...]:
    """The scenes a job would use, over all inputs of its card, ordered and each once."""
    card = card or job_card(job)
    source = resolve_source(job.source, base=job.base)
    found = {(scene.collection, scene.id): scene for spec in card.inputs for scene in input_scenes(job, spec, source)}
    return tuple(sorted(found.values(), key=lambda scene: (scene.datetime, scene.id)))


def no_scenes(job: Job, card: ModelCard) -> str:
    """The message on a job for which ``find_scenes`` found none."""
    spec = next((spec for spec in card.inputs if not spec.optional), card.inputs[0])
    return no_scenes_message(job, spec, resolve_source(job.source, base=job.base))


def search_area(area: BaseGeometry, *, metres: float) -> BaseGeometry:
    """The area (EPSG:4326) and all within ``metres`` of it, cut at 180 degrees."""
    grown = shapely.union_all([_grown(part, metres) for part in shapely.get_parts(area)])
    around = [translate(grown, xoff=turn).intersection(WORLD) for turn in (-360.0, 0.0, 360.0)]
    return shapely.union_all([part for part in around if not part.is_empty])


def _grown(part: BaseGeometry, metres: float) -> BaseGeometry:
    degrees = metres * SLACK / METRES_PER_DEGREE
    _, south, _, north = part.bounds
    # Degrees of longitude are shortest at the highest latitude touched; beyond 89 degrees all of them are near.
    narrow = math.cos(math.radians(min(89.0, max(abs(south), abs(north)) + degrees)))
    wide = scale(part, xfact=narrow, yfact=1.0, origin=(0.0, 0.0)).buffer(degrees)
    return scale(wide, xfact=1.0 / narrow, yfact=1.0, origin=(0.0, 0.0))
