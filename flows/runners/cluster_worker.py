"""The work of a Dask worker process: it proves that it is like the run's own process, opens its worker, does blocks."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tilewright.flows.errors import RunnerError
from tilewright.flows.plan.make import versions
from tilewright.flows.runners.worker import reopen_worker
from tilewright.tasks.block.split import do_block_in_parts

if TYPE_CHECKING:
    from tilewright.tasks.block.worker import Worker, WorkerSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteOrder:
    """The part of a block's order that is the same for all blocks of a run: where the plan lies, and how it is done.

    ``expected`` are the facts, as sorted (name, value), that a worker process must share with the run's own.
    """

    output: str
    settings: WorkerSettings
    expected: tuple[tuple[str, str], ...]


def expected_facts(worker: Worker) -> tuple[tuple[str, str], ...]:
    """The facts in which every worker process must agree with this one, or the map would have two kinds of pixels."""
    return (
        ("model", worker.model.card.sha256),
        ("python", _python()),
        ("tilewright", versions()["tilewright"]),
    )


def worker_facts(order: RemoteOrder) -> dict[str, str]:
    """The same facts of the process it is called in; in place of an error, the reason why its model is missing."""
    facts = {"python": _python(), "tilewright": versions().get("tilewright", "none")}
    try:
        return {**facts, "model": _worker(order).model.card.sha256}
    except (ValueError, RuntimeError, OSError) as error:
        return {**facts, "model": f"none ({' '.join(str(error).split())[:200]})"}


def remote_block(row: int, col: int, parts: int, order: RemoteOrder) -> dict[str, Any]:
    """The ledger entry, as JSON values, of one block done in this process, whole or in ``parts`` per side."""
    # A worker that came later was not there when all were compared.
    _agree(order)
    worker = _worker(order)
    block = worker.plan.raster.block(row, col)
    return (worker.do(block) if parts == 1 else do_block_in_parts(worker, block, parts=parts)).to_json()


def differences(facts: dict[str, str], expected: tuple[tuple[str, str], ...]) -> str:
    """The facts of a worker process that are not those expected, in words; empty where they agree."""
    return ", ".join(
        f"{name} {facts.get(name, 'none')} (here {wanted})" for name, wanted in expected if facts.get(name) != wanted
    )


@lru_cache(maxsize=4)
def _agree(order: RemoteOrder) -> None:
    differing = differences(worker_facts(order), order.expected)
    if differing:
        raise RunnerError(f"A worker on {platform.node()} differs from the run: {differing}. Use one image for all.")


@lru_cache(maxsize=4)
def _worker(order: RemoteOrder) -> Worker:
    return reopen_worker(order.output, order.settings)


def _python() -> str:
    return ".".join(platform.python_version_tuple()[:2])
