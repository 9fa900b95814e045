"""The flows as Prefect sees them; module entrypoints such as ``flows.prefect_flows.predict`` load from anywhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

# A fresh home needs 20 s for its first server-less flow, which is Prefect's own limit (FACTS, Prefect).
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.context import FlowRunContext

from flows.job import make_job
from flows.predict import RunOptions, run_job
from flows.terminal import closing_lines
from tasks.progress import Advance, Notice, Stage

if TYPE_CHECKING:
    from flows.job import Job
    from flows.outcome import Outcome
    from tasks.progress import Event, Listener

PROGRESS_STEPS = 50
"""Updates of the progress artifact at most: each is a call to the server."""


@flow(name="predict", persist_result=False)
def predict(
    job: dict[str, Any], base: str = ".", runner: str = "threads", workers: int | None = None, *, update: bool = False
) -> dict[str, Any]:
    """Run one job: plan, prepare, blocks, COGs, publish. The job is what a job file holds; paths are from ``base``."""
    checked = make_job(job, base=Path(base).resolve())
    return _run(checked, RunOptions(runner=runner, workers=workers, update=update), listener=None).summary()


def run_under_prefect(job: Job, options: RunOptions, *, listener: Listener) -> Outcome:
    """The same as ``run_job``, as a flow run of the server at ``PREFECT_API_URL`` or of one started for it."""

    @flow(name="predict", flow_run_name=job.name, persist_result=False, validate_parameters=False)
    def run_here() -> Outcome:
        return _run(job, options, listener=listener)

    outcome: Outcome = run_here()
    return outcome


def _run(job: Job, options: RunOptions, *, listener: Listener | None) -> Outcome:
    outcome = run_job(job, options, listener=_Artifacts(listener))
    lines = "\n".join(f"    {line}" for line in closing_lines(outcome))
    create_markdown_artifact(key="run-report", markdown=f"# {outcome.name}\n\n{lines}\n")
    return outcome


class _Artifacts:
    """A listener that keeps a progress artifact and the flow run's log, and tells the next listener too."""

    def __init__(self, following: Listener | None) -> None:
        self.following = following
        self.logger = get_run_logger()
        self.artifact: Any = None
        self.done = 0
        self.total = 0

    def __call__(self, event: Event) -> None:
        if self.following is not None:
            self.following(event)
        if FlowRunContext.get() is None:
            return
        match event:
            case Stage():
                self.logger.info("%s %s", event.name, event.note)
                if event.name == "blocks":
                    self.total = event.total
                    self.artifact = create_progress_artifact(progress=0.0, key="blocks-done")
            case Advance() if self.artifact is not None and self.done < self.total:
                self._advance(event.done)
            case Notice():
                self.logger.warning("%s", event.text)
            case _:
                pass

    def _advance(self, n_done: int) -> None:
        before = self.done * PROGRESS_STEPS // self.total
        self.done += n_done
        if self.done * PROGRESS_STEPS // self.total > before:
            update_progress_artifact(artifact_id=self.artifact, progress=100.0 * self.done / self.total)
