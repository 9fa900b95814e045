"""Units of places on the threads of this process: each thread reads and runs the model for one unit at a time."""

from __future__ import annotations

import heapq
import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from tilewright.flows.machine import free_memory, release_memory
from tilewright.flows.policies import BLOCK_DELAYS, PLACES_CACHE_BYTES
from tilewright.tasks.read.gdal import CACHE_BYTES
from tilewright.tasks.read.reader import release_blocks, set_block_cache

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tilewright.flows.runners.quarantine import Quarantine
    from tilewright.tasks.grid.blocks import Block
    from tilewright.tasks.places.worker import PlacesWorker
    from tilewright.tasks.storage.ledger import BlockEntry

CACHE_DIVISOR = 8
"""The cache takes at most one part in so many of the free memory."""

RELEASE_SECONDS = 5.0
"""Seconds between two returns of freed memory to the system."""


def run_units(
    worker: PlacesWorker, units: Sequence[Block], quarantine: Quarantine, *, n_workers: int
) -> Iterator[BlockEntry]:
    """Do the units and yield their entries as they are recorded; units that fail for good go to quarantine.

    On a failure or Ctrl-C units that have not begun are cancelled and running ones are awaited.
    """
    set_block_cache(max(CACHE_BYTES, min(PLACES_CACHE_BYTES, free_memory() // CACHE_DIVISOR)))
    waiting = deque(units)
    retries: list[tuple[float, str, Block]] = []
    running: dict[Future[BlockEntry], Block] = {}
    released = time.monotonic()
    pool = ThreadPoolExecutor(n_workers, thread_name_prefix="tilewright-infer")
    try:
        while waiting or retries or running:
            while len(running) < n_workers and (unit := _next_unit(waiting, retries)) is not None:
                running[pool.submit(worker.do, unit)] = unit
            if not running:
                time.sleep(max(0.0, retries[0][0] - time.monotonic()))
                continue
            patience = max(0.0, retries[0][0] - time.monotonic()) if retries and len(running) < n_workers else None
            done, _ = wait(running, timeout=patience, return_when=FIRST_COMPLETED)
            for future in done:
                unit, error = running.pop(future), future.exception()
                if error is None:
                    yield future.result()
                elif not isinstance(error, Exception):
                    raise error
                elif quarantine.record_failure(unit, error):
                    tried = min(quarantine.tries[unit.name], len(BLOCK_DELAYS))
                    heapq.heappush(retries, (time.monotonic() + BLOCK_DELAYS[tried - 1], unit.name, unit))
            if time.monotonic() - released >= RELEASE_SECONDS:
                release_memory()
                released = time.monotonic()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        release_blocks()
        release_memory()


def _next_unit(waiting: deque[Block], retries: list[tuple[float, str, Block]]) -> Block | None:
    """The next unit to do, taken out of its queue; None if all that are left are retries that are not due yet."""
    if retries and retries[0][0] <= time.monotonic():
        return heapq.heappop(retries)[2]
    return waiting.popleft() if waiting else None
