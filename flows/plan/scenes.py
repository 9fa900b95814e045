"""The scenes of a job's inputs, searched over the area and its surroundings; none is a refusal with advice."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import shapely
from shapely.affinity import scale, translate
from shapely.geometry import shape

from tilewright.catalogs.errors import CatalogError, UnknownCollectionError
from tilewright.catalogs.footprint import WORLD
from tilewright.catalogs.search import Filters, search_scenes
from tilewright.catalogs.sources.registry import resolve_source
from tilewright.flows.environment import s3_settings
from tilewright.flows.job.area import Area
from tilewright.flows.job.job import JobError, SceneFilter
from tilewright.flows.plan.model_card import job_card

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

    from tilewright.catalogs.scene import Scene
    from tilewright.catalogs.sources.source import Source
    from tilewright.flows.job.job import Job
    from tilewright.models.card.card import ModelCard
    from tilewright.models.spec.inputs import InputSpec


RADAR = "sentinel-1"
"""Prefix of the collections that have an instrument mode."""

METRES_PER_DEGREE = 110_574.0
"""Length of a degree of latitude at the equator, the shortest on the ellipsoid. Source: WGS 84."""

BUFFER_FACTOR = 1.05
"""Factor on a buffer's distance: buffers are polygons inside their circles, and projected pixels differ from metres."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputScenes:
    """The scenes found for an input: ``scenes`` within reach of the area's windows, ``touching`` on the area itself.

    Both are empty if none touches the area.
    """

    scenes: tuple[Scene, ...]
    touching: tuple[Scene, ...]


def search_inputs(job: Job, card: ModelCard, source: Source, *, reach: float) -> dict[str, InputScenes]:
    """The scenes of every input of the card, by its name; ``reach``: metres that windows extend beyond the area.

    Raises JobError where a required input has no scene.
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
    """The message on an input without scenes, one or two sentences."""
    periods = ", ".join(period.text for period in job.period)
    searched = f"{source.name} has none with {' '.join(spec.source_bands)} over the area in {periods}."
    return f"No scenes for input {spec.name}: {searched} {_advice(job, spec, source)}"


def _advice(job: Job, spec: InputSpec, source: Source) -> str:
    swapped = with_axes_swapped(job)
    # The search serves the advice only; its errors would hide the message.
    with suppress(CatalogError):
        if swapped is not None and input_scenes(swapped, spec, source):
            return "There are some with latitude and longitude swapped: an area is written longitude first."
    loosen = "loosen filter, " if job.filter != SceneFilter() else ""
    return f"Widen the period or the area, {loosen}or choose another source."


def with_axes_swapped(job: Job) -> Job | None:
    """The job with x and y of its area swapped; None if that would leave the globe."""
    west, _, east, _ = job.area.geometry.bounds
    if west < -90 or east > 90:
        return None
    swapped = shapely.transform(job.area.geometry, lambda places: places[:, ::-1])
    # This search only finds out whether there are scenes: no pixel is read for it.
    return job.model_copy(update={"area": Area(geometry=swapped), "radiometry": "metadata"})


def input_scenes(job: Job, spec: InputSpec, source: Source, *, reach: float = 0.0) -> tuple[Scene, ...]:
    """The scenes of an input over the area buffered by ``reach`` metres, ordered and each once.

    Empty if the source lacks the collection and the input is optional.
    """
    found: dict[str, Scene] = {}
    aoi = search_area(job.area.geometry, metres=reach) if reach else job.area.geometry
    static = spec.dates.kind == "static"
    for start, end in [(None, None)] if static else [period.known_ends for period in job.period]:
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
    card = card or job_card(job)
    source = resolve_source(job.source, base=job.base, s3=s3_settings())
    found = {(scene.collection, scene.id): scene for spec in card.inputs for scene in input_scenes(job, spec, source)}
    return tuple(sorted(found.values(), key=lambda scene: (scene.datetime, scene.id)))


def no_scenes(job: Job, card: ModelCard) -> str:
    """The message on a job for which ``find_scenes`` found none."""
    spec = next((spec for spec in card.inputs if not spec.optional), card.inputs[0])
    return no_scenes_message(job, spec, resolve_source(job.source, base=job.base, s3=s3_settings()))


def search_area(area: BaseGeometry, *, metres: float) -> BaseGeometry:
    """The area (EPSG:4326) buffered by ``metres``, cut at 180 degrees."""
    buffered = shapely.union_all([_buffered(part, metres) for part in shapely.get_parts(area)])
    around = [translate(buffered, xoff=shift).intersection(WORLD) for shift in (-360.0, 0.0, 360.0)]
    return shapely.union_all([part for part in around if not part.is_empty])


def _buffered(part: BaseGeometry, metres: float) -> BaseGeometry:
    degrees = metres * BUFFER_FACTOR / METRES_PER_DEGREE
    _, south, _, north = part.bounds
    # Degrees of longitude are shortest at the highest latitude touched; beyond 89 degrees the buffer covers all.
    shrink = math.cos(math.radians(min(89.0, max(abs(south), abs(north)) + degrees)))
    stretched = scale(part, xfact=shrink, yfact=1.0, origin=(0.0, 0.0)).buffer(degrees)
    return scale(stretched, xfact=1.0 / shrink, yfact=1.0, origin=(0.0, 0.0))
