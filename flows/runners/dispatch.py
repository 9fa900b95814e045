"""Sends blocks to a cluster's workers: how many at once, when they are tried again, when a source is left alone."""

from __future__ import annotations

import heapq
import queue
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tilewright.flows.errors import ErrorClass, classify
from tilewright.flows.policies import BLOCK_DELAYS, SOURCE_PAUSES
from tilewright.tasks.block.block_key import block_key
from tilewright.tasks.storage.ledger import BlockEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tilewright.flows.runners.cluster_worker import RemoteOrder
    from tilewright.flows.runners.quarantine import Quarantine
    from tilewright.tasks.block.worker import Worker
    from tilewright.tasks.grid.blocks import Block


LEAST_OUT, MOST_OUT = 2, 32
"""Blocks per worker that are out at once: one in work and one waiting, so that a lost worker loses little; more only
where blocks are so small that the way to the worker and back would take longer than the block."""

OUT_SECONDS = 0.5
"""Work that a worker has waiting at least."""

GATHER_SECONDS = 0.05
"""Answers that come within this time are fetched in one call: each call is a way through the scheduler and back."""

LOOK_SECONDS = 2.0
"""How often the workers are counted: some may have come or gone."""

LONELY_SECONDS = 600.0
"""How long a run waits for a worker when there is none."""

ENDED = {"finished", "error", "cancelled"}
"""Dask's words for a future that will not change any more. One whose answer was lost with its worker before it was
fetched ("lost", then "pending") is being done again by the scheduler."""


class NoWorkersError(RuntimeError):
    """A cluster that lost all its workers and got no new one."""


@dataclass(slots=True, kw_only=True)
class Dispatcher:
    """Blocks out on the workers, those to be tried again, and the pause a throttled source gets.

    ``work`` is what a worker does: ``tilewright.flows.runners.cluster_worker.remote_block``.
    """

    client: Any
    worker: Worker
    work: Callable[..., dict[str, Any]]
    order: RemoteOrder
    quarantine: Quarantine
    out: dict[Any, Block] = field(default_factory=dict)
    again: list[tuple[float, str, Block]] = field(default_factory=list)
    answers: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)
    lost: list[Any] = field(default_factory=list)
    pauses: int = 0
    quiet_until: float = 0.0
    n_workers: int = 1
    looked: float = 0.0
    met: float = field(default_factory=time.monotonic)
    block_seconds: float = float("inf")

    def run(self, blocks: Sequence[Block]) -> Iterator[BlockEntry]:
        """Do the blocks and yield their entries as they come; what fails for good goes to quarantine."""
        waiting = list(reversed(blocks))
        while waiting or self.again or self.out:
            self._look()
            self._send(waiting)
            yield from self._take(self._answered())

    def _send(self, waiting: list[Block]) -> None:
        """Send out as many blocks as the workers should have, in one message."""
        now = time.monotonic()
        room = self.n_workers * self._out_per_worker() - len(self.out)
        sent: list[Block] = []
        while len(sent) < room and now >= self.quiet_until:
            if self.again and self.again[0][0] <= now:
                sent.append(heapq.heappop(self.again)[2])
            elif waiting:
                sent.append(waiting.pop())
            else:
                break
        if sent:
            self._submit(sent)

    def _out_per_worker(self) -> int:
        return min(MOST_OUT, max(LEAST_OUT, int(OUT_SECONDS / max(self.block_seconds, 1e-3)) + 1))

    def _submit(self, blocks: list[Block]) -> None:
        needs = {"GPU": 1} if self.worker.model.session.provider in {"cuda", "tensorrt"} else None
        futures = self.client.map(
            self.work,
            [block.row for block in blocks],
            [block.col for block in blocks],
            [self.quarantine.parts(block) for block in blocks],
            order=self.order,
            key=[self._key(block) for block in blocks],
            resources=needs,
            pure=False,
        )
        for future, block in zip(futures, blocks, strict=True):
            self.out[future] = block
            future.add_done_callback(self.answers.put)

    def _key(self, block: Block) -> str:
        """The same block of the same pixels has the same key in every run; a new try needs a new one."""
        tried = self.quarantine.tries.get(block.name, 0)
        return f"block-{block.name}-{block_key(self.worker.plan, block)[:16]}" + (f"-{tried}" if tried else "")

    def _answered(self) -> list[Any]:
        """Futures that have ended, all that there are; none where nothing ends for a while."""
        told, self.lost = self.lost, []
        try:
            told.append(self.answers.get(timeout=LOOK_SECONDS / 4 if self.again or told else LOOK_SECONDS))
            if self.block_seconds < OUT_SECONDS:
                time.sleep(GATHER_SECONDS)
        except queue.Empty:
            pass
        while not self.answers.empty():
            told.append(self.answers.get())
        ended: list[Any] = []
        for future in told:
            # A future tells of its end once only; those whose answers were lost since are looked at in every round.
            (ended if future.status in ENDED else self.lost).append(future)
        return ended

    def _take(self, ended: list[Any]) -> Iterator[BlockEntry]:
        results = self._gathered([future for future in ended if future.status == "finished"])
        for future in ended:
            block = self.out.pop(future)
            result = results[future] if future in results else _result(future)
            if isinstance(result, Exception):
                self._failed(block, result)
                continue
            entry = BlockEntry.from_json(result)
            self._measure(entry)
            yield entry

    def _gathered(self, futures: list[Any]) -> dict[Any, dict[str, Any] | Exception]:
        """Results by future, fetched in one call; one that was lost with its worker since is done again meanwhile."""
        if not futures:
            return {}
        try:
            return dict(zip(futures, self.client.gather(futures), strict=True))
        except Exception:
            # One of them failed when it was done again: each says for itself how it ended.
            return {future: _result(future) for future in futures}

    def _measure(self, entry: BlockEntry) -> None:
        busy = sum(entry.seconds.values())
        known = self.block_seconds < float("inf")
        self.block_seconds = 0.8 * self.block_seconds + 0.2 * busy if known else busy

    def _failed(self, block: Block, error: Exception) -> None:
        if classify(error) is ErrorClass.THROTTLED:
            self.quiet_until = time.monotonic() + SOURCE_PAUSES[min(self.pauses, len(SOURCE_PAUSES) - 1)]
            self.pauses += 1
        if self.quarantine.tries_again(block, error):
            tried = self.quarantine.tries[block.name]
            delay = BLOCK_DELAYS[min(tried, len(BLOCK_DELAYS)) - 1]
            heapq.heappush(self.again, (time.monotonic() + delay, block.name, block))

    def _look(self) -> None:
        now = time.monotonic()
        if now - self.looked < LOOK_SECONDS:
            return
        self.looked = now
        # scheduler_info() names five workers at most; nthreads() all.
        self.n_workers = len(self.client.nthreads())
        if self.n_workers:
            self.met = now
        elif now - self.met > LONELY_SECONDS:
            raise NoWorkersError(
                f"The Dask cluster has had no worker for {LONELY_SECONDS / 60:.0f} minutes; finished blocks are kept. "
                "Start workers and run again."
            )


def _result(future: Any) -> dict[str, Any] | Exception:
    """What a future came to; of a cancelled one, why."""
    try:
        return dict(future.result())
    except Exception as error:
        return error
