"""The plans of a chain's jobs, each over what the earlier ones have made, or promise to make."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tilewright.flows.chain.chain import item_href
from tilewright.flows.chain.promised import promised_item
from tilewright.flows.environment import storage_options
from tilewright.flows.errors import is_own
from tilewright.flows.job.job import JobError
from tilewright.flows.plan.make import plan_job
from tilewright.flows.plan.model_card import job_card
from tilewright.flows.run.existing import check_output, check_same_request, read_existing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilewright.flows.chain.chain import Chain
    from tilewright.flows.job.job import Job
    from tilewright.flows.run.existing import ExistingProduct
    from tilewright.models.card.card import ModelCard
    from tilewright.tasks.plan.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedJob:
    """A job of a chain with its card and plan; ``plan`` None: its product is finished already.

    ``waits_for``: the names of the earlier jobs that have to make theirs first.
    """

    job: Job
    card: ModelCard
    plan: Plan | None
    waits_for: tuple[str, ...] = ()


def plan_chain(chain: Chain, *, replace: bool = False, update: bool = False) -> Iterator[PlannedJob]:
    """The jobs of a chain in their order, each planned when it is asked for. Writes nothing.

    A product that is not there yet is planned with as its job's plan and card foretell it. ``replace``: whatever is
    there is thrown away first; ``update``: finished products are planned anew, too.

    Raises JobError naming the job, for all that can be refused before pixels are read.
    """
    promised: dict[str, dict[str, Any]] = {}
    for job in chain.jobs:
        with refusals_of(job):
            card = job_card(job)
            existing = None if replace else _existing(job, card, update=update)
            waits_for = tuple(name for name in chain.reads[job.name] if name in promised)
            hrefs = {item_href(chain.job(name).output_uri): promised[name] for name in waits_for}
            done = existing is not None and existing.complete
            plan = None if done and not update else _plan(job, card, None if update else existing, hrefs)
            if plan is not None and plan.places is None and not done:
                promised[job.name] = promised_item(plan, card)
        yield PlannedJob(job=job, card=card, plan=plan, waits_for=waits_for)


@contextmanager
def refusals_of(job: Job) -> Iterator[None]:
    """Say of which job of a chain a refusal is."""
    try:
        yield
    except ValueError as error:
        if not is_own(error):
            raise
        raise JobError(f"Job {job.name}: {error}") from error


def _existing(job: Job, card: ModelCard, *, update: bool) -> ExistingProduct | None:
    """What a job has made so far; None for nothing, and for what is damaged.

    Raises StoreError if it is of another request, which an update may change.
    """
    existing = read_existing(check_output(job.output_uri, storage_options(job.output_uri)))
    if existing is None or existing.damaged:
        return None
    if update:
        return existing
    check_same_request(existing, job, card)
    checked = existing if existing.complete else existing.checked()
    return None if checked.damaged else checked


def _plan(job: Job, card: ModelCard, existing: ExistingProduct | None, promised: dict[str, dict[str, Any]]) -> Plan:
    """The frozen plan of a product that was begun, or a new one."""
    return plan_job(job, card, promised=promised) if existing is None else existing.plan()
