"""One job, from request to published product; a finished one is recognised before anything heavy is loaded."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flows.heap import without_collecting
from flows.outcome import Outcome
from flows.places import storage_options
from flows.standing import Standing, check_output, check_same_request, read_standing
from flows.where import Where
from tasks.progress import Notice, Stage, silent

if TYPE_CHECKING:
    from flows.job import Job
    from tasks.plan import Plan
    from tasks.progress import Listener
    from tasks.storage import Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How a job is run; none of it changes a pixel. ``startup_seconds`` went by before and count as part of the run.

    ``shards`` and ``deployment`` send the blocks out as flow runs of their own (see ``flows.runner.Where``);
    ``retry`` names the class of failure whose blocks alone are done again.
    """

    runner: str = "threads"
    workers: int | None = None
    update: bool = False
    replace: bool = False
    startup_seconds: float = 0.0
    shards: int = 1
    deployment: str | None = None
    retry: str | None = None


def run_job(job: Job, options: RunOptions | None = None, *, listener: Listener = silent) -> Outcome:
    """The published product of a job.

    A second call on the same output does what is missing, or says that all is done.

    Raises a refusal (ValueError) before pixels are read, or a RuntimeError naming what broke; what is done is kept.
    """
    options = options or RunOptions()
    Where(runner=options.runner, workers=options.workers, shards=options.shards, deployment=options.deployment)
    began, clock = datetime.now(UTC), time.monotonic() - options.startup_seconds
    output = job.output or f"out/{job.name}"
    storage = check_output(output, storage_options(output))
    standing = None if options.replace else read_standing(storage)
    if standing is not None and not options.update:
        check_same_request(standing, job)
        if standing.complete:
            return _already_complete(job, storage)
    with without_collecting():
        plan = _settled_plan(job, standing, options, listener)
        if plan is None:
            return _already_complete(job, storage)
        # All below reads pixels, runs the model and writes COGs: seconds of imports that end here for most calls.
        from flows.pipeline import Run, Settings, make_product

    run = Run(
        plan=plan,
        replaces=standing.plain if standing is not None and options.update else None,
        settings=Settings.of(job),
        options=options,
        storage=storage,
        listener=listener,
        began=began,
        clock=clock,
    )
    return make_product(run)


def _settled_plan(job: Job, standing: Standing | None, options: RunOptions, listener: Listener) -> Plan | None:
    """The plan to follow: the standing one, else a new one; None where --update would change nothing."""
    if standing is not None and not options.update:
        return standing.plan()
    from flows.renewal import check_renewal, new_plan
    from tasks.ledger import digest

    listener(Stage(name="plan", note="anew" if standing is not None else ""))
    plan = new_plan(job)
    if standing is not None:
        check_renewal(standing, plan)
        if standing.complete and digest(plan.to_json()) == digest(standing.plain):
            return None
    for warning in plan.warnings:
        listener(Notice(text=warning))
    return plan


def _already_complete(job: Job, storage: Storage) -> Outcome:
    report = storage.read_json("report.json") or {}
    return Outcome(name=job.name, output=storage.uri, report=report, already_complete=True)
