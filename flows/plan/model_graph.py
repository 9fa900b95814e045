"""The graph that a plan runs (the card's own, fused or tuned), and the model loaded to run it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tilewright.flows.environment import cache_folder
from tilewright.flows.job.job import JobError
from tilewright.models.errors import memory_for
from tilewright.models.measure.facts import measure_model, tuned_for
from tilewright.models.optimise.fuse import fuse_model
from tilewright.models.run.open import active_provider, open_session
from tilewright.models.run.providers import GPU_BATCH, GPUS
from tilewright.models.run.session import open_graph
from tilewright.tasks.block.infer import LoadedModel

if TYPE_CHECKING:
    from tilewright.flows.job.job import Job
    from tilewright.models.card.card import ModelCard
    from tilewright.models.measure.facts import ModelFacts
    from tilewright.tasks.plan.plan import Plan


def measure_job_model(job: Job, card: ModelCard) -> ModelFacts:
    """The facts of a job's model with the job's settings; measured where the cache does not hold them.

    Raises JobError for half precision without a fused graph, and what ``measure_model`` raises.
    """
    half = job.precision == "fp16"
    if half and job.fuse == "no":
        raise JobError("fuse: precision fp16 runs the fused graph. Leave fuse out, or take precision fp32.")
    with memory_for(card.name):
        return measure_model(
            card,
            provider=job.provider,
            cache=cache_folder(),
            step=job.tile.step,
            batch=job.tile.batch,
            fuse=job.fuse,
            half=half,
        )


def check_fused(job: Job, facts: ModelFacts) -> None:
    """Refuse a job with a fused graph or half precision whose card cannot be fused."""
    half = job.precision == "fp16"
    if facts.fuse_obstacle and (job.fuse == "yes" or half):
        given = "precision: fp16" if half else "fuse: yes"
        raise JobError(f"{given} cannot be: {facts.fuse_obstacle}. Leave it out.")


def plan_tuned_card(plan: Plan, card: ModelCard, *, batch: int | None = None) -> ModelCard:
    """The card with its graph tuned to the windows of a plan; the card itself where tuning gains nothing."""
    lattice = plan.raster.lattice
    n_windows = card.batch or batch or 1
    return tuned_for(card, window=lattice.window, stride=lattice.stride, batch=n_windows, cache=cache_folder())


def load_model(
    plan: Plan, card: ModelCard, *, provider: str, batch: int | None = None, precision: str | None = None
) -> LoadedModel:
    """The model of a plan, ready to run, fused or tuned as the plan says; ``precision`` overrides the plan's.

    Raises ProviderError where the requested provider cannot run, JobError where the tuned graph is not available here.
    """
    if plan.model.fused:
        half = (precision or plan.model.precision) == "fp16"
        blended = plan.raster.lattice.merge == "blend"
        fused = fuse_model(card, cache=cache_folder() / "fused", blended=blended, half=half)
        card, session = fused.card, open_graph(fused.path, sha256=fused.sha256, provider=provider)
    elif plan.model.tuned and active_provider(card, provider=provider) == "cpu":
        tuned = plan_tuned_card(plan, card, batch=batch)
        if tuned is card:
            raise JobError(
                f"This product is made with the graph of {card.name} tuned to its windows, and here that graph cannot "
                "be kept on disk or does not answer as the model does. Free some disk (TILEWRIGHT_CACHE), or begin "
                "again with fuse: no and --replace."
            )
        session = open_session(tuned, provider=provider)
    else:
        session = open_session(card, provider=provider)
    default = GPU_BATCH if session.provider in GPUS else 1
    return LoadedModel(card=card, session=session, batch=card.batch or batch or default)
