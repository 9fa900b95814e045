"""The dates that a job moves onto one of them: checked against its inputs, and the model that measures, opened."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tilewright.flows.job.job import JobError
from tilewright.models.builtin.shifts import FARTHEST
from tilewright.models.card.registry import find_card
from tilewright.models.run.open import open_session
from tilewright.tasks.grid.areas import pixel_metres
from tilewright.tasks.grid.crs import is_geographic
from tilewright.tasks.plan.align import AROUND, FIRST, AlignPlan
from tilewright.tasks.serving.moves import StepMoves
from tilewright.tasks.serving.shifts import PairMatcher

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.flows.job.job import Job
    from tilewright.models.card.card import ModelCard
    from tilewright.tasks.plan.inputs import InputPlan
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.plan.raster import RasterPlan

MATCHER = "phase-shift"
"""The built-in model that measures shifts."""


def align_reach(job: Job, card: ModelCard, raster: RasterPlan) -> float:
    """Metres beyond the windows at the area's edge that decide about shifts; 0 for a job that moves nothing."""
    if job.align is None:
        return 0.0
    coarsest = max(card.ratio(spec) for spec in card.inputs)
    return float((AROUND + 1) * coarsest * max(pixel_metres(raster.grid)) + job.align.most)


def align_margin(job: Job, inputs: Sequence[InputPlan], raster: RasterPlan) -> int:
    """Model-grid pixels beyond a block from which its edge may be moved in, whole strides; 0 for no move.

    Raises JobError for a job without several dates or a step of that name, a band that an input has not, a grid in
    degrees, and a longer shift than can be measured.
    """
    if job.align is None:
        return 0
    if is_geographic(raster.grid.crs):
        raise JobError("align: shifts are in metres and grid.crs is in degrees: give a projected one, e.g. 'utm'.")
    dated = [entry for entry in inputs if len(entry.steps) > 1 and entry.unit != "class"]
    if not dated:
        raise JobError("align: the model compares no dates, so there is nothing to move: leave align out.")
    plan = AlignPlan(to=job.align.to, most=job.align.most, band=job.align.band)
    for entry in dated:
        if plan.reference(entry) is None:
            labels = ", ".join(step.label for step in entry.steps[:12])
            raise JobError(f"align.to: input {entry.name} has no step {plan.to!r}: give {FIRST}, or one of {labels}.")
        if plan.band and plan.band not in entry.bands:
            raise JobError(
                f"align.band: input {entry.name} does not read {plan.band!r}: it has {', '.join(entry.bands)}."
            )
        farthest = FARTHEST * min(pixel_metres(entry.grid(raster.grid)))
        if plan.most > farthest:
            raise JobError(
                f"align.most: shifts are looked for over {FARTHEST} pixels, which are {farthest:g} m here: give less."
            )
    stride = raster.lattice.stride
    return math.ceil((plan.most / min(pixel_metres(raster.grid)) + 1) / stride) * stride


def open_moves(plan: Plan) -> StepMoves | None:
    """The moves of this process for a plan; None for one that moves nothing.

    The model runs on the processor whatever runs the job's own, so that shifts are the same everywhere.
    """
    if plan.align is None:
        return None
    card = find_card(MATCHER)
    return StepMoves(plan=plan, matcher=PairMatcher(card=card, session=open_session(card, provider="cpu")))
