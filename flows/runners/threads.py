"""Blocks on the threads of this process: reads, model calls and writes of different blocks overlap."""

from __future__ import annotations

import heapq
import math
import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tilewright.flows.estimate.memory import block_memory, read_order_of
from tilewright.flows.machine import free_memory, release_memory, threads_cpu, unused_memory
from tilewright.flows.policies import BLOCK_DELAYS, MIN_BLOCKS_IN_MEMORY
from tilewright.tasks.block.split import do_block_in_parts
from tilewright.tasks.cube.spare import SPARE
from tilewright.tasks.read.reader import release_blocks, set_block_cache

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tilewright.flows.runners.quarantine import Quarantine
    from tilewright.tasks.block.worker import InferredBlock, ReadBlock, Worker
    from tilewright.tasks.grid.blocks import Block
    from tilewright.tasks.storage.ledger import BlockEntry


CORES_PER_READER = 8
"""Cores per block that is read at a time: reading is the smaller part of the work, and the reads of one block overlap
too."""

REMOTE_READERS = 2
"""Blocks that are read at a time at least over a network: while one waits for its last pixels, the next one asks."""

CPU_STAGES = {"infer": ("tilewright-infer", "tilewright-block"), "write": ("tilewright-write", "asyncio", "zarr")}
"""Names of the threads of a stage; those of reading come and go, and theirs is the rest of the process."""

RELEASE_SECONDS, RELEASE_SHARE = 5.0, 0.02
"""Least seconds between two returns of freed memory to the system, and the share of a run that they may take. Heaps
grow to the double of what is used, as the decoded pixels that are kept lie between pixels of blocks; a return takes
from ten milliseconds to a second, in which nothing else is given memory."""

MAX_WRITING = 2
"""Inferred blocks that may wait to be written before no further block is read."""


@dataclass(slots=True, kw_only=True)
class BlockPipeline:
    """The blocks in work, by stage: each goes through the thread pools ``readers``, ``inferrers`` and ``writers``.

    ``callers`` run the model calls of all blocks. At most ``n_in_memory`` blocks are read or inferred at a time, and
    a further one is read only while ``block_bytes`` of memory are unused. ``retries`` is a heap of (time of the next
    try in monotonic seconds, name, block).

    A block that ran out of memory is redone alone, split into parts, when no other block is in memory.
    """

    worker: Worker
    quarantine: Quarantine
    n_in_memory: int
    block_bytes: float
    readers: ThreadPoolExecutor
    inferrers: ThreadPoolExecutor
    callers: ThreadPoolExecutor
    writers: ThreadPoolExecutor
    waiting: deque[Block]
    retries: list[tuple[float, str, Block]] = field(default_factory=list)
    reading: dict[Future[ReadBlock], Block] = field(default_factory=dict)
    inferring: dict[Future[InferredBlock], Block] = field(default_factory=dict)
    writing: set[Future[BlockEntry]] = field(default_factory=set)

    def run(self) -> Iterator[BlockEntry]:
        """The entries, each as soon as it is recorded."""
        while self.waiting or self.retries or self._under_way:
            self._start_reads()
            if self._under_way:
                # A block that may be retried now waits for memory to become free, not for a time.
                patience = (self._seconds_to_retry() or None) if self.retries else None
                done, _ = wait(self._under_way, timeout=patience, return_when=FIRST_COMPLETED)
                yield from self._advance(done)
            elif (block := self._next_block()) is None:
                time.sleep(self._seconds_to_retry())
            else:
                self._remove(block)
                yield from self._do_in_parts(block)

    @property
    def _under_way(self) -> list[Future[Any]]:
        return [*self.reading, *self.inferring, *self.writing]

    def _seconds_to_retry(self) -> float:
        """Seconds until the first retry is due."""
        return max(0.0, self.retries[0][0] - time.monotonic())

    def _next_block(self) -> Block | None:
        """The next block to do; None if all that are left are retries that are not due yet."""
        if self.retries and not self._seconds_to_retry():
            return self.retries[0][2]
        return self.waiting[0] if self.waiting else None

    def _remove(self, block: Block) -> None:
        """Remove the next block from the queue that holds it."""
        if self.retries and self.retries[0][2] is block:
            heapq.heappop(self.retries)
        else:
            self.waiting.popleft()

    def _start_reads(self) -> None:
        """Start reading the blocks that memory has room for; one block is always in work, however little is free."""
        while len(self.reading) + len(self.inferring) < self.n_in_memory and len(self.writing) <= MAX_WRITING:
            if self._under_way and unused_memory() < self.block_bytes:
                return
            block = self._next_block()
            if block is None or self.quarantine.parts(block) > 1:
                return
            self._remove(block)
            self.reading[self.readers.submit(self.worker.read, block)] = block

    def _advance(self, done: set[Future[Any]]) -> Iterator[BlockEntry]:
        """Start the next stage of each block whose stage is done, and yield the entries of the written ones."""
        for read in [future for future in self.reading if future in done]:
            block = self.reading.pop(read)
            if self._note_failure(block, read.exception()):
                continue
            if self.quarantine.parts(block) > 1:
                # Memory ran out for another block in the meantime: this one too starts over, in parts.
                self.waiting.appendleft(block)
            else:
                future = self.inferrers.submit(self.worker.infer, read.result(), map_calls=self.callers.map)
                self.inferring[future] = block
        for inferred in [future for future in self.inferring if future in done]:
            block = self.inferring.pop(inferred)
            if not self._note_failure(block, inferred.exception()):
                self.writing.add(self.writers.submit(self.worker.write, inferred.result()))
        for written in [future for future in self.writing if future in done]:
            self.writing.remove(written)
            yield written.result()

    def _do_in_parts(self, block: Block) -> Iterator[BlockEntry]:
        try:
            entry = do_block_in_parts(self.worker, block, parts=self.quarantine.parts(block))
        except Exception as error:
            self._note_failure(block, error)
        else:
            yield entry

    def _note_failure(self, block: Block, error: BaseException | None) -> bool:
        """True if a stage of the block failed; the block is then retried later or set aside."""
        if error is None:
            return False
        if not isinstance(error, Exception):
            raise error
        if self.quarantine.record_failure(block, error):
            tried = min(self.quarantine.tries[block.name], len(BLOCK_DELAYS))
            heapq.heappush(self.retries, (time.monotonic() + BLOCK_DELAYS[tried - 1], block.name, block))
        return True


