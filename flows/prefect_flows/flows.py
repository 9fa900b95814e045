"""The flows as Prefect sees them; the entrypoint ``tilewright.flows.prefect_flows.predict`` loads from anywhere."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from prefect import flow
from prefect.deployments import run_deployment
from prefect.states import Failed

from tilewright.flows.errors import ErrorClass, classify, is_own
from tilewright.flows.job.job import make_job
from tilewright.flows.maintain.backfill import Drive, backfill_jobs, run_backfill
from tilewright.flows.maintain.watch import watch_once
from tilewright.flows.prefect_flows.artifacts import Artifacts, leave_artifacts, leave_failures, leave_ticks
from tilewright.flows.prefect_flows.form import JobForm
from tilewright.flows.prefect_flows.secrets import refuse_secrets
from tilewright.flows.prefect_server import (
    CALL_TRIES,
    check_server,
    few_retries,
    in_flow_run,
    result_despite_outage,
    server_answers,
)
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.quarantine import SetAsideError
from tilewright.flows.runners.run_options import RunOptions, SendShard
from tilewright.flows.runners.shard_worker import run_shard

if TYPE_CHECKING:
    from collections.abc import Callable

    from prefect.client.schemas.objects import State

    from tilewright.flows.job.job import Job
    from tilewright.flows.run.outcome import Outcome
    from tilewright.tasks.progress import Listener


# A fresh home needs 20 s for its first server-less flow, which is Prefect's own limit (FACTS, Prefect); and a server
# started for one run has nobody to report usage to.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")

os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")

os.environ.setdefault("DO_NOT_TRACK", "1")

STATE_NAMES = {ErrorClass.BAD_REQUEST: "Refused"}
"""What a failed run is called where "Failed" would not tell why nothing will help."""


@flow(name="predict", persist_result=False)
def predict(
    job: JobForm, base: str = ".", runner: str = "threads", workers: int | None = None, *, update: bool = False
) -> Any:
    """Run one job: plan, prepare, blocks, COGs, publish. The job is what a job file holds; paths are from ``base``."""
    return _answer(lambda: _predict(job.plain(), base, RunOptions(runner=runner, workers=workers, update=update)))


@flow(name="region", persist_result=False)
def region(
    job: JobForm,
    *,
    base: str = ".",
    shards: int = 4,
    deployment: str | None = None,
    runner: str = "threads",
    workers: int | None = None,
    update: bool = False,
) -> Any:
    """Run a large job as ``shards`` flow runs: sub-flows here, or runs of ``deployment`` on machines of their own.

    The plan is frozen once before them, and published once after them; each shard has its own retries.
    """
    options = RunOptions(runner=runner, workers=workers, update=update, shards=shards, deployment=deployment)
    return _answer(lambda: _predict(job.plain(), base, options))


@flow(name="shard", flow_run_name="shard-{number}-of-{n_shards}", persist_result=False)
def shard(
    *,
    output: str,
    number: int,
    n_shards: int,
    runner: str = "threads",
    workers: int | None = None,
    provider: str = "auto",
    batch: int | None = None,
    tolerance: int = 0,
) -> Any:
    """Do one shard's missing blocks from the frozen plan that stands in the output; never publishes.

    It is ``region`` that tries a failed shard again: a new run may be on another machine.
    """
    return _answer(
        lambda: run_shard(
            output=output,
            number=number,
            n_shards=n_shards,
            runner=runner,
            workers=workers,
            provider=provider,
            batch=batch,
            tolerance=tolerance,
        )
    )


@flow(name="watch", persist_result=False)
def watch(
    job: JobForm,
    *,
    base: str = ".",
    every: Literal["none", "day", "month", "year"] = "none",
    overlap_days: float = 10,
    runner: str = "threads",
    workers: int | None = None,
) -> Any:
    """Look for scenes that are new or changed, and redo just the blocks they touch; meant for a schedule.

    With ``every`` the job's name and output hold ``{period}``, and each day, month or year gets a product of its own.
    """

    def work() -> list[dict[str, Any]]:
        plain = job.plain()
        refuse_secrets(plain, "job")
        ticks = watch_once(
            plain,
            base=Path(base).resolve(),
            now=datetime.now(UTC),
            every=every,
            overlap=timedelta(days=overlap_days),
            options=RunOptions(runner=runner, workers=workers),
            listener=Artifacts(None),
        )
        leave_ticks(ticks)
        return [tick.summary() for tick in ticks]

    return _answer(work)


@flow(name="backfill", persist_result=False)
def backfill(
    job: JobForm,
    table: list[dict[str, Any]],
    *,
    home: str,
    base: str = ".",
    at_once: int = 2,
    deployment: str | None = None,
    only: str | None = None,
) -> Any:
    """Make a product per row of a table, ``at_once`` at a time; what is done is not done again.

    Each is a sub-flow, or a run of ``deployment``. ``only`` drives again what failed for that reason alone.
    """

    def work() -> list[dict[str, Any]]:
        plain = job.plain()
        refuse_secrets(plain, "job")
        refuse_secrets(table, "table")
        jobs = backfill_jobs(plain, table)
        rows = run_backfill(jobs, _driver(base, deployment), home=home, at_once=at_once, only=only)
        return [{"name": row.name, "state": row.state} for row in rows]

    return _answer(work)


def shard_sender(deployment: str | None) -> SendShard:
    """The way a shard is run: as a run of a deployment, else as a sub-flow, or plainly where no server answers."""

    def send(parameters: dict[str, Any]) -> None:
        if deployment is not None:
            run_deployed(deployment, parameters)
        elif in_flow_run() and server_answers():
            shard(**parameters)
        else:
            run_shard(**parameters)

    return send


def run_deployed(deployment: str, parameters: dict[str, Any]) -> None:
    """Run a deployment (``flow/name``) to its end. Raises DeployedRunError where it does not complete."""
    run: Any = run_deployment(deployment, parameters=parameters, as_subflow=in_flow_run())
    state = run.state
    if state is None or not state.is_completed():
        raise DeployedRunError(deployment, run.name, state)


class DeployedRunError(RuntimeError):
    """A deployment run that did not complete; one that crashed or vanished counts as a lost worker."""

    def __init__(self, deployment: str, run: str, state: State[Any] | None) -> None:
        words = (state.message or state.name) if state is not None else "it has no state"
        super().__init__(f"{deployment}, run {run}: {words}")
        if state is None or state.is_crashed():
            self.error_class = ErrorClass.LOST_WORKER
        elif state.name == STATE_NAMES[ErrorClass.BAD_REQUEST]:
            self.error_class = ErrorClass.BAD_REQUEST


def run_under_prefect(job: Job, options: RunOptions, *, listener: Listener) -> Outcome:
    """The same as ``run_job``, as a flow run of the server at ``PREFECT_API_URL`` or of one started for it.

    Raises RunnerError where that server does not answer.
    """
    check_server()

    def run(keep: Callable[[Callable[[], Outcome]], Outcome]) -> Any:
        @flow(name="predict", flow_run_name=job.name, persist_result=False, validate_parameters=False)
        def run_here() -> Any:
            return _answer(lambda: keep(lambda: _run(job, options, listener=listener)))

        return run_here()

    with few_retries(CALL_TRIES):
        return result_despite_outage(run)


def _predict(job: dict[str, Any], base: str, options: RunOptions) -> dict[str, Any]:
    refuse_secrets(job, "job")
    return _run(make_job(job, base=Path(base).resolve()), options, listener=None).summary()


def _driver(base: str, deployment: str | None) -> Drive:
    if deployment is not None:
        return lambda job: run_deployed(deployment, {"job": job, "base": base})
    return lambda job: predict(job=JobForm(**job), base=base)


def _run(job: Job, options: RunOptions, *, listener: Listener | None) -> Outcome:
    outcome = run_job(job, options, listener=Artifacts(listener), send_shard=shard_sender(options.deployment))
    if in_flow_run():
        leave_artifacts(outcome)
    return outcome


def _answer(work: Callable[[], Any]) -> Any:
    """What the work gives; our own refusals and failures as a failed state with their sentence and no traceback."""
    try:
        return work()
    except (ValueError, RuntimeError) as error:
        if not is_own(error):
            raise
        kind = classify(error)
        if isinstance(error, SetAsideError):
            leave_failures(error.rows)
        return Failed(name=STATE_NAMES.get(kind, "Failed"), message=" ".join(str(error).split()), data=error)
