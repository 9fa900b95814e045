"""Runs blocks on this machine's cores, on a Dask cluster or as shards, and returns their ledger entries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tilewright.flows.runners.quarantine import Quarantine
from tilewright.flows.runners.shard_runs import run_shards
from tilewright.flows.runners.threads import run_on_threads
from tilewright.flows.runners.units import run_units
from tilewright.tasks.block.worker import Worker
from tilewright.tasks.places.worker import PlacesWorker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tilewright.flows.runners.run_options import Placement, SendShard
    from tilewright.tasks.grid.blocks import Block
    from tilewright.tasks.storage.ledger import BlockEntry


class RunError(RuntimeError):
    """A run that failed; finished blocks are kept."""


def run_blocks(
    worker: Worker | PlacesWorker, blocks: Sequence[Block], placement: Placement, *, send_shard: SendShard | None = None
) -> Iterator[BlockEntry]:
    """Do every block and yield its entry as soon as it is recorded, in any order.

    Recorded blocks are kept whatever fails later. ``send_shard`` runs one shard, for a placement with several. Raises
    SetAsideError at the end if blocks failed for good, and at once an error that every other block would raise too.
    """
    quarantine = Quarantine()
    if isinstance(worker, PlacesWorker) and placement.runner == "threads":
        assert placement.shards == 1, "places are not cut into shards"
        yield from run_units(worker, blocks, quarantine, n_workers=placement.n_workers)
    elif placement.shards > 1:
        assert isinstance(worker, Worker), "places are not cut into shards"
        assert send_shard is not None, "a run in shards says how one is sent"
        yield from run_shards(worker, blocks, placement, send_shard)
    elif placement.runner == "threads" and isinstance(worker, Worker):
        yield from run_on_threads(worker, blocks, quarantine, n_workers=placement.n_workers, free=placement.free)
    else:
        from tilewright.flows.runners.cluster import run_on_cluster

        yield from run_on_cluster(worker, blocks, placement, quarantine)
    quarantine.close()