def run_on_threads(
    worker: Worker, blocks: Sequence[Block], quarantine: Quarantine, *, n_workers: int, free: int | None = None
) -> Iterator[BlockEntry]:
    """Do the blocks and yield their entries as they are recorded; blocks that fail for good go to quarantine.

    ``n_workers`` model calls run at once, in ``free`` bytes of memory (None: those free now). On a failure or Ctrl-C
    stages that have not begun are cancelled and running ones are awaited: entries are whole or absent.
    """
    lattice = worker.plan.raster.lattice
    windows = (lattice.block // lattice.step) ** 2
    # Blocks with twice the windows that run at once, so that no core is idle at the end of a block.
    n_inferring = max(2, math.ceil(2 * n_workers / windows))
    n_readers = max(math.ceil(n_workers / CORES_PER_READER), REMOTE_READERS if worker.plan.remote else 1)
    places = [(block.row, block.col) for block in blocks]
    read_order = read_order_of(worker.plan, places, free=free_memory() if free is None else free)
    set_block_cache(read_order.cache_bytes)
    worker = replace(worker, access=replace(worker.access, in_turns=not read_order.whole))
    with ExitStack() as stack:
        # After the pools have ended, so that what they held is given back too.
        stack.callback(release_memory)
        stack.callback(release_blocks)
        stack.callback(SPARE.release)
        pipeline = BlockPipeline(
            worker=worker,
            quarantine=quarantine,
            n_in_memory=max(MIN_BLOCKS_IN_MEMORY, n_inferring + n_readers),
            block_bytes=block_memory(worker.plan),
            readers=_pool(stack, n_readers, "read"),
            inferrers=_pool(stack, n_inferring, "block"),
            callers=_pool(stack, n_workers, "infer"),
            writers=_pool(stack, 1, "write"),
            waiting=deque(read_order.order(blocks)),
        )
        yield from _with_releases(pipeline.run())
        for stage, names in CPU_STAGES.items():
            worker.cpu[stage] = worker.cpu.get(stage, 0.0) + threads_cpu(names)


def _with_releases(entries: Iterable[BlockEntry]) -> Iterator[BlockEntry]:
    """The entries; between them freed memory is returned to the system now and then."""
    due = time.monotonic() + RELEASE_SECONDS
    for entry in entries:
        yield entry
        began = time.monotonic()
        if began >= due:
            release_memory()
            ended = time.monotonic()
            due = ended + max(RELEASE_SECONDS, (ended - began) / RELEASE_SHARE)


def _pool(stack: ExitStack, size: int, name: str) -> ThreadPoolExecutor:
    pool = ThreadPoolExecutor(size, thread_name_prefix=f"tilewright-{name}")
    stack.callback(pool.shutdown, wait=True, cancel_futures=True)
    return pool
