"""From a job to its frozen plan: measure the model, cut the area, search the scenes, then decide without I/O."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from shapely.geometry import shape

from tilewright.catalogs.search import left_out_sentence
from tilewright.flows.access import job_sources
from tilewright.flows.job.areas.area import Area
from tilewright.flows.job.job import JobError
from tilewright.flows.job.places.footprint import footprint
from tilewright.flows.job.places.search import row_warnings, seen_by_some
from tilewright.flows.machine import free_memory
from tilewright.flows.plan.clearest import choose_where_clear
from tilewright.flows.plan.exactness import judge_exactness, judge_places
from tilewright.flows.plan.headers import look_at_headers
from tilewright.flows.plan.identities import identify_inputs
from tilewright.flows.plan.input_plans import plan_inputs, plan_place_inputs
from tilewright.flows.plan.model_card import card_facts, card_images, job_card
from tilewright.flows.plan.model_graph import check_runnable, gpu_warnings, measure_job_model
from tilewright.flows.plan.raster import alignment, area_warnings, cut_places, cut_raster, reach_metres, read_margin
from tilewright.flows.plan.rules import (
    asked_mask_bands,
    check_gaps,
    check_loss,
    fine_pixels,
    lacking_band_warnings,
    mask_warning,
    season_warnings,
)
from tilewright.flows.plan.scenes import asked_area, left_out_of, periods_around, search_inputs
from tilewright.flows.plan.valid_for import outside_valid_for, outside_warnings
from tilewright.flows.precision.calibrate import with_ranges
from tilewright.flows.precision.choice import job_provider
from tilewright.flows.precision.words import with_usual_scores
from tilewright.flows.served.align import align_margin, align_reach
from tilewright.flows.served.mask_model import mask_request
from tilewright.flows.served.scene_masks import served_mask, weakened
from tilewright.flows.served.screen import with_screen
from tilewright.flows.versions import versions
from tilewright.tasks.grid.areas import pixel_metres
from tilewright.tasks.grid.crs import crs_unit, is_geographic, metres_per_unit
from tilewright.tasks.places.table import ColumnsError, check_columns
from tilewright.tasks.plan.footprints import share_warnings, step_shares
from tilewright.tasks.plan.places import ROWS_PER_UNIT, PlacesPlan
from tilewright.tasks.plan.plan import ModelPlan, Plan

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from tilewright.catalogs.sources.source import Sources
    from tilewright.flows.access import Promised
    from tilewright.flows.job.job import Job
    from tilewright.flows.job.period import JobPeriod
    from tilewright.flows.plan.scenes import InputScenes
    from tilewright.models.card.card import ModelCard
    from tilewright.models.measure.facts import ModelFacts
    from tilewright.tasks.plan.inputs import InputPlan
    from tilewright.tasks.plan.raster import RasterPlan

ROUNDED = {
    "bf16": "; but for the rounding of bfloat16, which has 8 bits",
    "int8": "; but for the rounding of its 8-bit numbers",
}
"""What equal means in a precision other than single, after the reason for it."""

LISTED_ITEMS = 50
"""The most items left out that a plan and a report list."""


def plan_job(
    job: Job, card: ModelCard | None = None, *, block: int | None = None, promised: Promised | None = None
) -> Plan:
    """The plan of a job; ``card``: the job's card if it is loaded already, ``block``: the side of the blocks of an
    earlier plan in pixels, kept unless the job names another. ``promised``: products that it reads and that are not
    there yet; such a plan says what there will be to do, and cannot be run.

    Raises a refusal (ValueError) for anything impossible: unknown source, model or band, no scenes, a card that does
    not fit the job, more blocks than the limit, a file that is not the one its checksum says.
    """
    card = card or job_card(job)
    if job.places is not None:
        return plan_places(job, card, promised)
    if any(extra.kind == "place_mask" for extra in card.extras):
        raise JobError(f"model: {card.name} is told the shape of a place (place_mask): give places instead of an area.")
    check_periods(job, card)
    check_gaps(job, card)
    sources = job_sources(job, card, promised)
    provider = job_provider(job, card)
    facts = measure_job_model(job, card, provider=provider)
    limit = job.limits.memory_mb
    free = free_memory() if limit is None else int(limit * 1e6)
    raster = cut_raster(job, card, facts, free=free, block=block)
    check_loss(job, card, raster.layers)
    found = search_inputs(job, card, sources, reach=reach_metres(job, card, raster) + align_reach(job, card, raster))
    scenes, said = look_at_headers(card, found, sources, mask_bands=asked_mask_bands(job.mask))
    said = (*said, *gpu_warnings(job, card, facts))
    plan = make_plan(job, card, facts, scenes, raster=raster, sources=sources, said=said)
    plan = choose_where_clear(job, plan, sources)
    plan = identify_inputs(plan, sources, checksums=job.verify == "checksums")
    plan = with_screen(plan, job, card, plan_job=partial(plan_job, promised=promised))
    # The ranges of a graph in int8 are measured on pixels, and how words score.
    plan = with_ranges(plan, card) if job.precision == "int8" and not promised else plan
    return with_usual_scores(plan, card) if job.classify.calibrated and not promised else plan


def plan_places(job: Job, card: ModelCard, promised: Promised | None = None) -> Plan:
    """The plan of a job over places: a table's rows on a grid, and the scenes that any of their windows may see.

    Raises what ``plan_job`` raises.
    """
    assert job.places is not None, "a job over places has rows"
    if card.embedding:
        raise JobError(f"places: {card.name} gives vectors, which a table of places does not hold: give an area.")
    check_periods(job, card)
    check_gaps(job, card)
    sources = job_sources(job, card, promised)
    facts = measure_job_model(job, card, provider=job_provider(job, card))
    if _finest_step(job, card, facts):
        # Only the pixel of the centroid is kept, so a window needs no more than what that pixel sees.
        finest = job.model_copy(update={"tile": job.tile.model_copy(update={"step": facts.windows.stride})})
        facts = measure_job_model(finest, card, provider=job_provider(job, card))
        why = facts.windows.why.replace(" as asked", ", as the pixel of a centroid is all that is kept", 1)
        facts = replace(facts, windows=replace(facts.windows, why=why))
    raster, rows = cut_places(job, card, facts.windows)
    try:
        names = job.places.table.columns.column_names
        check_columns(names, (*raster.layers, *card.answers), name=job.places.table.name, key=job.places.id)
    except ColumnsError as error:
        raise JobError(str(error)) from error
    grid, reach = raster.grid, reach_metres(job, card, raster)
    lonlats = rows.lonlats(grid.crs, grid.resolution)
    used = [rows.periods[number] for number in sorted({*rows.of_row.tolist()})]
    found = _seen_scenes(search_inputs(_job_around(job, lonlats, used), card, sources, reach=reach), lonlats, reach)
    scenes, said = look_at_headers(card, found, sources, mask_bands=asked_mask_bands(job.mask))
    said = (*said, *gpu_warnings(job, card, facts))
    plan = make_plan(job, card, facts, scenes, raster=raster, sources=sources, said=said, periods=used)
    moments = [scene.datetime for entry in plan.inputs for scene in entry.scenes] or [datetime.now(UTC)]
    spans = [period.known_ends for periods in used for period in periods]
    places = PlacesPlan(
        n_rows=len(rows),
        digest=job.places.digest,
        unit=ROWS_PER_UNIT,
        align=alignment(card, raster.lattice),
        start=min(start or min(moments) for start, _ in spans),
        end=max(end or max(moments) for _, end in spans),
    )
    of_rows = row_warnings(lonlats, n_rows=len(rows), crs=grid.crs, asked=job.grid.crs)
    plan = replace(plan, places=places, warnings=(*plan.warnings, *of_rows))
    return identify_inputs(plan, sources, checksums=job.verify == "checksums")


def _job_around(job: Job, lonlats: NDArray[np.float64], periods: Sequence[Sequence[JobPeriod]]) -> Job:
    """The job whose area and periods hold the rows at these places (n, 2) in degrees: what is searched."""
    around = periods_around(period for of_row in periods for period in of_row)
    area = Area(geometry=footprint(lonlats))
    return job.model_copy(update={"area": area, "period": around})


def _seen_scenes(
    found: Mapping[str, InputScenes], lonlats: NDArray[np.float64], reach: float
) -> dict[str, InputScenes]:
    """The scenes that the window of some row may see."""
    kept = {}
    for name, entry in found.items():
        near = seen_by_some([shape(scene.geometry) for scene in entry.scenes], lonlats, metres=reach)
        scenes = tuple(scene for scene, seen in zip(entry.scenes, near, strict=True) if seen)
        kept[name] = replace(entry, scenes=scenes, touching=scenes)
    return kept


def _finest_step(job: Job, card: ModelCard, facts: ModelFacts) -> bool:
    """True if windows may be as small as the model allows: nobody says how large, and the model sees a known reach."""
    said = job.tile.step or card.tile.step or card.tile.window or facts.receptive.window
    return not said and not card.per_window and not card.answers and facts.windows.merge == "trim"


def make_plan(
    job: Job,
    card: ModelCard,
    facts: ModelFacts,
    scenes: Mapping[str, InputScenes],
    *,
    raster: RasterPlan,
    sources: Sources,
    said: Sequence[str] = (),
    periods: Sequence[Sequence[JobPeriod]] = (),
) -> Plan:
    """The plan of a job from the facts of its model, its raster and the scenes found; no I/O.

    ``said`` are warnings about the scenes' files; ``periods`` those of the rows of a job over places.

    Raises JobError where a step lacks a required scene, a unit cannot be converted, or a mask, a gap rule or a fused
    graph is impossible.
    """
    inputs = plan_place_inputs(job, card, scenes, periods) if periods else plan_inputs(job, card, scenes)
    check_runnable(job, facts, raster.grid.crs)
    raster = replace(raster, margin=read_margin(inputs, raster) + align_margin(job, inputs, raster))
    word, exact_reason = (judge_places if periods else judge_exactness)(card, facts, raster.lattice)
    mask_model = served_mask(job, inputs, judge=judge_exactness)
    exactness, exact_reason = weakened(word, exact_reason, mask_model, "masks scenes")
    outside = outside_valid_for(card, inputs, area=job.area.geometry, grid=raster.grid)
    # What is said of places is a column of their table.
    boxes = [*(table.name for table in card.boxes), *(() if periods else card.answers)]
    left_out, coverage = left_out_of(scenes), () if periods else step_shares(asked_area(job), inputs)
    exact_reason = f"{exact_reason}{ROUNDED.get(job.precision, '')}"
    return Plan(
        name=job.name,
        request={**job.request(), **mask_request(job), **sources.request_json(), "model": card.digest},
        source=sources.to_json(),
        model=ModelPlan(
            card=card_facts(job, card),
            receptive=asdict(facts.receptive),
            exact=exactness == "proven",
            measured=exactness == "measured",
            exact_reason=exact_reason,
            windows_reason=facts.windows.why,
            fused=facts.fused,
            precision=job.precision,
            tuned=facts.tuned,
            runtime="openvino" if facts.provider == "openvino" else "",
            outside_valid_for=tuple(outside),
            vectors={name: kind for name, kind in card.vector_kinds.items() if name in raster.layers},
            images=card_images(card, raster.layers),
            tables=tuple(name for name in card.table_classes if name in {*boxes, *raster.layers}),
        ),
        raster=raster,
        inputs=inputs,
        engine=job.engine,
        versions=versions(openvino=facts.provider == "openvino"),
        warnings=(
            *(() if periods else area_warnings(job.area, raster)),
            *outside_warnings(outside),
            *_grid_warnings(job, card, facts, raster),
            *_fine_warnings(card, inputs, raster),
            *_input_warnings(job, inputs if not periods or len(periods) == 1 else ()),
            *share_warnings(coverage),
            *([left_out_sentence(left_out)] if left_out else []),
            *said,
            *(() if periods else _block_warnings(job, raster)),
        ),
        items_left_out=tuple({"item": entry.item, "reason": entry.reason} for entry in left_out[:LISTED_ITEMS]),
        n_items_left_out=len({entry.item for entry in left_out}),
        coverage=coverage,
        mask_model=mask_model,
    )


def check_periods(job: Job, card: ModelCard) -> None:
    """Refuse periods that do not fit the dates that the model takes.

    These are before and after for a model that does not compare dates, two periods of a pair that overlap, and an open
    end that a series would have to cut into parts.
    """
    names = {period.name for period in job.period}
    if {"before", "after"} <= names and not any(spec.dates.kind in {"pair", "series"} for spec in card.inputs):
        raise JobError(
            f"period: {card.name} does not compare dates, so before and after would be mixed into one. "
            "Give one period, or a model that compares, e.g. cva-change."
        )
    kinds = {spec.dates.kind for spec in card.inputs}
    first, *others = sorted(job.period, key=lambda period: period.start)
    if "pair" in kinds and len(others) == 1 and others[0].start <= first.end:
        raise JobError(
            f"period: {first.name} ({first.text}) and {others[0].name} ({others[0].text}) overlap, and {card.name} "
            "compares two dates: end the one before the other starts."
        )
    if "series" in kinds and not others and first.is_open:
        raise JobError(f"period: {card.name} cuts {first.text} into steps: write both ends instead of '..'.")


def _grid_warnings(job: Job, card: ModelCard, facts: ModelFacts, raster: RasterPlan) -> Iterable[str]:
    grid = raster.grid
    if not card.resolution:
        return
    height, width = pixel_metres(grid)
    if is_geographic(grid.crs):
        yield (
            f"The model was made for {card.resolution:g} m pixels and sees ones of {grid.resolution:g} degrees, here "
            f"{height:.3g} m high and {width:.3g} m wide."
        )
    elif width != grid.resolution * metres_per_unit(grid.crs):
        yield (
            f"The model was made for {card.resolution:g} m pixels and sees ones of {grid.resolution:g} "
            f"{crs_unit(grid.crs)} in a CRS that is not true to size: here they are {width:.3g} m wide on the ground."
        )
    elif not math.isclose(grid.resolution, card.resolution):
        yield (
            f"The model was made for {card.resolution:g} m pixels and sees {grid.resolution:g} m ones "
            f"(grid.resolution = {grid.resolution / float(facts.scale):g})."
        )


def _fine_warnings(card: ModelCard, inputs: Sequence[InputPlan], raster: RasterPlan) -> Iterable[str]:
    warning = fine_pixels(card, {each.name: min(pixel_metres(each.grid(raster.grid))) for each in inputs}, "the grid")
    return [warning] if warning else []


def _input_warnings(job: Job, inputs: Sequence[InputPlan]) -> Iterable[str]:
    for entry in inputs:
        if warning := mask_warning(entry, job.mask):
            yield warning
        if empty := [step.label for step in entry.steps if not step.passes]:
            yield f"Input {entry.name}: no scene for step {', '.join(empty)}; it is filled as missing."
        yield from (*lacking_band_warnings(entry), *season_warnings(entry))


def _block_warnings(job: Job, raster: RasterPlan) -> Iterable[str]:
    lattice = raster.lattice
    if job.tile.block and job.tile.block != lattice.block:
        yield f"tile.block = {job.tile.block} is taken as {lattice.block} px: whole steps of {lattice.step} px."
