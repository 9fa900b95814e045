"""One shard of a product, done from the frozen plan in its output."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

from tilewright.flows.environment import storage_options
from tilewright.flows.errors import RunnerError
from tilewright.flows.runners.run_options import Placement
from tilewright.flows.runners.runner import run_blocks
from tilewright.flows.runners.worker import reopen_worker
from tilewright.flows.versions import OF_PIXELS, OF_STORAGE, changed_versions, versions
from tilewright.tasks.block.block_key import is_current
from tilewright.tasks.block.worker import WorkerSettings
from tilewright.tasks.plan.shards import cut_shards
from tilewright.tasks.storage.fence import Fence
from tilewright.tasks.storage.ledger import read_entries
from tilewright.tasks.storage.lock import current_fence
from tilewright.tasks.storage.storage import open_storage

if TYPE_CHECKING:
    from tilewright.tasks.grid.blocks import Block
    from tilewright.tasks.plan.plan import Plan


def do_shard(
    output: str,
    number: int,
    n_shards: int,
    *,
    placement: Placement,
    settings: WorkerSettings | None = None,
    fence: Fence | None = None,
) -> dict[str, int]:
    """Do the missing blocks of a shard from the frozen plan in the output; returns the counts of its blocks.

    It writes for the run of ``fence``; None is the one that owns the output now, whose plan is then read.

    Raises FencedError where that run does not own the output, StoreError where it holds no plan, RunnerError where
    the libraries here are not those of the plan, and what its blocks raise.
    """
    if fence is None:
        fence = current_fence(open_storage(output, options=storage_options(output)))
    worker = reopen_worker(output, settings or WorkerSettings(), fence=fence)
    worker.storage.check_fence()
    _check_libraries(worker.plan)
    blocks = shard_blocks(worker.plan, number, n_shards)
    existing = read_entries(worker.storage)
    missing = [block for block in blocks if not is_current(worker.plan, block, existing.get(block.name))]
    done = sum(1 for _ in run_blocks(worker, missing, placement))
    return {"shard": number, "blocks": len(blocks), "done_now": done}


def _check_libraries(plan: Plan) -> None:
    changed = changed_versions(plan.versions, versions(), ("tilewright", *OF_PIXELS, *OF_STORAGE))
    if changed:
        raise RunnerError(
            f"The shard's machine {platform.node()} differs from the one that planned, and so might its pixels: "
            f"{'; '.join(changed)}. Use the same image for all."
        )


def shard_blocks(plan: Plan, number: int, n_shards: int) -> list[Block]:
    """The blocks of one shard. Raises ValueError for a number that the plan's shards do not have."""
    shards = cut_shards(plan, n_shards)
    if not 1 <= number <= len(shards):
        raise ValueError(f"shard {number} of {n_shards}: this plan has the shards 1 to {len(shards)}")
    return [plan.raster.block(row, col) for row, col in shards[number - 1].places]


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
    fence: dict[str, Any] | None = None,
) -> dict[str, int]:
    """``do_shard`` with the parameters of the flow ``shard``."""
    settings = WorkerSettings(provider=provider, batch=batch, tolerance=tolerance)
    return do_shard(
        output,
        number,
        n_shards,
        placement=Placement(runner=runner, workers=workers),
        settings=settings,
        fence=None if fence is None else Fence(**fence),
    )
