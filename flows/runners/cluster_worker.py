"""The functions that a Dask worker process runs: it reports what may change its pixels, opens its worker, does blocks.

A worker process outlives runs. Its open worker holds a plan, so the plan is among the facts by which it is kept.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tilewright.flows.errors import RunnerError
from tilewright.flows.monitor.logs import clean_records
from tilewright.flows.runners.worker import reopen_places_worker, reopen_worker
from tilewright.flows.versions import cpu_features, process_facts, versions
from tilewright.tasks.block.split import do_block_in_parts
from tilewright.tasks.places.worker import PlacesWorker
from tilewright.tasks.storage.ledger import json_digest
from tilewright.tasks.storage.secrets import public_plan

if TYPE_CHECKING:
    from tilewright.tasks.block.worker import Worker, WorkerSettings
    from tilewright.tasks.storage.fence import Fence


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteRun:
    """The arguments that are the same for all blocks of a run: where its plan is stored, the settings, its ``fence``.

    ``expected``: the facts, as sorted (name, value), in which a worker process must agree with the run's own process.
    ``rows``: the SHA-256 of the rows in the output for a job over places, None for one over an area.
    """

    output: str
    settings: WorkerSettings
    expected: tuple[tuple[str, str], ...]
    fence: Fence | None
    rows: str | None = None


def expected_facts(worker: Worker | PlacesWorker) -> tuple[tuple[str, str], ...]:
    """The facts in which every worker process must agree with this one; otherwise pixels could depend on the worker."""
    return tuple(sorted({**process_facts(), **_facts_of(worker)}.items()))


def worker_facts(remote_run: RemoteRun) -> dict[str, str]:
    """The same facts of the calling process, and ``cpu``, its instruction sets, in which it need not agree.

    If its model or the plan cannot be loaded the reason stands in place of the model's digest.
    """
    facts = {**process_facts(), "cpu": " ".join(cpu_features())}
    try:
        return {**facts, **_facts_of(_worker(remote_run))}
    except (ValueError, RuntimeError, OSError) as error:
        return {**facts, "model": f"none ({' '.join(str(error).split())[:200]})"}


def _facts_of(worker: Worker | PlacesWorker) -> dict[str, str]:
    # The same version of OpenVINO, where it computes.
    computing = {"openvino": versions(openvino=True).get("openvino", "none")} if worker.plan.model.runtime else {}
    return {
        **computing,
        "model": worker.model.card.sha256,
        "plan": json_digest(public_plan(worker.plan.to_json()))[:16],
        "provider": worker.model.session.provider,
    }


def remote_block(row: int, col: int, parts: int, remote_run: RemoteRun) -> dict[str, Any]:
    """The ledger entry, as JSON values, of one block done in this process, whole or in ``parts`` per side."""
    # A worker that joined later was not compared when the run began.
    _check_facts(remote_run)
    worker = _worker(remote_run)
    # A task may come long after its run: it then reads no scene in vain.
    worker.storage.check_fence()
    block = worker.plan.raster.block(row, col)
    # A unit of places reads and answers its rows some at a time: it has no smaller parts.
    if parts == 1 or isinstance(worker, PlacesWorker):
        return worker.do(block).to_json()
    return do_block_in_parts(worker, block, parts=parts).to_json()


def differences(facts: dict[str, str], expected: tuple[tuple[str, str], ...]) -> str:
    """The facts of a worker process that differ from those expected, in words; empty where they agree."""
    unloaded = facts.get("model", "").startswith("none")
    return ", ".join(
        f"{name} {facts.get(name, 'none')} (here {wanted})"
        for name, wanted in expected
        if facts.get(name) != wanted and not (unloaded and name in {"plan", "provider", "openvino"})
    )


@lru_cache(maxsize=4)
def _check_facts(remote_run: RemoteRun) -> None:
    differing = differences(worker_facts(remote_run), remote_run.expected)
    if differing:
        raise RunnerError(f"A worker on {platform.node()} differs from the run: {differing}. Use one image for all.")


# The run's id and generation are in the key: a worker process that stands for long opens its worker anew for each run.
@lru_cache(maxsize=4)
def _worker(remote_run: RemoteRun) -> Worker | PlacesWorker:
    clean_records()
    if remote_run.rows is not None:
        return reopen_places_worker(
            remote_run.output, remote_run.settings, fence=remote_run.fence, rows=remote_run.rows
        )
    return reopen_worker(remote_run.output, remote_run.settings, fence=remote_run.fence)
