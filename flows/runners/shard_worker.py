"""One shard of a product done from the plan in its output alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tilewright.flows.plan.shards import cut_shards
from tilewright.flows.runners.worker import reopen_worker
from tilewright.tasks.block.block import is_current
from tilewright.tasks.storage.ledger import read_entries

if TYPE_CHECKING:
    from tilewright.flows.runners.run_options import Placement
    from tilewright.tasks.grid.blocks import Block
    from tilewright.tasks.plan import Plan


READ_THREADS = 4


def do_shard(
    output: str,
    number: int,
    n_shards: int,
    *,
    placement: Placement,
    provider: str = "auto",
    batch: int | None = None,
    tolerance: int = 0,
) -> dict[str, int]:
    """Do what is missing of one shard, from the frozen plan in the output alone; the counts of its blocks.

    Raises StoreError where no plan is there, and what its blocks raise.
    """
    from tilewright.flows.runners.runner import run_blocks

    worker = reopen_worker(output, provider=provider, batch=batch, tolerance=tolerance, read_threads=READ_THREADS)
    blocks = shard_blocks(worker.plan, number, n_shards)
    existing = read_entries(worker.storage)
    missing = [block for block in blocks if not is_current(worker.plan, block, existing.get(block.name))]
    done = sum(1 for _ in run_blocks(worker, missing, placement, provider=provider))
    return {"shard": number, "blocks": len(blocks), "done_now": done}


def shard_blocks(plan: Plan, number: int, n_shards: int) -> list[Block]:
    """The blocks of one shard. Raises ValueError where there is none of that number."""
    shards = cut_shards(plan, n_shards)
    if not 1 <= number <= len(shards):
        raise ValueError(f"shard {number} of {n_shards}: this plan has the shards 1 to {len(shards)}")
    return [plan.block(row, col) for row, col in shards[number - 1].places]


def run_shard(
    *,
    output: str,
    number: int,
    n_shards: int,
    runner: str,
    workers: int | None,
    provider: str,
    batch: int | None,
    tolerance: int,
) -> dict[str, int]:
    """``do_shard`` by values that travel as a flow run's parameters."""
    from tilewright.flows.runners.run_options import Placement

    placement = Placement(runner=runner, workers=workers)
    return do_shard(output, number, n_shards, placement=placement, provider=provider, batch=batch, tolerance=tolerance)
