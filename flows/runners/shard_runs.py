"""Shards of a large area, each a flow run of its own: one plan is frozen before them, one product published after."""

from __future__ import annotations

import contextvars
import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tilewright.flows.errors import ErrorClass, classify
from tilewright.flows.policies import POLICIES, RETRIED
from tilewright.flows.runners.quarantine import SetAsideError
from tilewright.tasks.block.block_key import is_current
from tilewright.tasks.plan.shards import Shard, cut_shards
from tilewright.tasks.report.format import plural
from tilewright.tasks.storage.documents import read_many
from tilewright.tasks.storage.ledger import ENTRIES, parse_entry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tilewright.flows.runners.run_options import Placement, SendShard
    from tilewright.tasks.block.worker import Worker
    from tilewright.tasks.grid.blocks import Block
    from tilewright.tasks.storage.ledger import BlockEntry


POLL_SECONDS = 2.0
"""Seconds between two reads of the ledger for blocks that the shards have finished."""


class ShardsError(RuntimeError):
    """Shards that failed for good, after their retries."""


def run_shards(worker: Worker, blocks: Sequence[Block], placement: Placement, send: SendShard) -> Iterator[BlockEntry]:
    """Run the shards that hold the blocks and yield the entries as they appear in the ledger.

    Raises ShardsError or SetAsideError naming the shards that failed, after all others have ended; a refusal
    (ValueError), and the loss of the output to another run, at once.
    """
    wanted = {block.name: block for block in blocks}
    shards = [
        shard
        for shard in cut_shards(worker.plan, placement.shards)
        if any(f"{row}_{col}" in wanted for row, col in shard.places)
    ]
    parameters = [_parameters(worker, shard, placement) for shard in shards]
    n_parallel = len(shards) if placement.deployment else max(1, min(len(shards), placement.n_workers))
    failures: list[str] = []
    rows: list[dict[str, str]] = []
    with ThreadPoolExecutor(max(1, n_parallel), thread_name_prefix="tilewright-shard") as pool:
        # Each thread gets a copy of this context: a sub-flow finds its parent run in it.
        running: dict[Future[Any], Shard] = {
            pool.submit(contextvars.copy_context().run, _send_with_retries, arguments, send): shard
            for shard, arguments in zip(shards, parameters, strict=True)
        }
        while running:
            ended, _ = wait(running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
            for future in ended:
                shard, error = running.pop(future), future.exception()
                if isinstance(error, ValueError) or (error and classify(error) is ErrorClass.OTHER_RUN):
                    raise error
                if error is not None:
                    rows.extend(getattr(error, "rows", ()))
                    failures.append(f"shard {shard.number} of {shard.total}: {' '.join(str(error).split())[:400]}")
            yield from _finished_entries(worker, wanted)
    if failures:
        message = (
            f"{len(failures)} of {plural(len(shards), 'shard')} failed: {'; '.join(failures[:3])}. Finished blocks are "
            "kept: run the same again for those that are missing."
        )
        raise SetAsideError(message, tuple(rows)) if rows else ShardsError(message)


def _parameters(worker: Worker, shard: Shard, placement: Placement) -> dict[str, Any]:
    """The parameters of the flow ``shard``."""
    fence = worker.storage.fence
    return {
        "output": worker.storage.uri,
        "number": shard.number,
        "n_shards": placement.shards,
        "runner": placement.runner,
        "workers": _cores_per_shard(placement),
        "provider": worker.settings.provider,
        "batch": worker.model.batch,
        "tolerance": worker.settings.tolerance,
        "fence": None if fence is None else asdict(fence),
    }


def _cores_per_shard(placement: Placement) -> int | None:
    """Cores of one shard: sub-flows share this machine; a deployment run has a machine of its own."""
    return (
        placement.workers
        if placement.deployment
        else max(1, placement.n_workers // min(placement.shards, placement.n_workers))
    )


def _send_with_retries(parameters: dict[str, Any], send: SendShard) -> None:
    """Run one shard to its end; a retry is a new flow run, which may be on another machine for a deployment."""
    delays = deque(POLICIES["shard"].delays)
    while True:
        try:
            send(parameters)
        except Exception as error:
            if not delays or classify(error) not in RETRIED:
                raise
            time.sleep(delays.popleft())
        else:
            return


def _finished_entries(worker: Worker, wanted: dict[str, Block]) -> Iterator[BlockEntry]:
    """Entries of wanted blocks that are in the ledger by now; their blocks are removed from ``wanted``."""
    recorded = {key.rsplit("/", 1)[-1].removesuffix(".json") for key in worker.storage.keys(ENTRIES)}
    names = sorted(recorded & wanted.keys())
    contents = read_many(worker.storage, [f"{ENTRIES}/{name}.json" for name in names])
    for name, content in zip(names, contents, strict=True):
        entry = parse_entry(content)
        if entry is not None and is_current(worker.plan, wanted[name], entry):
            del wanted[name]
            yield entry
