"""Which scenes and steps each input of a model reads, and what of the card cannot be had from them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from shapely.geometry import shape

from catalogs.errors import UnknownCollectionError
from catalogs.search import Filters, search_scenes
from flows.job import JobError
from flows.nothing_found import nothing_found
from flows.plan_gaps import check_gaps, gap_rule
from flows.plan_mask import check_masks, mask_rule
from flows.plan_units import check_units
from flows.surroundings import surroundings
from tasks.dates import days_by_cloud, plan_steps
from tasks.plan import InputPlan

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from catalogs.scene import Scene
    from catalogs.sources import Source
    from flows.job import Job
    from flows.period import Period
    from models.card import ModelCard
    from models.inputs import InputSpec
    from tasks.dates import StepPlan

RADAR = "sentinel-1"
"""Start of the names of collections that have an instrument mode."""


def plan_inputs(job: Job, card: ModelCard, source: Source, *, reach: float) -> tuple[InputPlan, ...]:
    """What every input of the card reads; ``reach`` in metres is how far windows see beyond the area.

    Raises JobError where a required input has no scene, a step lacks one that may not, a unit does not fit, or a mask
    or gap rule cannot be had.
    """
    check_gaps(job, card)
    inputs = tuple(_plan_input(job, card, spec, source, reach=reach) for spec in card.inputs)
    check_masks(job.mask, inputs)
    return inputs


def input_scenes(job: Job, spec: InputSpec, source: Source, *, reach: float = 0.0) -> tuple[Scene, ...]:
    """The scenes of an input over the area grown by ``reach`` metres, ordered and each once.

    Empty where the source has no such collection and the card can do without.
    """
    found: dict[str, Scene] = {}
    aoi = surroundings(job.area.geometry, metres=reach) if reach else job.area.geometry
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


def _plan_input(job: Job, card: ModelCard, spec: InputSpec, source: Source, *, reach: float) -> InputPlan:
    scenes = input_scenes(job, spec, source, reach=reach)
    touching = tuple(scene for scene in scenes if shape(scene.geometry).intersects(job.area.geometry))
    if not touching:
        scenes = ()
    steps = _clearest(job.filter.clearest, spec, _steps(spec, scenes, touching, job.period), touching)
    if spec.dates.kind != "static":
        days = {day for step in steps for day in step.days}
        scenes = tuple(scene for scene in scenes if scene.solar_day in days)
    _check_scenes(job, spec, source, touching)
    check_units(spec, scenes)
    ratio = Fraction(card.ratio(spec)).limit_denominator(64)
    return InputPlan(
        name=spec.name,
        bands=spec.source_bands,
        unit=spec.unit,
        resampling=spec.resampling,
        reducer=spec.dates.reducer,
        required=not spec.optional,
        every_step=spec.dates.kind == "pair",
        mask=mask_rule(job.mask, scenes),
        finer=ratio.denominator,
        coarser=ratio.numerator,
        scenes=scenes,
        steps=steps,
        clearest=days_by_cloud(scenes),
        gaps=gap_rule(job, spec, scenes),
    )


def _steps(
    spec: InputSpec, scenes: Sequence[Scene], touching: Sequence[Scene], periods: Sequence[Period]
) -> tuple[StepPlan, ...]:
    """The steps of an input; which days are steps of their own is decided by the scenes of the area alone."""
    steps = plan_steps(touching if spec.dates.kind == "each" else scenes, spec.dates, periods)
    if not steps and spec.optional:
        # The graph wants a time axis all the same: one step that has no scene.
        steps = plan_steps((), type(spec.dates)(kind="each", steps=1), periods)
    return steps


def _clearest(
    most: int | None, spec: InputSpec, steps: tuple[StepPlan, ...], touching: Sequence[Scene]
) -> tuple[StepPlan, ...]:
    """Each step with its ``most`` least cloudy days over the whole area; all where no scene states its clouds.

    Raises JobError for a card whose days are steps of their own.
    """
    if most is None or spec.dates.kind == "static" or all(scene.cloud_cover is None for scene in touching):
        return steps
    if spec.dates.kind == "each":
        raise JobError(
            f"filter.clearest: each day is a step of its own for input {spec.name}, and its card says how many it "
            "takes: leave filter.clearest out."
        )
    ranked = days_by_cloud(touching)
    return tuple(
        replace(step, days=tuple(sorted([day for day in ranked if day in step.days][:most]))) for step in steps
    )


def _spans(periods: Iterable[Period], spec: InputSpec) -> list[tuple[Any, Any]]:
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


def _check_scenes(job: Job, spec: InputSpec, source: Source, touching: Sequence[Scene]) -> None:
    """Refuse an input without scenes, or with an empty step that may not be one."""
    if not touching and not spec.optional:
        raise JobError(nothing_found(job, spec, source, search=input_scenes))
    empty = [step.label for step in plan_steps(touching, spec.dates, job.period) if not step.days] if touching else []
    if not empty:
        return
    if spec.dates.kind == "pair" and not spec.optional:
        raise JobError(
            f"No scenes for {' and '.join(empty)} of input {spec.name}: both dates of a pair are needed. "
            "Widen that period or loosen filter."
        )
    if spec.missing.steps == "refuse":
        raise JobError(
            f"No scenes for {', '.join(empty)} of input {spec.name}, and the model's card refuses steps without one "
            "(tw:missing.steps). Widen that period or loosen filter."
        )
