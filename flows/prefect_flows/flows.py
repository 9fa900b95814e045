"""The Prefect flows; the entrypoint ``tilewright.flows.prefect_flows.predict`` loads from anywhere."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from prefect import flow
from prefect.deployments import run_deployment
from prefect.states import Failed

from tilewright.flows.errors import ErrorClass, classify, is_own, without_secrets_of
from tilewright.flows.job.job import make_job
from tilewright.flows.maintain.backfill import RunJob, backfill_jobs, run_backfill
from tilewright.flows.maintain.watch import watch_once
from tilewright.flows.monitor.logs import clean_records
from tilewright.flows.prefect_flows.artifacts import (
    Artifacts,
    create_artifacts,
    create_failures_artifact,
    create_watch_artifacts,
)
from tilewright.flows.prefect_flows.form import JobForm
from tilewright.flows.prefect_flows.secrets import refuse_secrets
from tilewright.flows.prefect_server import (
    CALL_RETRIES,
    check_server,
    guard_temporary_servers,
    in_flow_run,
    limit_retries,
    result_despite_outage,
    server_answers,
)
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.quarantine import SetAsideError
from tilewright.flows.runners.run_options import RunOptions, SendShard
from tilewright.flows.runners.shard_worker import run_shard
from tilewright.flows.shown import shown

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

guard_temporary_servers()

clean_records()

STATE_NAMES = {ErrorClass.BAD_REQUEST: "Refused", ErrorClass.OTHER_RUN: "OtherRun"}
"""Names of the failed state by error class, where "Failed" would suggest that a retry may help, or that something is
wrong: of a run whose output another run is writing nothing is."""


@flow(name="predict", persist_result=False)
def predict(
    job: JobForm,
    base: str = ".",
    runner: str = "threads",
    workers: int | None = None,
    *,
    update: bool = False,
    wait: float = 0,
) -> Any:
    """Run one job: plan, prepare, blocks, COGs, publish. The job is what a job file holds; paths are from ``base``.

    ``wait``: seconds for which another run that writes the same output is awaited.
    """
    options = RunOptions(runner=runner, workers=workers, update=update, wait=wait)
    return answer(lambda: _predict(job.plain(), base, options))


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
    wait: float = 0,
) -> Any:
    """Run a large job as ``shards`` flow runs: sub-flows here, or runs of ``deployment`` on machines of their own.

    The plan is frozen once before them, and published once after them; each shard has its own retries.
    """
    options = RunOptions(runner=runner, workers=workers, update=update, shards=shards, deployment=deployment, wait=wait)
    return answer(lambda: _predict(job.plain(), base, options))


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
    fence: dict[str, Any] | None = None,
) -> Any:
    """Do one shard's missing blocks from the frozen plan in the output; never publishes.

    It writes for the run of ``fence``, and fails once the output is another's; without one it belongs to the run that
    owns the output when it starts.
    It is ``region`` that tries a failed shard again: a new run may be on another machine.
    """
    return answer(
        lambda: run_shard(
            output=output,
            number=number,
            n_shards=n_shards,
            runner=runner,
            workers=workers,
            provider=provider,
            batch=batch,
            tolerance=tolerance,
            fence=fence,
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
        results = watch_once(
            plain,
            base=Path(base).resolve(),
            now=datetime.now(UTC),
            every=every,
            overlap=timedelta(days=overlap_days),
            options=RunOptions(runner=runner, workers=workers),
            listener=Artifacts(None),
        )
        create_watch_artifacts(results)
        return [result.summary() for result in results]

    return answer(work)


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
        rows = run_backfill(jobs, _job_runner(base, deployment), home=home, at_once=at_once, only=only)
        return [{"name": row.name, "state": row.state} for row in rows]

    return answer(work)


def shard_sender(deployment: str | None) -> SendShard:
    """A function that runs a shard: as a run of a deployment, else as a sub-flow, or directly if no server answers."""

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
    """A deployment run that did not complete; one that crashed or has no state counts as a lost worker."""

    def __init__(self, deployment: str, run: str, state: State[Any] | None) -> None:
        words = (state.message or state.name) if state is not None else "it has no state"
        super().__init__(f"{deployment}, run {run}: {words}")
        named = [kind for kind, name in STATE_NAMES.items() if state is not None and name == state.name]
        if state is None or state.is_crashed():
            self.error_class = ErrorClass.LOST_WORKER
        elif named:
            self.error_class = named[0]


def run_under_prefect(job: Job, options: RunOptions, *, listener: Listener) -> Outcome:
    """``run_job`` as a flow run of the server at ``PREFECT_API_URL``, or of a server started for this run.

    Raises RunnerError where that server does not answer.
    """
    check_server()

    def run(record: Callable[[Callable[[], Outcome]], Outcome]) -> Any:
        @flow(name="predict", flow_run_name=job.name, persist_result=False, validate_parameters=False)
        def run_here() -> Any:
            return answer(lambda: record(lambda: _run(job, options, listener=listener)))

        return run_here()

    with limit_retries(CALL_RETRIES):
        return result_despite_outage(run)


def _predict(job: dict[str, Any], base: str, options: RunOptions) -> dict[str, Any]:
    refuse_secrets(job, "job")
    return _run(make_job(job, base=Path(base).resolve()), options, listener=None).summary()


def _job_runner(base: str, deployment: str | None) -> RunJob:
    if deployment is not None:
        return lambda job: run_deployed(deployment, {"job": job, "base": base})
    return lambda job: predict(job=JobForm(**job), base=base)


def _run(job: Job, options: RunOptions, *, listener: Listener | None) -> Outcome:
    outcome = run_job(job, options, listener=Artifacts(listener), send_shard=shard_sender(options.deployment))
    if in_flow_run():
        create_artifacts(outcome)
    return outcome


def answer(work: Callable[[], Any]) -> Any:
    """The result of the work; an error of this project becomes a failed state with its message and no traceback."""
    try:
        return work()
    except Exception as given:
        error = without_secrets_of(given)
        if not isinstance(given, (ValueError, RuntimeError)) or not is_own(given):
            # The server keeps the trace too, with what it names as the context.
            raise error from (error.__cause__ if error is given else None)
        kind = classify(error)
        if isinstance(error, SetAsideError):
            create_failures_artifact(error.rows)
        return Failed(name=STATE_NAMES.get(kind, "Failed"), message=shown(" ".join(str(error).split())), data=error)
