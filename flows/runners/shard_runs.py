"""A large area as shards of blocks: each a flow run of its own, one plan before them, one publisher after them."""

from __future__ import annotations

import contextvars
import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

from tilewright.flows.errors import classify
from tilewright.flows.plan.shards import Shard, cut_shards
from tilewright.flows.policies import POLICIES, RETRIED
from tilewright.flows.runners.quarantine import SetAsideError
from tilewright.tasks.block.block_key import is_current
from tilewright.tasks.storage.ledger import ENTRIES, BlockEntry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tilewright.flows.runners.run_options import Placement, SendShard
    from tilewright.tasks.block.worker import Worker
    from tilewright.tasks.grid.blocks import Block
    from tilewright.tasks.storage.storage import Storage


LOOK_SECONDS = 2.0
"""How often the ledger is looked at for blocks that shards have finished."""


class ShardsError(RuntimeError):
    """Shards that failed for good, after their own tries."""


def run_shards(worker: Worker, blocks: Sequence[Block], placement: Placement, send: SendShard) -> Iterator[BlockEntry]:
    """Send the shards that hold the blocks out and yield entries as the ledger gets them.

    Raises ShardsError naming the shards that failed, after all others have ended.
    """
    wanted = {block.name: block for block in blocks}
    shards = [
        shard
        for shard in cut_shards(worker.plan, placement.shards)
        if any(f"{row}_{col}" in wanted for row, col in shard.places)
    ]
    parameters = [_parameters(worker, shard, placement) for shard in shards]
    at_once = len(shards) if placement.deployment else max(1, min(len(shards), placement.n_workers))
    failures: list[str] = []
    rows: list[dict[str, str]] = []
    with ThreadPoolExecutor(max(1, at_once), thread_name_prefix="tilewright-shard") as pool:
        # Each thread gets a copy of this context: a sub-flow finds its parent run in it.
        running: dict[Future[Any], Shard] = {
            pool.submit(contextvars.copy_context().run, _send, given, send): shard
            for shard, given in zip(shards, parameters, strict=True)
        }
        while running:
            ended, _ = wait(running, timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED)
            for future in ended:
                shard, error = running.pop(future), future.exception()
                if isinstance(error, ValueError):
                    raise error
                if error is not None:
                    rows.extend(getattr(error, "rows", ()))
                    failures.append(f"shard {shard.number} of {shard.total}: {' '.join(str(error).split())[:400]}")
            yield from _arrived(worker, wanted)
    if failures:
        message = (
            f"{len(failures)} of {len(shards)} shards failed: {'; '.join(failures[:3])}. Finished blocks are kept: "
            "run the same again for those that are missing."
        )
        raise SetAsideError(message, tuple(rows)) if rows else ShardsError(message)


def _parameters(worker: Worker, shard: Shard, placement: Placement) -> dict[str, Any]:
    """The parameters of the flow ``shard``."""
    return {
        "output": worker.storage.uri,
        "number": shard.number,
        "n_shards": placement.shards,
        "runner": placement.runner,
        "workers": _share(placement),
        "provider": worker.settings.provider,
        "batch": worker.model.batch,
        "tolerance": worker.settings.tolerance,
    }


def _share(placement: Placement) -> int | None:
    """Cores of one shard: sub-flows share this machine, deployment runs have one each."""
    return (
        placement.workers
        if placement.deployment
        else max(1, placement.n_workers // min(placement.shards, placement.n_workers))
    )


def _send(parameters: dict[str, Any], send: SendShard) -> None:
    """One shard from start to end; a new try is a new run, on another machine where it is a deployment's."""
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


def _arrived(worker: Worker, wanted: dict[str, Block]) -> Iterator[BlockEntry]:
    """Entries of wanted blocks that stand in the ledger by now; each is wanted no longer."""
    for name in _finished(worker.storage) & wanted.keys():
        plain = worker.storage.read_json(f"{ENTRIES}/{name}.json")
        entry = BlockEntry.from_json(plain) if plain else None
        if entry is not None and is_current(worker.plan, wanted[name], entry):
            del wanted[name]
            yield entry


def _finished(storage: Storage) -> set[str]:
    return {key.rsplit("/", 1)[-1].removesuffix(".json") for key in storage.keys(ENTRIES)}
