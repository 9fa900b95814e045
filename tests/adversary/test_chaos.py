"""Many small runs, disturbed at any moment: killed, stopped, cut off from storage, robbed of workers and of disk.

With TILEWRIGHT_CHAOS=1000 in the environment so many disturbances are injected; a handful without it. Each is counted
when it really happened. TILEWRIGHT_CHAOS_SEED takes another schedule than the first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.chaos.driver import Lane, Tally, cut_quota, make_jobs, run_lanes
from tests.support.chaos.events import EVENTS
from tests.support.chaos.places import FolderPlace, bucket_behind_faults, s3_server
from tests.support.chaos.processes import Forks
from tests.support.chaos.workers import worker_events

NUMBER = int(os.environ.get("TILEWRIGHT_CHAOS", "30"))
SEED = int(os.environ.get("TILEWRIGHT_CHAOS_SEED", "1"))
LONGEST_S = 300 + 1.5 * NUMBER

pytestmark = pytest.mark.timeout(2 * LONGEST_S)

IN_A_FOLDER = {
    "kill at a time": 0.13, "kill at a change": 0.17, "asked to end": 0.05, "pause and takeover": 0.04,
    "two at once": 0.04, "clock ahead": 0.02, "disk full": 0.05, "state garbled": 0.04,
}  # fmt: skip
IN_A_BUCKET = {
    "storage faults": 0.35, "kill at a time": 0.01, "kill at a change": 0.03, "pause and takeover": 0.01,
    "two at once": 0.01,
}  # fmt: skip
ON_WORKERS = {"worker lost": 0.03, "late worker": 0.02}
"""The share of each kind."""


@pytest.fixture(scope="module")
def tally(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tally]:
    root: Path = tmp_path_factory.mktemp("chaos")
    forks = Forks(root / "logs")
    jobs = make_jobs(root, forks)
    with ExitStack() as stack:
        server = stack.enter_context(s3_server(root / "s3.log"))
        bucket = stack.enter_context(bucket_behind_faults(server, seed=SEED))
        on_workers = stack.enter_context(worker_events())

        def folder(name: str) -> FolderPlace:
            return FolderPlace(uri=str(root / name))

        lanes = [
            Lane(
                name=name, quota=cut_quota(shares, NUMBER), place=place, forks=forks, jobs=jobs, seed=SEED, events=kinds
            )
            for name, shares, place, kinds in (
                ("folder", IN_A_FOLDER, folder, EVENTS),
                ("bucket", IN_A_BUCKET, bucket.place, EVENTS),
                ("workers", ON_WORKERS, folder, on_workers),
            )
        ]  # fmt: skip
        yield run_lanes(lanes, seconds=LONGEST_S)


def test_whatever_disturbs_runs_the_product_is_the_undisturbed_one_and_nothing_is_listed_early(tally):
    broken = [f"{one.kind}, {one.case}: {one.words}" for one in tally.violations]
    print("", tally.table(), *broken, sep="\n")
    assert broken == []


def test_every_kind_of_disturbance_really_happened(tally):
    wanted = {kind for shares in (IN_A_FOLDER, IN_A_BUCKET, ON_WORKERS) for kind in shares}
    assert {kind for kind, number in tally.injected.items() if number} == wanted
    assert sum(tally.injected.values()) >= 0.95 * NUMBER
