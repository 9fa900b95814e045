"""Sends blocks to a cluster's workers: how many at once, when one is retried, when a throttled source is paused."""

from __future__ import annotations

import heapq
import queue
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tilewright.flows.errors import ErrorClass, classify
from tilewright.flows.policies import BLOCK_DELAYS, SOURCE_PAUSES
from tilewright.tasks.storage.ledger import BlockEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tilewright.flows.runners.cluster_worker import RemoteRun
    from tilewright.flows.runners.quarantine import Quarantine
    from tilewright.tasks.block.worker import Worker
    from tilewright.tasks.grid.blocks import Block
    from tilewright.tasks.places.worker import PlacesWorker


MIN_SENT, MAX_SENT = 2, 32
"""Blocks sent to one worker at a time: one in work and one waiting, so that a lost worker loses little; more where a
block takes less time than its way to the worker and back."""

QUEUED_SECONDS = 0.5
"""Seconds of work that should wait at each worker."""

GATHER_SECONDS = 0.05
"""Seconds for which results are gathered into one call, because each call is a round trip through the scheduler."""

POLL_SECONDS = 2.0
"""Seconds between two counts of the workers, since some may have come or gone."""

NO_WORKER_SECONDS = 600.0
"""Seconds that a run waits for a worker when there is none."""

END_STATES = {"finished", "error", "cancelled"}
"""Dask's states of a future that will not change any more. A result lost with its worker before it was fetched ("lost",
then "pending") is computed again by the scheduler."""


class NoWorkersError(RuntimeError):
    """A cluster that lost all its workers and got no new one."""


@dataclass(slots=True, kw_only=True)
class ClusterState:
    """The measurements that decide how many blocks are sent; times are seconds of the monotonic clock.

    ``n_workers`` were counted at ``counted_at``; at ``worker_seen_at`` there last was one. ``block_seconds`` is the
    moving average of a worker's time for a block, infinite before the first one. No block is sent before
    ``paused_until``; the source has been paused ``n_pauses`` times.
    """

    n_workers: int = 1
    counted_at: float = 0.0
    worker_seen_at: float = field(default_factory=time.monotonic)
    block_seconds: float = float("inf")
    paused_until: float = 0.0
    n_pauses: int = 0


