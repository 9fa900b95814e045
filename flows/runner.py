"""Where blocks run: on this machine's cores, or on a Dask cluster. Descriptions come back, never arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.quarantine import Quarantine
from flows.threads import run_on_threads

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flows.where import Where
    from tasks.grid import Block
    from tasks.ledger import BlockEntry
    from tasks.work import Workshop


class RunError(RuntimeError):
    """A run that failed: what broke, and that the rest is kept."""


def run_blocks(shop: Workshop, blocks: Sequence[Block], where: Where, *, provider: str) -> Iterator[BlockEntry]:
    """Do every block and yield its entry as soon as it is recorded, in no promised order.

    What is recorded stays, whatever comes. Raises SetAsideError at the end where blocks failed for good, and at once
    what every other block would meet too.
    """
    quarantine = Quarantine()
    if where.shards > 1:
        from flows.region import run_shards

        yield from run_shards(shop, blocks, where, provider=provider)
    elif where.runner == "threads":
        yield from run_on_threads(shop, blocks, quarantine, n_workers=where.n_workers, free=where.free)
    else:
        from flows.cluster import run_on_cluster

        yield from run_on_cluster(shop, blocks, where, quarantine, provider=provider)
    quarantine.close()
