"""Which scenes and steps each input of a model reads, and what of the card cannot be had from them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from shapely.geometry import shape

from tilewright.flows.job.job import JobError
from tilewright.flows.plan.rules import check_gaps, check_masks, check_units, gap_rule, mask_rule
from tilewright.flows.plan.scenes import input_scenes, no_scenes_message
from tilewright.tasks.compose.steps import days_by_cloud, plan_steps
from tilewright.tasks.plan import InputPlan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.catalogs.scene import Scene
    from tilewright.catalogs.sources.source import Source
    from tilewright.flows.job.job import Job
    from tilewright.flows.job.period import JobPeriod
    from tilewright.models.card.card import ModelCard
    from tilewright.models.spec.inputs import InputSpec
    from tilewright.tasks.compose.steps import StepPlan


def plan_inputs(job: Job, card: ModelCard, source: Source, *, reach: float) -> tuple[InputPlan, ...]:
    """What every input of the card reads; ``reach`` in metres is how far windows see beyond the area.

    Raises JobError where a required input has no scene, a step lacks one that may not, a unit does not fit, or a mask
    or gap rule cannot be had.
    """
    check_gaps(job, card)
    inputs = tuple(_plan_input(job, card, spec, source, reach=reach) for spec in card.inputs)
    check_masks(job.mask, inputs)
    return inputs


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
    spec: InputSpec, scenes: Sequence[Scene], touching: Sequence[Scene], periods: Sequence[JobPeriod]
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


def _check_scenes(job: Job, spec: InputSpec, source: Source, touching: Sequence[Scene]) -> None:
    """Refuse an input without scenes, or with an empty step that may not be one."""
    if not touching and not spec.optional:
        raise JobError(no_scenes_message(job, spec, source, search=input_scenes))
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