@dataclass(slots=True, kw_only=True)
class Dispatcher:
    """Sends blocks to workers and collects their entries; retries what fails and pauses a throttled source.

    ``work`` is the function that a worker runs: ``tilewright.flows.runners.cluster_worker.remote_block``. ``sent``:
    the blocks at the workers, by future. ``retries``: a heap of (time of the next try, name, block). ``ended``: futures
    that reported their end. ``recomputing``: those whose result was lost with its worker since.
    """

    client: Any
    worker: Worker | PlacesWorker
    work: Callable[..., dict[str, Any]]
    remote_run: RemoteRun
    quarantine: Quarantine
    sent: dict[Any, Block] = field(default_factory=dict)
    retries: list[tuple[float, str, Block]] = field(default_factory=list)
    ended: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)
    recomputing: list[Any] = field(default_factory=list)
    state: ClusterState = field(default_factory=ClusterState)

    def run(self, blocks: Sequence[Block]) -> Iterator[BlockEntry]:
        """Do the blocks and yield their entries as they come; blocks that fail for good go to quarantine."""
        waiting = list(reversed(blocks))
        while waiting or self.retries or self.sent:
            self._count_workers()
            self._send(waiting)
            yield from self._collect(self._ended_futures())

    def _send(self, waiting: list[Block]) -> None:
        """Send as many blocks as the workers should have, in one message; none while the source is paused."""
        now = time.monotonic()
        n_free = self.state.n_workers * self._blocks_per_worker() - len(self.sent)
        chosen: list[Block] = []
        while len(chosen) < n_free and now >= self.state.paused_until:
            if self.retries and self.retries[0][0] <= now:
                chosen.append(heapq.heappop(self.retries)[2])
            elif waiting:
                chosen.append(waiting.pop())
            else:
                break
        if chosen:
            self._submit(chosen)

    def _blocks_per_worker(self) -> int:
        return min(MAX_SENT, max(MIN_SENT, int(QUEUED_SECONDS / max(self.state.block_seconds, 1e-3)) + 1))

    def _submit(self, blocks: list[Block]) -> None:
        needs = {"GPU": 1} if self.worker.model.session.provider in {"cuda", "tensorrt"} else None
        futures = self.client.map(
            self.work,
            [block.row for block in blocks],
            [block.col for block in blocks],
            [self.quarantine.parts(block) for block in blocks],
            remote_run=self.remote_run,
            key=[self._key(block) for block in blocks],
            resources=needs,
            pure=False,
        )
        for future, block in zip(futures, blocks, strict=True):
            self.sent[future] = block
            future.add_done_callback(self.ended.put)

    def _key(self, block: Block) -> str:
        """Dask's key of a block: of its pixels, of this run, and with the number of failed tries.

        A scheduler does a key once for all who ask for it: without the run, a run that took another one over, or makes
        the same product elsewhere, would get the other's entries and refusals for blocks that nobody wrote for it.
        """
        tried = self.quarantine.tries.get(block.name, 0)
        fence = self.remote_run.fence
        owner = "" if fence is None else f"-{fence.run}"
        key = f"block-{block.name}-{self.worker.key(block)[:16]}{owner}"
        return key + (f"-{tried}" if tried else "")

    def _ended_futures(self) -> list[Any]:
        """All futures that have ended by now, after a short wait for the first; empty where none ends in that time."""
        candidates, self.recomputing = self.recomputing, []
        try:
            candidates.append(self.ended.get(timeout=POLL_SECONDS / 4 if self.retries or candidates else POLL_SECONDS))
            if self.state.block_seconds < QUEUED_SECONDS:
                time.sleep(GATHER_SECONDS)
        except queue.Empty:
            pass
        while not self.ended.empty():
            candidates.append(self.ended.get())
        ended: list[Any] = []
        for future in candidates:
            # A future reports its end only once; one whose result was lost since is checked in every round.
            (ended if future.status in END_STATES else self.recomputing).append(future)
        return ended

    def _collect(self, ended: list[Any]) -> Iterator[BlockEntry]:
        results = self._results([future for future in ended if future.status == "finished"])
        for future in ended:
            block = self.sent.pop(future)
            result = results[future] if future in results else _result_of(future)
            if isinstance(result, Exception):
                self._handle_failure(block, result)
                continue
            entry = BlockEntry.from_json(result)
            self._update_block_seconds(entry)
            yield entry

    def _results(self, futures: list[Any]) -> dict[Any, dict[str, Any] | Exception]:
        """Results by future, fetched in one call; a result lost with its worker since is computed again first."""
        if not futures:
            return {}
        try:
            return dict(zip(futures, self.client.gather(futures), strict=True))
        except Exception:
            # One of them failed when it was computed again: fetch them one by one.
            return {future: _result_of(future) for future in futures}

    def _update_block_seconds(self, entry: BlockEntry) -> None:
        busy = sum(entry.seconds.values())
        known = self.state.block_seconds < float("inf")
        self.state.block_seconds = 0.8 * self.state.block_seconds + 0.2 * busy if known else busy

    def _handle_failure(self, block: Block, error: Exception) -> None:
        if classify(error) is ErrorClass.THROTTLED:
            pause = SOURCE_PAUSES[min(self.state.n_pauses, len(SOURCE_PAUSES) - 1)]
            self.state.paused_until = time.monotonic() + pause
            self.state.n_pauses += 1
        if self.quarantine.record_failure(block, error):
            tried = self.quarantine.tries[block.name]
            delay = BLOCK_DELAYS[min(tried, len(BLOCK_DELAYS)) - 1]
            heapq.heappush(self.retries, (time.monotonic() + delay, block.name, block))

    def _count_workers(self) -> None:
        now, state = time.monotonic(), self.state
        if now - state.counted_at < POLL_SECONDS:
            return
        state.counted_at = now
        # scheduler_info() names five workers at most; nthreads() all.
        state.n_workers = len(self.client.nthreads())
        if state.n_workers:
            state.worker_seen_at = now
        elif now - state.worker_seen_at > NO_WORKER_SECONDS:
            raise NoWorkersError(
                f"The Dask cluster has had no worker for {NO_WORKER_SECONDS / 60:.0f} minutes; finished blocks are "
                "kept. Start workers and run again."
            )


def _result_of(future: Any) -> dict[str, Any] | Exception:
    """The result of a future, or the error with which it failed or was cancelled."""
    try:
        return dict(future.result())
    except Exception as error:
        return error
