"""One job, from request to published product; a finished product is recognised before any slow import."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tilewright.flows.environment import storage_options
from tilewright.flows.errors import RunnerError
from tilewright.flows.machine import PhaseStart, garbage_collector_off, spare_collector
from tilewright.flows.prefect_steps import step
from tilewright.flows.run.existing import (
    OutputChangedError,
    check_gate,
    check_output,
    check_renewal,
    check_same_request,
    product_tags,
    read_existing,
)
from tilewright.flows.run.lock_wait import run_alive
from tilewright.flows.run.outcome import Outcome
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.progress import Notice, Stage, silent
from tilewright.tasks.storage.documents import read_object
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.lock import read_lock
from tilewright.tasks.storage.secrets import SECRETS, drop_published

if TYPE_CHECKING:
    from tilewright.flows.job.job import Job
    from tilewright.flows.run.existing import ExistingProduct
    from tilewright.flows.runners.run_options import SendShard
    from tilewright.models.card.card import ModelCard
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.progress import Listener
    from tilewright.tasks.storage.storage import Storage


LOOKS = 5
"""Times that a run looks at an output that other runs keep changing."""


def run_job(
    job: Job,
    options: RunOptions | None = None,
    *,
    listener: Listener = silent,
    send_shard: SendShard | None = None,
) -> Outcome:
    """Run a job and publish its product; returns the outcome.

    A second call on the same output does the missing blocks, or nothing if the product is complete. ``send_shard`` runs
    one shard where the options ask for several; without it shards run in this process.

    Raises a refusal (ValueError) before pixels are read, or a RuntimeError naming the failure. What is done is kept.
    """
    options = options or RunOptions()
    if job.places is not None and options.placement.shards > 1:
        raise RunnerError("shards: places are not cut into shards: leave --shards out, or take --runner dask.")
    if options.deployment is not None and send_shard is None:
        raise RunnerError("deployment: its runs are sent by Prefect: use the command, or the flow region.")
    began, start = datetime.now(UTC), PhaseStart.of_command(options.startup_seconds)
    for _ in range(LOOKS - 1):
        # Another run may end while this one plans or waits for its lock.
        with suppress(OutputChangedError):
            return _run_once(job, options, began, start, listener=listener, send_shard=send_shard)
    return _run_once(job, options, began, start, listener=listener, send_shard=send_shard)


def _run_once(
    job: Job,
    options: RunOptions,
    began: datetime,
    start: PhaseStart,
    *,
    listener: Listener,
    send_shard: SendShard | None,
) -> Outcome:
    """Look at the output, decide what is to do there, and do it.

    Raises OutputChangedError, before anything is written, if another run made something there meanwhile.
    """
    storage = check_output(job.output_uri, storage_options(job.output_uri))
    found = None if options.replace else product_tags(storage)
    existing = None if options.replace else read_existing(storage)
    with garbage_collector_off():
        card = _load_card(job)
        if existing is not None and not options.update and not existing.damaged:
            check_same_request(existing, job, card)
            if existing.complete:
                return _already_complete(job, storage)
            existing = existing.checked()
        renews = existing is not None and (options.update or existing.damaged)
        plan = _plan_to_follow(job, card, existing, storage, listener, renews=renews)
        if plan is None:
            return _already_complete(job, storage)
        # Imports for reading pixels, running the model and writing COGs take seconds; a finished product needs none.
        from tilewright.flows.run.context import Run, RunSettings, places_of
        from tilewright.flows.run.pipeline import make_product

    if options.startup_seconds:
        spare_collector()
    run = Run(
        plan=plan,
        card=card,
        replaces=existing.plain if existing is not None and (renews or _is_replaced(existing, plan)) else None,
        settings=RunSettings.of(job),
        options=options,
        storage=storage,
        listener=listener,
        began=began,
        start=start,
        send_shard=send_shard,
        found=found,
        places=places_of(job, card, plan),
    )
    return make_product(run)


def _load_card(job: Job) -> ModelCard:
    from tilewright.flows.plan.model_card import job_card

    return job_card(job)


def _plan_to_follow(
    job: Job,
    card: ModelCard,
    existing: ExistingProduct | None,
    storage: Storage,
    listener: Listener,
    *,
    renews: bool,
) -> Plan | None:
    """The existing plan, or a new one for a first run, an update or a damaged plan; None if it would change nothing."""
    if existing is not None and not renews:
        from tilewright.flows.access import job_sources
        from tilewright.flows.run.inputs import check_followed, check_servants_followed, renewed_plan
        from tilewright.flows.versions import check_same_makers

        plan = existing.plan()
        check_followed(plan, sources=job_sources(job, card), model=card.digest)
        check_servants_followed(plan, job)
        check_same_makers(plan.versions, uri=existing.uri)
        return renewed_plan(plan, checksums=job.verify == "checksums", listener=listener)
    from tilewright.flows.run.inputs import say_changes
    from tilewright.tasks.plan.identities import input_warnings, keep_same

    listener(Stage(name="plan", note="anew" if existing is not None else ""))
    before = None if existing is None else _plan_before(existing)
    # A machine with other memory would cut other blocks, and an update then redo all of them.
    plan = new_plan(job, card, block=None if before is None else before.raster.lattice.block)
    if existing is not None:
        check_renewal(existing, plan, storage)
        if before is not None:
            plan = keep_same(plan, before)
        if existing.complete and not _is_replaced(existing, plan):
            return None
        if before is not None:
            say_changes(plan, before, listener)
    for warning in (*plan.warnings, *input_warnings(plan, checksums=job.verify == "checksums")):
        listener(Notice(text=warning))
    return plan


def _plan_before(existing: ExistingProduct) -> Plan | None:
    """The plan that an update renews, None where it cannot be read."""
    try:
        return existing.plan()
    except StoreError:
        return None


def _is_replaced(existing: ExistingProduct, plan: Plan) -> bool:
    """True if the plan is not the existing one; a token that was renewed makes no difference."""
    from tilewright.tasks.storage.ledger import json_digest
    from tilewright.tasks.storage.secrets import public_plan

    return json_digest(public_plan(plan.to_json())) != json_digest(public_plan(existing.plain))


def _already_complete(job: Job, storage: Storage) -> Outcome:
    check_gate(storage, job.output_uri, job)
    _drop_left_secrets(storage)
    report = read_object(storage, "report.json") or {}
    return Outcome(name=job.name, output=storage.uri, report=report, already_complete=True)


def _drop_left_secrets(storage: Storage) -> None:
    """Remove the secrets in a bucket of a run that was killed after it wrote the Item; those of a living run stay."""
    if not storage.remote or storage.etag(SECRETS) is None:
        return
    lock = read_lock(storage)
    if lock is None or run_alive(lock) is False:
        drop_published(storage)


@step("plan")
def new_plan(job: Job, card: ModelCard, *, block: int | None = None) -> Plan:
    """A new plan of a job; ``block`` as for ``plan_job``."""
    # Planning loads the model's runtime and the catalogs, which a second call on a finished product does not need.
    from tilewright.flows.plan.make import plan_job

    return plan_job(job, card, block=block)
