"""One job, from request to published product; a finished one is recognised before anything heavy is loaded."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tilewright.flows.environment import storage_options
from tilewright.flows.machine import garbage_collector_off
from tilewright.flows.prefect_steps import step
from tilewright.flows.run.existing import ExistingProduct, check_output, check_same_request, read_existing
from tilewright.flows.run.outcome import Outcome
from tilewright.flows.runners.run_options import Placement, RunOptions
from tilewright.tasks.progress import Notice, Stage, silent

if TYPE_CHECKING:
    from tilewright.flows.job.job import Job
    from tilewright.tasks.plan import Plan
    from tilewright.tasks.progress import Listener
    from tilewright.tasks.storage.storage import Storage


def run_job(job: Job, options: RunOptions | None = None, *, listener: Listener = silent) -> Outcome:
    """The published product of a job.

    A second call on the same output does what is missing, or says that all is done.

    Raises a refusal (ValueError) before pixels are read, or a RuntimeError naming what broke; what is done is kept.
    """
    options = options or RunOptions()
    Placement(runner=options.runner, workers=options.workers, shards=options.shards, deployment=options.deployment)
    began, clock = datetime.now(UTC), time.monotonic() - options.startup_seconds
    output = job.output or f"out/{job.name}"
    storage = check_output(output, storage_options(output))
    existing = None if options.replace else read_existing(storage)
    if existing is not None and not options.update:
        check_same_request(existing, job)
        if existing.complete:
            return _already_complete(job, storage)
    with garbage_collector_off():
        plan = _settled_plan(job, existing, options, listener)
        if plan is None:
            return _already_complete(job, storage)
        # All below reads pixels, runs the model and writes COGs: seconds of imports that end here for most calls.
        from tilewright.flows.run.context import Run, Settings
        from tilewright.flows.run.pipeline import make_product

    run = Run(
        plan=plan,
        replaces=existing.plain if existing is not None and options.update else None,
        settings=Settings.of(job),
        options=options,
        storage=storage,
        listener=listener,
        began=began,
        clock=clock,
    )
    return make_product(run)


def _settled_plan(job: Job, existing: ExistingProduct | None, options: RunOptions, listener: Listener) -> Plan | None:
    """The plan to follow: the standing one, else a new one; None where --update would change nothing."""
    if existing is not None and not options.update:
        return existing.plan()
    from tilewright.flows.run.existing import check_renewal
    from tilewright.tasks.storage.ledger import digest

    listener(Stage(name="plan", note="anew" if existing is not None else ""))
    plan = new_plan(job)
    if existing is not None:
        check_renewal(existing, plan)
        if existing.complete and digest(plan.to_json()) == digest(existing.plain):
            return None
    for warning in plan.warnings:
        listener(Notice(text=warning))
    return plan


def _already_complete(job: Job, storage: Storage) -> Outcome:
    report = storage.read_json("report.json") or {}
    return Outcome(name=job.name, output=storage.uri, report=report, already_complete=True)


@step("plan")
def new_plan(job: Job) -> Plan:
    """The plan of a job today."""
    # Planning loads the model's runtime and the catalogs, which a finished product's second call does without.
    from tilewright.flows.plan.make import make_plan

    return make_plan(job)
