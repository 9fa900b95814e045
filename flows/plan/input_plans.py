"""The scenes, steps and rules of each input of a model, decided from the scenes found; no I/O."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING

from tilewright.catalogs.sensors import canonical_collection
from tilewright.flows.job.job import JobError
from tilewright.flows.job.period import OPEN_END, OPEN_START
from tilewright.flows.plan.rules import check_classes, check_masks, check_units, gap_rule, mask_rule
from tilewright.flows.plan.scenes import InputScenes
from tilewright.tasks.compose.steps import DatesError, clearest_passes, plan_steps
from tilewright.tasks.plan.inputs import InputPlan
from tilewright.tasks.report.format import plural

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilewright.catalogs.scene import Scene
    from tilewright.flows.job.job import Job
    from tilewright.flows.job.options import Clearest
    from tilewright.flows.job.period import JobPeriod
    from tilewright.models.card.card import ModelCard
    from tilewright.models.spec.inputs import InputSpec
    from tilewright.tasks.compose.steps import StepPlan


def plan_inputs(job: Job, card: ModelCard, scenes: Mapping[str, InputScenes]) -> tuple[InputPlan, ...]:
    """The plan of every input of the card; ``scenes`` are those found, by the input's name.

    Raises JobError where a step lacks a required scene, a unit cannot be converted, or a mask or gap rule cannot apply.
    """
    inputs = tuple(_plan_input(job, card, spec, scenes[spec.name]) for spec in card.inputs)
    check_masks(job.mask, inputs)
    return inputs


def plan_place_inputs(
    job: Job, card: ModelCard, scenes: Mapping[str, InputScenes], periods: Sequence[Sequence[JobPeriod]]
) -> tuple[InputPlan, ...]:
    """The plan of every input for a job over places, with all scenes found: each row makes its own steps of them.

    Raises JobError where a row's period does not fit the dates of the model, a unit cannot be converted, or a mask or
    gap rule cannot apply.
    """
    for spec in card.inputs:
        for of_row in periods:
            try:
                plan_steps((), spec.dates, of_row)
            except DatesError as error:
                texts = ", ".join(period.text for period in of_row)
                raise JobError(
                    f"places.period: {texts} does not fit input {spec.name} of {card.name}: {error}."
                ) from error
    inputs = []
    for spec in card.inputs:
        found = scenes[spec.name]
        # With periods of their own, rows decide whether a step lacks scenes.
        entry = _plan_input(job, card, spec, found if len(periods) == 1 else replace(found, touching=()))
        inputs.append(replace(entry, scenes=found.scenes, mask=mask_rule(job.mask, found.scenes)))
        check_units(spec, found.scenes)
    check_masks(job.mask, inputs)
    return tuple(inputs)


def search_refusal(job: Job, card: ModelCard, scenes: Sequence[Scene]) -> str | None:
    """The sentence by which a plan of the job would refuse these scenes, those of a search; None if it would not."""
    of_input = {
        spec.name: tuple(
            scene
            for scene in scenes
            if scene.collection in {spec.collection, canonical_collection(spec.collection)}
            and any(scene.asset(band) for band in spec.source_bands)
        )
        for spec in card.inputs
    }
    try:
        plan_inputs(job, card, {name: InputScenes(scenes=found, touching=found) for name, found in of_input.items()})
    except ValueError as error:
        return str(error)
    return None


def _plan_input(job: Job, card: ModelCard, spec: InputSpec, found: InputScenes) -> InputPlan:
    scenes, touching = found.scenes, found.touching
    all_steps = _steps(spec, scenes, touching, job.period)
    steps = _clearest(job.filter.clearest, spec, all_steps, touching)
    used = frozenset[str]().union(*(step.scenes for step in steps))
    scenes = tuple(scene for scene in scenes if scene.id in used)
    _check_steps(job, spec, touching)
    _check_bands(spec, scenes, steps)
    check_units(spec, scenes)
    check_classes(spec, scenes, steps)
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
        gaps=gap_rule(job, spec, scenes),
        dated=spec.name in _dated(card),
    )


def _dated(card: ModelCard) -> frozenset[str]:
    """The names of the inputs whose days the model is told. An extra input that names no input is of the first."""
    names = [spec.name for spec in card.inputs]
    told = (extra.of for extra in card.extras if extra.kind == "day_of_year")
    return frozenset(name if name in names else names[0] for name in told)


def _steps(
    spec: InputSpec, scenes: Sequence[Scene], touching: Sequence[Scene], periods: Sequence[JobPeriod]
) -> tuple[StepPlan, ...]:
    """The steps of an input; the scenes beyond the area itself neither make steps nor rank passes."""
    steps = plan_steps(scenes, spec.dates, periods, touching=frozenset(scene.id for scene in touching))
    if not steps and spec.optional:
        # The graph still needs a time axis: one step without a scene.
        steps = plan_steps((), type(spec.dates)(kind="each", steps=1), periods)
    days = sorted({scene.solar_day for scene in scenes})
    return tuple(_closed(step, days) for step in steps) if days else steps


def _closed(step: StepPlan, days: Sequence[str]) -> StepPlan:
    """The step with an open end put at its own first or last day, or at that of ``days`` if it has none."""
    own = sorted(step.days or days)
    first, last = (datetime.fromisoformat(day).replace(tzinfo=UTC) for day in (own[0], own[-1]))
    end = max(step.start, last + timedelta(days=1, microseconds=-1)) if step.end == OPEN_END else step.end
    return replace(step, start=min(first, end) if step.start == OPEN_START else step.start, end=end)


def _clearest(
    clearest: Clearest | None, spec: InputSpec, steps: tuple[StepPlan, ...], touching: Sequence[Scene]
) -> tuple[StepPlan, ...]:
    """Each step with its least cloudy passes over the area; with all if no scene has a cloud cover, or by pixels.

    Raises JobError for a card whose passes are steps of their own.
    """
    stated = any(scene.cloud_cover is not None for scene in touching)
    if clearest is None or spec.dates.kind == "static" or not (stated or clearest.by == "pixels"):
        return steps
    if spec.dates.kind == "each":
        raise JobError(
            f"filter.clearest: each pass is a step of its own for input {spec.name}, and its card says how many it "
            "takes: leave filter.clearest out."
        )
    # By pixels the choice is made cell by cell (flows/plan/clearest.py), from all passes.
    return steps if clearest.by == "pixels" else tuple(clearest_passes(step, clearest.most) for step in steps)


def _check_steps(job: Job, spec: InputSpec, touching: Sequence[Scene]) -> None:
    """Refuse an input with an empty step where its dates or its card do not allow one."""
    empty = [step.label for step in plan_steps(touching, spec.dates, job.period) if not step.passes] if touching else []
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


def _check_bands(spec: InputSpec, scenes: Sequence[Scene], steps: Sequence[StepPlan]) -> None:
    """Refuse a required input with a step whose scenes all lack one of its bands: it would be filled by invention."""
    for step in steps if not spec.optional else ():
        of_step = step.scenes
        members = [scene for scene in scenes if scene.id in of_step]
        lacking = [band for band in spec.source_bands if members and not any(scene.asset(band) for scene in members)]
        if lacking:
            present = " ".join(sorted({band for scene in members for band in scene.bands}))
            place = f" in step {step.label}" if len(steps) > 1 else ""
            raise JobError(
                f"Input {spec.name} needs {' '.join(spec.source_bands)}, and none of its "
                f"{plural(len(members), 'scene')}{place} has {' or '.join(lacking)}: they have {present}. Choose "
                "another source, or say in it which asset holds the band."
            )
