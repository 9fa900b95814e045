"""Where blocks run: on this machine's cores, or on a Dask cluster. Descriptions come back, never arrays."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from typing import TYPE_CHECKING

from flows.quarantine import Quarantine
from flows.steps import BLOCK_DELAYS
from tasks.infer import infer_block
from tasks.work import ReadBlock, Workshop, read_block, write_block

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flows.where import Where
    from tasks.grid import Block
    from tasks.infer import BlockResult
    from tasks.ledger import BlockEntry

READ_AHEAD = 1
"""Blocks whose pixels may be at hand or on their way beside the one in work: what bounds the memory."""


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
        yield from _run_threads(shop, blocks, quarantine, n_workers=where.n_workers)
    else:
        from flows.cluster import run_on_cluster

        yield from run_on_cluster(shop, blocks, where, quarantine, provider=provider)
    quarantine.close()


def _run_threads(
    shop: Workshop, blocks: Sequence[Block], quarantine: Quarantine, *, n_workers: int
) -> Iterator[BlockEntry]:
    """Three stages that overlap: blocks are read ahead, windows run on every core, shards are written behind."""
    with ExitStack() as stack:
        readers = _pool(stack, READ_AHEAD, "read")
        callers = _pool(stack, n_workers, "infer")
        writers = _pool(stack, 1, "write")
        waiting = deque(blocks)
        reading: deque[tuple[Block, Future[ReadBlock]]] = deque()
        writing: set[Future[BlockEntry]] = set()
        while waiting or reading:
            while waiting and len(reading) < READ_AHEAD:
                following = waiting.popleft()
                reading.append((following, readers.submit(read_block, shop, following)))
            block, coming = reading.popleft()
            try:
                read = coming.result()
            except Exception as error:
                if quarantine.tries_again(block, error):
                    time.sleep(BLOCK_DELAYS[min(quarantine.tries[block.name], len(BLOCK_DELAYS)) - 1])
                    waiting.appendleft(block)
                continue
            began = time.perf_counter()
            result = infer_block(shop.plan, shop.engine, read.inputs, spread=callers.map)
            writing.add(writers.submit(_write, shop, read.emptied(), result, time.perf_counter() - began))
            del read, coming, result
            # One finished block may wait to be written; more would only fill the memory.
            done, writing = wait(writing, timeout=None if len(writing) > 1 else 0, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
        yield from (future.result() for future in writing)


def _write(shop: Workshop, read: ReadBlock, result: BlockResult, seconds: float) -> BlockEntry:
    return write_block(shop, read, result, infer_seconds=seconds)


def _pool(stack: ExitStack, size: int, name: str) -> ThreadPoolExecutor:
    pool = ThreadPoolExecutor(size, thread_name_prefix=f"tilewright-{name}")
    # On a failure or Ctrl-C what has not begun is dropped, and what runs is waited for: entries are whole or absent.
    stack.callback(pool.shutdown, wait=True, cancel_futures=True)
    return pool
