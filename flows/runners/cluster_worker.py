"""What a Dask worker process does: it proves that it is like the run's own process, opens its workshop, does blocks."""

from __future__ import annotations

import platform
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tilewright.flows.errors import RunnerError
from tilewright.flows.plan.make import versions
from tilewright.flows.runners.worker import reopen_worker
from tilewright.tasks.block.block import do_block
from tilewright.tasks.block.split import do_block_in_parts

if TYPE_CHECKING:
    from tilewright.tasks.block.block import Worker


Pairs = tuple[tuple[str, Any], ...]
"""A mapping that can be a key: names and values, sorted."""

READ_THREADS = 2


def expected_facts(worker: Worker) -> tuple[tuple[str, str], ...]:
    """What every worker must agree in with this process, or the map would be made of two kinds of pixels."""
    return (
        ("model", worker.engine.card.sha256),
        ("python", _python()),
        ("tilewright", versions()["tilewright"]),
    )


def worker_facts(settings: Pairs) -> dict[str, str]:
    """The same of the process it is called in, and what its model lacks instead of an error."""
    facts = {"python": _python(), "tilewright": versions().get("tilewright", "none")}
    try:
        return {**facts, "model": _worker(settings).engine.card.sha256}
    except (ValueError, RuntimeError, OSError) as error:
        return {**facts, "model": f"none ({' '.join(str(error).split())[:200]})"}


def remote_block(row: int, col: int, parts: int, settings: Pairs, expected: Pairs) -> dict[str, Any]:
    """Do one block in this process, whole or in ``parts`` per side, and return its ledger entry as JSON values."""
    # A worker that came later was not there when all were compared.
    _agree(settings, expected)
    worker = _worker(settings)
    block = worker.plan.block(row, col)
    return (do_block(worker, block) if parts == 1 else do_block_in_parts(worker, block, parts=parts)).to_json()


def differences(facts: dict[str, str], expected: Pairs) -> str:
    """Where a worker's facts are not those expected, in words; empty where they agree."""
    return ", ".join(
        f"{name} {facts.get(name, 'none')} (here {wanted})" for name, wanted in expected if facts.get(name) != wanted
    )


@lru_cache(maxsize=4)
def _agree(settings: Pairs, expected: Pairs) -> None:
    differing = differences(worker_facts(settings), expected)
    if differing:
        raise RunnerError(f"A worker on {platform.node()} differs from the run: {differing}. Use one image for all.")


@lru_cache(maxsize=4)
def _worker(settings: Pairs) -> Worker:
    return reopen_worker(read_threads=READ_THREADS, **dict(settings))


def _python() -> str:
    return ".".join(platform.python_version_tuple()[:2])
