"""Blocks on the threads of this process: reading, the model and writing overlap, so that no core waits."""

from __future__ import annotations

import heapq
import math
import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tilewright.flows.machine import free_memory, unused_memory
from tilewright.flows.plan.memory import FEWEST_ALIVE, block_memory, read_order_of
from tilewright.flows.policies import BLOCK_DELAYS
from tilewright.tasks.block.split import do_block_in_parts
from tilewright.tasks.read.reader import set_block_cache

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tilewright.flows.runners.quarantine import Quarantine
    from tilewright.tasks.block.worker import InferredBlock, ReadBlock, Worker
    from tilewright.tasks.grid.blocks import Block
    from tilewright.tasks.storage.ledger import BlockEntry


WORKERS_PER_READER = 8
"""Cores for which one block at a time is read: reading is the lesser part of the work, and its own reads run side by
side too."""

MOST_WRITING = 2
"""Finished blocks that may wait to be written."""


@dataclass(slots=True, kw_only=True)
class BlockPipeline:
    """The blocks under way, by stage; ``again`` are those to be tried again, with the moment from which on.

    A block that ran out of memory is redone alone, split into parts, when no other block is in memory.
    """

    worker: Worker
    quarantine: Quarantine
    n_alive: int
    block_bytes: float
    readers: ThreadPoolExecutor
    makers: ThreadPoolExecutor
    callers: ThreadPoolExecutor
    writers: ThreadPoolExecutor
    waiting: deque[Block]
    again: list[tuple[float, str, Block]] = field(default_factory=list)
    reading: dict[Future[ReadBlock], Block] = field(default_factory=dict)
    making: dict[Future[InferredBlock], Block] = field(default_factory=dict)
    writing: set[Future[BlockEntry]] = field(default_factory=set)

    def run(self) -> Iterator[BlockEntry]:
        """Every entry as soon as it is recorded."""
        while self.waiting or self.again or self._under_way:
            self._feed()
            if self._under_way:
                # A block whose time has come waits for memory, not for the clock.
                patience = (self._pause() or None) if self.again else None
                done, _ = wait(self._under_way, timeout=patience, return_when=FIRST_COMPLETED)
                yield from self._take(done)
            elif (block := self._next()) is None:
                time.sleep(self._pause())
            else:
                self._drop(block)
                yield from self._in_parts(block)

    @property
    def _under_way(self) -> list[Future[Any]]:
        return [*self.reading, *self.making, *self.writing]

    def _pause(self) -> float:
        """Seconds until a block may be tried again."""
        return max(0.0, self.again[0][0] - time.monotonic())

    def _next(self) -> Block | None:
        """The block whose turn it is, or None where all that are left wait to be tried again."""
        if self.again and not self._pause():
            return self.again[0][2]
        return self.waiting[0] if self.waiting else None

    def _drop(self, block: Block) -> None:
        """Take a block off those to come; it is the next one."""
        if self.again and self.again[0][2] is block:
            heapq.heappop(self.again)
        else:
            self.waiting.popleft()

    def _feed(self) -> None:
        """Begin to read what there is room for; one block goes on however short memory is."""
        while len(self.reading) + len(self.making) < self.n_alive and len(self.writing) <= MOST_WRITING:
            if self._under_way and unused_memory() < self.block_bytes:
                return
            block = self._next()
            if block is None or self.quarantine.parts(block) > 1:
                return
            self._drop(block)
            self.reading[self.readers.submit(self.worker.read, block)] = block

    def _take(self, done: set[Future[Any]]) -> Iterator[BlockEntry]:
        """Hand each finished stage on to the next."""
        for read in [future for future in self.reading if future in done]:
            block = self.reading.pop(read)
            if self._failed(block, read.exception()):
                continue
            if self.quarantine.parts(block) > 1:
                # Memory ran out for another meanwhile: this one too begins anew, in parts.
                self.waiting.appendleft(block)
            else:
                self.making[self.makers.submit(self.worker.infer, read.result(), spread=self.callers.map)] = block
        for made in [future for future in self.making if future in done]:
            block = self.making.pop(made)
            if not self._failed(block, made.exception()):
                self.writing.add(self.writers.submit(self.worker.write, made.result()))
        for written in [future for future in self.writing if future in done]:
            self.writing.remove(written)
            yield written.result()

    def _in_parts(self, block: Block) -> Iterator[BlockEntry]:
        try:
            entry = do_block_in_parts(self.worker, block, parts=self.quarantine.parts(block))
        except Exception as error:
            self._failed(block, error)
        else:
            yield entry

    def _failed(self, block: Block, error: BaseException | None) -> bool:
        """True where a stage of the block failed: it is tried again later, or set aside."""
        if error is None:
            return False
        if not isinstance(error, Exception):
            raise error
        if self.quarantine.tries_again(block, error):
            tried = min(self.quarantine.tries[block.name], len(BLOCK_DELAYS))
            heapq.heappush(self.again, (time.monotonic() + BLOCK_DELAYS[tried - 1], block.name, block))
        return True


def run_on_threads(
    worker: Worker, blocks: Sequence[Block], quarantine: Quarantine, *, n_workers: int, free: int | None = None
) -> Iterator[BlockEntry]:
    """Do the blocks and yield their entries as they are recorded; what fails for good goes to quarantine.

    ``n_workers`` windows run at once, in ``free`` bytes of memory, None for what is free now. On a failure or Ctrl-C
    what has not begun is dropped and what runs is waited for: entries are whole or absent.
    """
    lattice = worker.plan.raster.lattice
    windows = (lattice.block // lattice.step) ** 2
    # Twice the windows that run at once, so that the end of one block does not leave a core without work.
    n_making = max(2, math.ceil(2 * n_workers / windows))
    n_readers = math.ceil(n_workers / WORKERS_PER_READER)
    places = [(block.row, block.col) for block in blocks]
    read_order = read_order_of(worker.plan, places, free=free_memory() if free is None else free)
    set_block_cache(read_order.cache_bytes)
    with ExitStack() as stack:
        line = BlockPipeline(
            worker=worker,
            quarantine=quarantine,
            n_alive=max(FEWEST_ALIVE, n_making + n_readers),
            block_bytes=block_memory(worker.plan),
            readers=_pool(stack, n_readers, "read"),
            makers=_pool(stack, n_making, "block"),
            callers=_pool(stack, n_workers, "infer"),
            writers=_pool(stack, 1, "write"),
            waiting=deque(read_order.order(blocks)),
        )
        yield from line.run()


def _pool(stack: ExitStack, size: int, name: str) -> ThreadPoolExecutor:
    pool = ThreadPoolExecutor(size, thread_name_prefix=f"tilewright-{name}")
    stack.callback(pool.shutdown, wait=True, cancel_futures=True)
    return pool
