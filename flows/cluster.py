"""Blocks on a Dask cluster: each worker process opens its own workshop from the output and does one block at a time."""

from __future__ import annotations

import heapq
import platform
import queue
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from flows.errors import ErrorClass, classify
from flows.planning import versions
from flows.steps import BLOCK_DELAYS, SOURCE_PAUSES
from flows.where import RunnerError
from flows.workshop import reopen_workshop
from tasks.ledger import BlockEntry
from tasks.work import block_key, do_block

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flows.quarantine import Quarantine
    from flows.where import Where
    from tasks.grid import Block
    from tasks.work import Workshop

IN_FLIGHT = 2
"""Blocks per worker that are out at once: one in work, one waiting, so that a lost worker loses little."""

LOOK_SECONDS = 2.0
"""How often the workers are counted: some may have come or gone."""

LONELY_SECONDS = 600.0
"""How long a run waits for a worker when there is none."""

READ_THREADS = 2


class NoWorkersError(RuntimeError):
    """A cluster that lost all its workers and got no new one."""


def run_on_cluster(
    shop: Workshop, blocks: Sequence[Block], where: Where, quarantine: Quarantine, *, provider: str
) -> Iterator[BlockEntry]:
    """Do the blocks on the cluster and yield their entries as they come; what fails for good goes to quarantine.

    Raises RunnerError where Dask's distributed part is not installed or the workers differ from this process.
    """
    settings = {
        "output": shop.storage.uri,
        "provider": provider,
        "batch": shop.engine.batch,
        "tolerance": shop.failures.tolerance,
    }
    with _client(where, n_blocks=len(blocks)) as client:
        expected = expected_facts(shop)
        given = tuple(sorted(settings.items()))
        _check_workers(client, given, expected)
        crew = _Crew(client=client, shop=shop, settings=given, expected=expected, quarantine=quarantine)
        yield from crew.run(blocks)


def expected_facts(shop: Workshop) -> tuple[tuple[str, str], ...]:
    """What every worker must agree in with this process, or the map would be made of two kinds of pixels."""
    return (
        ("model", shop.engine.card.sha256),
        ("python", _python()),
        ("tilewright", versions()["tilewright"]),
    )


def worker_facts(settings: tuple[tuple[str, Any], ...]) -> dict[str, str]:
    """The same of the process it is called in, and what its model lacks instead of an error."""
    facts = {"python": _python(), "tilewright": versions().get("tilewright", "none")}
    try:
        return {**facts, "model": _workshop(settings).engine.card.sha256}
    except (ValueError, RuntimeError, OSError) as error:
        return {**facts, "model": f"none ({' '.join(str(error).split())[:200]})"}


def remote_block(
    row: int, col: int, settings: tuple[tuple[str, Any], ...], expected: tuple[tuple[str, str], ...]
) -> dict[str, Any]:
    """Do one block in a worker process and return its ledger entry as JSON values."""
    # A worker that came later was not there when all were compared.
    _agree(settings, expected)
    shop = _workshop(settings)
    return do_block(shop, shop.plan.block(row, col)).to_json()


@lru_cache(maxsize=4)
def _agree(settings: tuple[tuple[str, Any], ...], expected: tuple[tuple[str, str], ...]) -> None:
    differing = _differences(worker_facts(settings), expected)
    if differing:
        raise RunnerError(f"A worker on {platform.node()} differs from the run: {differing}. Use one image for all.")


@lru_cache(maxsize=4)
def _workshop(settings: tuple[tuple[str, Any], ...]) -> Workshop:
    return reopen_workshop(read_threads=READ_THREADS, **dict(settings))


