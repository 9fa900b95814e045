"""Blocks, and units of places, on a Dask cluster, existing or on this machine.

Its workers are compared with this process first.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tilewright.flows.errors import RunnerError
from tilewright.flows.runners.cluster_worker import RemoteRun, differences, expected_facts, remote_block, worker_facts
from tilewright.flows.runners.dispatch import Dispatcher
from tilewright.flows.versions import cpu_features
from tilewright.tasks.places.kept_rows import keep_rows
from tilewright.tasks.places.worker import PlacesWorker
from tilewright.tasks.report.format import part_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tilewright.flows.runners.quarantine import Quarantine
    from tilewright.flows.runners.run_options import Placement
    from tilewright.tasks.block.worker import Worker
    from tilewright.tasks.grid.blocks import Block
    from tilewright.tasks.storage.ledger import BlockEntry


CONNECT_TIMEOUT = "20s"
"""Time that a scheduler has to answer the first call."""

READ_THREADS = 2
"""Reads of one block at once in a worker process, which has one core."""


def run_on_cluster(
    worker: Worker | PlacesWorker, blocks: Sequence[Block], placement: Placement, quarantine: Quarantine
) -> Iterator[BlockEntry]:
    """Do the blocks on the cluster and yield their entries as they come; blocks that fail for good go to quarantine.

    Those of a job over places are units of rows, which its workers read in the output.

    Raises RunnerError where no scheduler answers or the workers differ from this process.
    """
    settings = replace(worker.settings, batch=worker.model.batch, read_threads=READ_THREADS)
    with _client(placement, n_blocks=len(blocks)) as client:
        remote_run = RemoteRun(
            output=worker.storage.uri,
            settings=settings,
            expected=expected_facts(worker),
            fence=worker.storage.fence,
            rows=keep_rows(worker.storage, worker.rows) if isinstance(worker, PlacesWorker) else None,
        )
        _check_workers(client, remote_run)
        dispatcher = Dispatcher(
            client=client, worker=worker, work=remote_block, remote_run=remote_run, quarantine=quarantine
        )
        yield from dispatcher.run(blocks)


def _check_workers(client: Any, remote_run: RemoteRun) -> None:
    found = client.run(worker_facts, remote_run)
    differing = [
        f"{worker}: {words}" for worker, facts in found.items() if (words := differences(facts, remote_run.expected))
    ]
    if differing:
        differ = part_of(len(differing), len(found), "worker", singular="differs", others="differ")
        raise RunnerError(
            f"{differ} from this process, and so might their pixels: "
            f"{'; '.join(sorted(differing)[:5])}. Use the same image or environment for all."
        )
    others = {facts.get("cpu", "") for facts in found.values()} - {" ".join(cpu_features())}
    if others:
        logging.getLogger(__name__).warning(
            "Workers have other instruction sets (%s) than this machine (%s): values of floating point may differ in "
            "their last digits from block to block.", " / ".join(sorted(others)), " ".join(cpu_features()),
        )  # fmt: skip


@contextmanager
def _client(placement: Placement, *, n_blocks: int) -> Iterator[Any]:
    # Not the default: Dask would send all computations of this process to clients that are closed by then, where
    # several of them end in another order than they began.
    from distributed import Client, LocalCluster

    if placement.runner != "dask":
        with _connected(Client, placement.runner) as client:
            yield client
        return
    n_workers = max(1, min(placement.n_workers, n_blocks))
    with (
        LocalCluster(n_workers=n_workers, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def _connected(make: Any, address: str) -> Any:
    """A client of the scheduler. Raises RunnerError where no scheduler answers at the address."""
    try:
        return make(address, timeout=CONNECT_TIMEOUT, set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise RunnerError(
            f"runner {address}: no Dask scheduler answers there. Start one, or take --runner dask."
        ) from error
