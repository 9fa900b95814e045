"""Which graph a plan runs (the card's own, fused or tuned), and the model made ready to run as a plan says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tilewright.flows.environment import cache_folder
from tilewright.flows.job.job import JobError
from tilewright.models.optimise.fuse import fuse_model, obstacle
from tilewright.models.optimise.tune import tuned_card
from tilewright.models.run.open import active_provider, open_session
from tilewright.models.run.providers import GPU_BATCH, GPUS
from tilewright.models.run.session import open_graph
from tilewright.tasks.block.infer import LoadedModel, windows_per_call

if TYPE_CHECKING:
    from tilewright.flows.job.job import Job
    from tilewright.models.card.card import ModelCard
    from tilewright.tasks.grid.windows import Lattice
    from tilewright.tasks.plan import Plan


def plan_fused(job: Job, card: ModelCard, lattice: Lattice) -> bool:
    """Whether a job runs its card's fused graph: as it asks, by itself where a GPU runs it and the card allows.

    On a CPU the plain path is not slower: rounding pixels to uint16 costs more there than scaling them.
    Raises JobError where it is asked for and cannot be, or cannot be done without.
    """
    half = job.precision == "fp16"
    if job.fuse == "no":
        if half:
            raise JobError("fuse: precision fp16 runs the fused graph. Leave fuse out, or take precision fp32.")
        return False
    asked = job.fuse == "yes" or half
    if not asked and active_provider(card, provider=job.provider) not in GPUS:
        return False
    reason = obstacle(card, blended=lattice.merge == "blend", half=half)
    if reason and asked:
        given = "precision: fp16" if half else "fuse: yes"
        raise JobError(f"{given} cannot be: {reason}. Leave it out.")
    return not reason


def plan_tuned(job: Job, card: ModelCard, lattice: Lattice, *, fused: bool) -> bool:
    """Whether a job runs its card's graph tuned to its windows: on a CPU, where it is not fused and something is won.

    `fuse: no` asks for the graph as it came.
    """
    if fused or job.fuse == "no" or active_provider(card, provider=job.provider) != "cpu":
        return False
    return tuned_for(card, lattice, batch=card.batch or job.tile.batch or 1) is not card


def tuned_for(card: ModelCard, lattice: Lattice, *, batch: int) -> ModelCard:
    """The card with its graph tuned to the windows of a lattice; itself where nothing is won."""
    return tuned_card(
        card,
        window=lattice.window,
        stride=lattice.stride,
        cache=cache_folder() / "tuned",
        batch=windows_per_call(card, batch=batch),
    )


def open_engine(
    plan: Plan, card: ModelCard, *, provider: str, batch: int | None = None, precision: str | None = None
) -> LoadedModel:
    """The model of a plan ready to run, fused or tuned where the plan says so; ``precision`` in place of the plan's.

    Raises ProviderError where the provider asked for cannot run, JobError where the tuned graph cannot be had here.
    """
    if plan.fused:
        half = (precision or plan.precision) == "fp16"
        fused = fuse_model(card, cache=cache_folder() / "fused", blended=plan.lattice.merge == "blend", half=half)
        card, session = fused.card, open_graph(fused.path, sha256=fused.sha256, provider=provider)
    elif plan.tuned and active_provider(card, provider=provider) == "cpu":
        tuned = tuned_for(card, plan.lattice, batch=card.batch or batch or 1)
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
