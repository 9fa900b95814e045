"""A region of shards on a Dask cluster that loses a worker and gets one: the pixels of one run on threads."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from tests.support.danube import region_job
from tests.support.products import entries, same_layers
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.plan.plan import Plan
from tilewright.tasks.plan.shards import cut_shards
from tilewright.tasks.storage.ledger import read_plan
from tilewright.tasks.storage.storage import open_storage

distributed = pytest.importorskip("distributed", reason="the extra `flows` is not installed")

pytestmark = [pytest.mark.slow(reason="two runs of 64 blocks: 20 s"), pytest.mark.usefixtures("small_pictures")]

SHARDS = 4


def test_four_shards_of_64_blocks_outlive_a_worker_and_give_the_threads_pixels(real, tmp_path):
    plain = run_job(region_job(real, tmp_path / "plain")).output
    plan = Plan.from_json(read_plan(open_storage(plain)))
    assert len(plan.raster.blocks) == 64
    assert [len(shard.places) for shard in cut_shards(plan, SHARDS)] == [16] * SHARDS
    output = tmp_path / "region"
    n_done_at_kill = []
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:

        def kill_and_add():
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline:
                done = len(entries(output))
                if done >= 6:
                    os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
                    cluster.scale(3)
                    n_done_at_kill.append(done)
                    return
                time.sleep(0.02)

        killer = threading.Thread(target=kill_and_add, daemon=True)
        killer.start()
        began = time.perf_counter()
        options = RunOptions(runner=cluster.scheduler_address, shards=SHARDS, workers=2)
        outcome = run_job(region_job(real, output), options)
        seconds = time.perf_counter() - began
        killer.join(timeout=5)
    assert n_done_at_kill, "a worker was killed"
    assert n_done_at_kill[0] < 64, "in the middle"
    print(f"64 blocks as {SHARDS} shards in {seconds:.1f} s, a worker killed after {n_done_at_kill[0]} and one added")
    assert outcome.report["blocks"] == 64
    assert outcome.report["failures"] == []
    assert same_layers(plain, output)
