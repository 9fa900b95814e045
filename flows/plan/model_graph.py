"""The graph that a plan runs (the card's own, fused or tuned), and the model loaded to run it."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from pyproj import CRS

from tilewright.flows.environment import cache_folder
from tilewright.flows.job.job import JobError
from tilewright.flows.machine import n_cores
from tilewright.flows.precision.choice import plan_provider
from tilewright.models.errors import CardError, memory_for
from tilewright.models.measure.facts import measure_model, tuned_for
from tilewright.models.measure.operators.lacking import report_operators
from tilewright.models.optimise.fuse import fuse_model
from tilewright.models.optimise.quantise import quantised_card
from tilewright.models.run.open import active_provider, open_session
from tilewright.models.run.providers import GPU_BATCH, GPUS
from tilewright.models.run.session import open_graph
from tilewright.models.run.text import calibrated_card
from tilewright.tasks.block.infer import LoadedModel

if TYPE_CHECKING:
    from tilewright.flows.job.job import Job
    from tilewright.models.card.card import ModelCard
    from tilewright.models.measure.facts import ModelFacts
    from tilewright.models.run.session import ModelSession
    from tilewright.tasks.plan.plan import Plan


def measure_job_model(job: Job, card: ModelCard, *, provider: str) -> ModelFacts:
    """The facts of a job's model with the job's settings; measured where the cache does not hold them.

    ``provider``: the one that the job's precision runs on (``flows/precision/choice.py``).

    Raises what ``measure_model`` raises.
    """
    with memory_for(card.name):
        return measure_model(
            card,
            provider=provider,
            cache=cache_folder(),
            step=job.tile.step,
            batch=job.tile.batch,
            fuse="no" if job.precision in {"bf16", "int8"} else job.fuse,
            half=job.precision == "fp16",
        )


def check_runnable(job: Job, facts: ModelFacts, crs: str) -> None:
    """Refuse what a run on a grid of this CRS would only meet late: a fused graph or half precision of a card that
    cannot be fused, and an engine that is not installed, or does not know the grid. Raises JobError.
    """
    if job.engine == "stackstac":
        if find_spec("stackstac") is None:
            advice = "pip install -c constraints.txt -e '.[stackstac]' in Tilewright's folder, or take another engine"
            raise JobError(f"engine: 'stackstac' needs the extra of that name: {advice}.")
        if CRS.from_user_input(crs).to_epsg() is None:
            raise JobError("engine: 'stackstac' knows grids by EPSG code alone: take odc or direct for a grid in WKT.")
    half = job.precision == "fp16"
    if facts.fuse_obstacle and (job.fuse == "yes" or half):
        given = "precision: fp16" if half else "fuse: yes"
        raise JobError(f"{given} cannot be: {facts.fuse_obstacle}. Leave it out.")


def gpu_warnings(job: Job, card: ModelCard, facts: ModelFacts) -> list[str]:
    """A sentence on each graph of a job on a GPU of which some operators would run on the CPU beside it."""
    if facts.provider not in GPUS:
        return []
    paths = [member.model_path for member in card.members or (card,)]
    if facts.fused:
        blended = facts.windows.merge == "blend"
        half = job.precision == "fp16"
        paths = [fuse_model(card, cache=cache_folder() / "fused", blended=blended, half=half).path]
    told = []
    for path in paths:
        report = report_operators(path, ask_openvino=False)
        if words := report.sentence(facts.provider):
            told.append(
                f"Of {card.name}, {words} (provider {facts.provider}, by {report.sources[facts.provider]}). What they "
                "compute on is copied from the GPU and back."
            )
    return list(dict.fromkeys(told))


def plan_tuned_card(plan: Plan, card: ModelCard, *, batch: int | None = None) -> ModelCard:
    """The card with its graph tuned to the windows of a plan; the card itself where tuning gains nothing."""
    lattice = plan.raster.lattice
    n_windows = card.batch or batch or 1
    return tuned_for(card, window=lattice.window, stride=lattice.stride, batch=n_windows, cache=cache_folder())


def load_reference(plan: Plan, card: ModelCard, *, provider: str) -> LoadedModel:
    """The model as it would run in single precision, to be compared with that of a plan of another precision."""
    card = plan_words(plan, card)
    if plan.model.fused:
        return _fused(plan, card, provider=provider, half=False)
    session = open_session(plan_tuned_card(plan, card), provider="cpu")
    return LoadedModel(card=card, session=session, batch=card.batch or 1)


def _fused(plan: Plan, card: ModelCard, *, provider: str, half: bool, batch: int | None = None) -> LoadedModel:
    blended = plan.raster.lattice.merge == "blend"
    fused = fuse_model(card, cache=cache_folder() / "fused", blended=blended, half=half)
    session = open_graph(fused.path, sha256=fused.sha256, provider=provider, callers=n_cores())
    return _loaded(fused.card, session, batch)


def _loaded(card: ModelCard, session: ModelSession, batch: int | None) -> LoadedModel:
    default = GPU_BATCH if session.provider in GPUS else 1
    return LoadedModel(card=card, session=session, batch=card.batch or batch or default)


def plan_words(plan: Plan, card: ModelCard) -> ModelCard:
    """The card with a plan's means and deviations of its words, where it has them. Raises JobError where none fit."""
    try:
        return calibrated_card(card, plan.model.usual) if plan.model.usual else card
    except (CardError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise JobError("The plan's usual scores of words do not fit its model: somebody changed it.") from error


def plan_quantised_card(plan: Plan, card: ModelCard) -> ModelCard:
    """The card with the quantised graph of a plan. Raises JobError where this machine makes another graph of it."""
    ranges = {name: (low, high) for name, (low, high) in plan.model.ranges.items()}
    quantised = quantised_card(card, ranges, cache=cache_folder() / "quantised", sha256=plan.model.quantised)
    if quantised.sha256 != plan.model.quantised:
        raise JobError(
            f"This product is made with a quantised graph of {card.name}, and the libraries here make another one "
            "of the same ranges. Use the versions that it was begun with, or begin again with --replace."
        )
    return quantised


def load_model(
    plan: Plan, card: ModelCard, *, provider: str, batch: int | None = None, callers: int | None = None
) -> LoadedModel:
    """The model of a plan, ready to run: fused, tuned, quantised, calibrated, in its precision and on its runtime.

    ``callers``: the most calls that compute at a time, None for one per core; no pixel depends on it.

    Raises ProviderError where the requested provider cannot run, JobError where the plan's graph is not available here
    or the plan is of another runtime.
    """
    asked, provider = provider, plan_provider(plan, provider)
    card = plan_words(plan, card)
    precision = plan.model.precision
    if plan.model.fused:
        fused = _fused(plan, card, provider=provider, half=precision == "fp16", batch=batch)
        if precision == "fp16" and fused.session.provider not in GPUS:
            raise JobError(
                f"provider: this product was begun in half precision on a GPU, and {fused.session.provider} computes "
                "in single. Go on with it on a machine with a GPU, or begin again with precision fp32 and --replace."
            )
        return fused
    if precision == "int8":
        session = open_session(plan_quantised_card(plan, card), provider=provider, precision=precision, callers=callers)
    elif provider == "openvino":
        session = open_session(card, provider=provider, precision=precision, callers=callers or n_cores())
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
    if asked == "auto" and session.provider == "openvino":
        session = replace(session, note=f"provider auto means openvino here: the product is computed in {precision}")
    return _loaded(card, session, batch)