@dataclass(slots=True, kw_only=True)
class _Crew:
    """Blocks out on the workers, those to be tried again, and the pause a throttled source gets."""

    client: Any
    shop: Workshop
    settings: tuple[tuple[str, Any], ...]
    expected: tuple[tuple[str, str], ...]
    quarantine: Quarantine
    out: dict[Any, Block] = field(default_factory=dict)
    again: list[tuple[float, str, Block]] = field(default_factory=list)
    answers: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)
    pauses: int = 0
    quiet_until: float = 0.0
    n_workers: int = 1
    looked: float = 0.0
    met: float = field(default_factory=time.monotonic)

    def run(self, blocks: Sequence[Block]) -> Iterator[BlockEntry]:
        waiting = list(reversed(blocks))
        while waiting or self.again or self.out:
            self._look()
            self._send(waiting)
            try:
                future = self.answers.get(timeout=LOOK_SECONDS / 4 if self.again else LOOK_SECONDS)
            except queue.Empty:
                continue
            yield from self._take(future)

    def _send(self, waiting: list[Block]) -> None:
        now = time.monotonic()
        while len(self.out) < self.n_workers * IN_FLIGHT and now >= self.quiet_until:
            if self.again and self.again[0][0] <= now:
                self._submit(heapq.heappop(self.again)[2])
            elif waiting:
                self._submit(waiting.pop())
            else:
                return

    def _submit(self, block: Block) -> None:
        tried = self.quarantine.tries.get(block.name, 0)
        needs = {"GPU": 1} if self.shop.engine.session.provider in {"cuda", "tensorrt"} else None
        future = self.client.submit(
            remote_block,
            block.row,
            block.col,
            self.settings,
            self.expected,
            # The same block of the same pixels has the same key in every run; a new try needs a new one.
            key=f"block-{block.name}-{block_key(self.shop.plan, block)[:16]}" + (f"-{tried}" if tried else ""),
            resources=needs,
            pure=False,
        )
        self.out[future] = block
        future.add_done_callback(self.answers.put)

    def _take(self, future: Any) -> Iterator[BlockEntry]:
        block = self.out.pop(future)
        if future.status == "finished":
            yield BlockEntry.from_json(future.result())
            return
        error = future.exception() if future.status == "error" else NoWorkersError(f"block {block.name} was cancelled")
        if not isinstance(error, Exception):
            raise error
        kind = classify(error)
        if kind is ErrorClass.THROTTLED:
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


def _check_workers(client: Any, settings: tuple[tuple[str, Any], ...], expected: tuple[tuple[str, str], ...]) -> None:
    found = client.run(worker_facts, settings)
    differing = [f"{worker}: {words}" for worker, facts in found.items() if (words := _differences(facts, expected))]
    if differing:
        raise RunnerError(
            f"{len(differing)} of {len(found)} workers differ from this process, and so might their pixels: "
            f"{'; '.join(sorted(differing)[:5])}. Use the same image or environment for all."
        )


def _differences(facts: dict[str, str], expected: tuple[tuple[str, str], ...]) -> str:
    return ", ".join(
        f"{name} {facts.get(name, 'none')} (here {wanted})" for name, wanted in expected if facts.get(name) != wanted
    )


def _python() -> str:
    return ".".join(platform.python_version_tuple()[:2])


@contextmanager
def _client(where: Where, *, n_blocks: int) -> Iterator[Any]:
    try:
        from distributed import Client, LocalCluster
    except ModuleNotFoundError as error:
        raise RunnerError("runner: a Dask cluster needs distributed: pip install 'tilewright[flows]'.") from error
    if where.runner != "dask":
        with _connected(Client, where.runner) as client:
            yield client
        return
    n_workers = max(1, min(where.n_workers, n_blocks))
    with (
        LocalCluster(n_workers=n_workers, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _connected(make: Any, address: str) -> Any:
    """A client of the scheduler. Raises RunnerError where none answers there."""
    try:
        return make(address, timeout="20s")
    except (OSError, TimeoutError) as error:
        raise RunnerError(
            f"runner {address}: no Dask scheduler answers there. Start one, or take --runner dask."
        ) from error
