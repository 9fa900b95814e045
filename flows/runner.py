"""Where blocks run: on this machine's cores, or on a Dask cluster. Descriptions come back, never arrays."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flows.memory import block_memory
from flows.places import unused_memory
from flows.quarantine import Quarantine
from flows.steps import BLOCK_DELAYS
from tasks.infer import infer_block
from tasks.parts import do_block_in_parts
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
        line = _Line(
            shop=shop,
            quarantine=quarantine,
            readers=_pool(stack, READ_AHEAD, "read"),
            callers=_pool(stack, n_workers, "infer"),
            writers=_pool(stack, 1, "write"),
            waiting=deque(blocks),
            block_bytes=block_memory(shop.plan),
        )
        yield from line.run()


@dataclass(slots=True, kw_only=True)
class _Line:
    """The blocks of a run on their way through the three stages; what memory is too short for goes alone, in parts."""

    shop: Workshop
    quarantine: Quarantine
    readers: ThreadPoolExecutor
    callers: ThreadPoolExecutor
    writers: ThreadPoolExecutor
    waiting: deque[Block]
    block_bytes: float
    reading: deque[tuple[Block, Future[ReadBlock]]] = field(default_factory=deque)
    writing: set[Future[BlockEntry]] = field(default_factory=set)

    def run(self) -> Iterator[BlockEntry]:
        while self.waiting or self.reading:
            if not self.reading:
                self._read_next()
            if self.reading:
                self._infer(*self.reading.popleft())
                yield from self._written()
            else:
                # Alone: nothing else holds pixels while memory is short.
                yield from self._written(all_of=True)
                yield from self._in_parts(self.waiting.popleft())
        yield from self._written(all_of=True)

    def _read_ahead(self) -> None:
        """Read on while a block is in work; held back while memory is short, until that block is done."""
        while self.waiting and len(self.reading) < READ_AHEAD and unused_memory() >= self.block_bytes:
            if not self._read_next():
                return

    def _read_next(self) -> bool:
        """Begin to read the next block; False where it must be done alone."""
        if self.quarantine.parts(self.waiting[0]) > 1:
            return False
        following = self.waiting.popleft()
        self.reading.append((following, self.readers.submit(read_block, self.shop, following)))
        return True

    def _infer(self, block: Block, coming: Future[ReadBlock]) -> None:
        try:
            read = coming.result()
            self._read_ahead()
            began = time.perf_counter()
            result = infer_block(self.shop.plan, self.shop.engine, read.inputs, spread=self.callers.map)
        except Exception as error:
            self._failed(block, error)
        else:
            seconds = time.perf_counter() - began
            self.writing.add(self.writers.submit(_write, self.shop, read.emptied(), result, seconds))

    def _in_parts(self, block: Block) -> Iterator[BlockEntry]:
        try:
            entry = do_block_in_parts(self.shop, block, parts=self.quarantine.parts(block))
        except Exception as error:
            self._failed(block, error)
        else:
            yield entry

    def _failed(self, block: Block, error: Exception) -> None:
        if self.quarantine.tries_again(block, error):
            time.sleep(BLOCK_DELAYS[min(self.quarantine.tries[block.name], len(BLOCK_DELAYS)) - 1])
            self.waiting.appendleft(block)

    def _written(self, *, all_of: bool = False) -> Iterator[BlockEntry]:
        """Entries of the blocks that are written; waits for all, or for one where two would fill the memory."""
        patience = None if all_of or len(self.writing) > 1 else 0
        done, self.writing = wait(self.writing, patience, ALL_COMPLETED if all_of else FIRST_COMPLETED)
        yield from (future.result() for future in done)


def _write(shop: Workshop, read: ReadBlock, result: BlockResult, seconds: float) -> BlockEntry:
    return write_block(shop, read, result, infer_seconds=seconds)


def _pool(stack: ExitStack, size: int, name: str) -> ThreadPoolExecutor:
    pool = ThreadPoolExecutor(size, thread_name_prefix=f"tilewright-{name}")
    # On a failure or Ctrl-C what has not begun is dropped, and what runs is waited for: entries are whole or absent.
    stack.callback(pool.shutdown, wait=True, cancel_futures=True)
    return pool
