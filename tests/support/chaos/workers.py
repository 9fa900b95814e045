"""Disturbances of runs on a Dask cluster: workers that die, and workers that wake when another run has finished."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import psutil

from tests.support.chaos.case import Case
from tests.support.chaos.events import HELD_WORDS, Outcome
from tests.support.chaos.processes import Moment, signal_at

LATE_S = 0.7
"""Seconds that a woken worker gets to write what it had in hand."""

CHANGES_OF_A_WORKER = 30
"""About the number of changes that one of two workers makes in storage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """A cluster of two workers that come back when they are killed, and a client that arms them."""

    address: str
    client: Any

    def arm(self, case: Case, number: int) -> int:
        """Have a worker get the signal at one of its next changes; returns the id of its process."""
        moment = Moment(
            number=case.random.randint(1, CHANGES_OF_A_WORKER), after=case.random.random() < 0.5, signal=number
        )
        self.client.wait_for_workers(2, timeout=60)
        workers = sorted(self.client.scheduler_info()["workers"])
        return int(next(iter(self.client.run(signal_at, moment, workers=[case.random.choice(workers)]).values())))

    def disarm(self) -> None:
        """Have no worker get a signal any more."""
        self.client.run(signal_at, None)


@contextmanager
def worker_events() -> Iterator[Mapping[str, Callable[[Case], Outcome]]]:
    """The disturbances by name."""
    import dask
    from distributed import Client, LocalCluster

    with (
        dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, processes=True) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        workers = Workers(address=cluster.scheduler_address, client=client)
        yield {"worker lost": partial(_worker_lost, workers), "late worker": partial(_late_worker, workers)}


def _worker_lost(workers: Workers, case: Case) -> Outcome:
    """SIGKILL of a worker at one of its changes: the run goes on with the other and finishes."""
    kind = "worker lost"
    pid = workers.arm(case, signal.SIGKILL)
    code = case.end(kind, case.start("--runner", workers.address), expected=(0,))
    killed = not psutil.pid_exists(pid)
    workers.disarm()
    case.look(kind)
    return (1, f"ended: {code}") if killed else (0, "finished before")


def _late_worker(workers: Workers, case: Case) -> Outcome:
    """A worker held at a change while its run is killed and another run finishes: what it writes is too late."""
    kind = "late worker"
    pid = workers.arm(case, signal.SIGSTOP)
    run = case.start("--runner", workers.address)
    while run.code() is None and not _held(pid):
        time.sleep(0.01)
    held = _held(pid)
    if not held:
        case.end(kind, run, expected=(0,))
        workers.disarm()
        case.look(kind)
        return 0, "finished before"
    run.send(signal.SIGKILL)
    case.end(kind, run)
    second = case.start()
    code = case.end(kind, second)
    # One that is stopped in the middle of a write into a folder holds the folder until it goes on.
    if code != 0 and HELD_WORDS not in second.said():
        case.note(kind, f"exit code {code} of the second: {second.said()[-300:]}")
    case.look(kind)
    os.kill(pid, signal.SIGCONT)
    time.sleep(LATE_S)
    case.look(kind)
    return 1, f"second: {code}, woken"


def _held(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.Error:
        return False
