"""A region of shards on a Dask cluster that loses a worker and gets one: the pixels of one run on threads."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from tests.support.danube import region_job
from tests.support.products import entries, same_layers
from tilewright.flows.plan.shards import cut_shards
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.plan.plan import Plan
from tilewright.tasks.storage.ledger import read_plan
from tilewright.tasks.storage.storage import open_storage

distributed = pytest.importorskip("distributed")

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_pictures")]

SHARDS = 4


def test_four_shards_of_64_blocks_outlive_a_worker_and_give_the_threads_pixels(real, tmp_path):
    plain = run_job(region_job(real, tmp_path / "plain")).output
    plan = Plan.from_json(read_plan(open_storage(plain)))
    assert len(plan.raster.blocks) == 64
    assert [len(shard.places) for shard in cut_shards(plan, SHARDS)] == [16] * SHARDS
    output = tmp_path / "region"
    meddled = []
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as crowd:

        def meddle():
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline:
                done = len(entries(output))
                if done >= 6:
                    os.kill(next(iter(crowd.workers.values())).pid, signal.SIGKILL)
                    crowd.scale(3)
                    meddled.append(done)
                    return
                time.sleep(0.02)

        watcher = threading.Thread(target=meddle, daemon=True)
        watcher.start()
        began = time.perf_counter()
        options = RunOptions(runner=crowd.scheduler_address, shards=SHARDS, workers=2)
        outcome = run_job(region_job(real, output), options)
        seconds = time.perf_counter() - began
        watcher.join(timeout=5)
    assert meddled, "a worker was killed"
    assert meddled[0] < 64, "in the middle"
    print(f"64 blocks as {SHARDS} shards in {seconds:.1f} s, a worker killed after {meddled[0]} blocks and one added")
    assert outcome.report["blocks"] == 64
    assert outcome.report["failures"] == []
    assert same_layers(plain, output)
