"""Order and policy: from a job to its product, on threads, a cluster or Prefect. The only package that knows Prefect.

job/            what a person writes
plan/           job -> frozen plan
estimate/       time, memory and cost of a plan
run/            one job from request to product
runners/        where blocks run
monitor/        progress.json, logs, metrics, traces
chain/          jobs of one file that read each other's products
maintain/       status, clean, rerun, watch, backfill, push
ask/            of finished products: compare, evaluate, zones, find, sample, export
view/           finished products on a map in a browser
prefect_flows/  the flows that Prefect serves
cli/            the command
environment, machine, policies, errors, shown, prefect_server, prefect_steps: what the wings share
python_api      the functions behind `import tilewright`

The names below are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tilewright.flows.job.job import Job as Job
    from tilewright.flows.job.job import make_job as make_job
    from tilewright.flows.job.job import read_job as read_job
    from tilewright.flows.plan.make import plan_job as plan_job
    from tilewright.flows.run.predict import run_job as run_job
    from tilewright.flows.runners.run_options import RunOptions as RunOptions

_NAMES = {
    "Job": "job.job",
    "RunOptions": "runners.run_options",
    "make_job": "job.job",
    "plan_job": "plan.make",
    "read_job": "job.job",
    "run_job": "run.predict",
}

__all__ = [
    "Job",
    "RunOptions",
    "make_job",
    "plan_job",
    "read_job",
    "run_job",
]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"tilewright.flows.{_NAMES[name]}"), name)
