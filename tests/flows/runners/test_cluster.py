"""Blocks on a Dask cluster: the same pixels as threads, with workers killed, added and refused."""

from __future__ import annotations

import os
import signal
import threading
import time

import dask
import pytest

from tests.support.danube import water_job
from tests.support.products import same_layers, writing_worker
from tilewright.flows.errors import RunnerError
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners import cluster as cluster_module
from tilewright.flows.runners import dispatch as dispatch_module
from tilewright.flows.runners.cluster import run_on_cluster
from tilewright.flows.runners.cluster_worker import differences
from tilewright.flows.runners.quarantine import Quarantine
from tilewright.flows.runners.run_options import Placement, RunOptions
from tilewright.tasks.progress import Advance
from tilewright.tasks.read.failures import ReadError
from tilewright.tasks.storage.ledger import BlockEntry

distributed = pytest.importorskip("distributed", reason="the extra `flows` is not installed")


def job(real, output, **changes):
    return water_job(real, output, tile={"block": 64, "step": 64}, **changes)


def reopened(output):
    return writing_worker(output)


@pytest.fixture(scope="module")
def plain(real, tmp_path_factory):
    return run_job(job(real, tmp_path_factory.mktemp("plain") / "out")).output


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as made:
        yield made


def test_a_worker_killed_and_one_added_in_the_middle_change_no_pixel(real, plain, cluster, tmp_path):
    n_done = 0
    killed = []

    def kill_workers(event):
        nonlocal n_done
        if isinstance(event, Advance) and event.km2:
            n_done += event.done
            if n_done >= 5 and not killed:
                nanny = next(iter(cluster.workers.values()))
                killed.append(nanny.pid)
                os.kill(nanny.pid, signal.SIGKILL)
                cluster.scale(3)

    outcome = run_job(job(real, tmp_path / "out"), RunOptions(runner=cluster.scheduler_address), listener=kill_workers)
    assert killed
    assert outcome.report["blocks"] > 20
    assert outcome.report["failures"] == []
    assert same_layers(outcome.output, plain)


def test_answers_lost_with_their_worker_before_they_are_fetched_come_again(real, plain, cluster, tmp_path, monkeypatch):
    """Blocks end, their workers die, and only then are the entries asked for."""
    monkeypatch.setattr(dispatch_module, "GATHER_SECONDS", 1.5)
    lost, ended_futures = [], dispatch_module.Dispatcher._ended_futures

    def watched(dispatcher):
        ended = ended_futures(dispatcher)
        lost.extend(dispatcher.recomputing)
        return ended

    monkeypatch.setattr(dispatch_module.Dispatcher, "_ended_futures", watched)
    output = tmp_path / "out"

    def kill_workers():
        ledger = output / ".tilewright" / "ledger"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and len(list(ledger.glob("[!.]*.json"))) < 7:
            time.sleep(0.01)
        # All of them: until one is back, none can do a lost block again.
        for worker in cluster.workers.values():
            os.kill(worker.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_workers, daemon=True)
    killer.start()
    outcome = run_job(job(real, output), RunOptions(runner=cluster.scheduler_address, workers=2))
    killer.join(timeout=5)
    assert lost, "an answer was lost"
    assert outcome.report["failures"] == []
    assert same_layers(plain, outcome.output)


def test_the_cluster_costs_a_block_less_than_ten_milliseconds(real, plain, cluster, monkeypatch):
    """Blocks of no work on warm workers: what is left is the runner's own cost."""
    monkeypatch.setattr(cluster_module, "remote_block", empty_block)
    worker = reopened(plain)
    blocks = [worker.plan.raster.block(number // 16, number % 16) for number in range(256)]
    placement = Placement(runner=cluster.scheduler_address)
    list(run_on_cluster(worker, blocks[:4], placement, Quarantine()))
    began, worked = time.perf_counter(), time.process_time()
    entries = list(run_on_cluster(worker, blocks, placement, Quarantine()))
    wall, work = (time.perf_counter() - began) / len(blocks), (time.process_time() - worked) / len(blocks)
    assert {entry.name for entry in entries} == {block.name for block in blocks}
    print(f"overhead {1000 * wall:.1f} ms per block over {len(blocks)}, {1000 * work:.1f} ms of it CPU time here")
    # Client and scheduler are this process; its CPU time, unlike the clock, is not a busy neighbour's.
    assert work < 0.010


def empty_block(row, col, parts, remote_run):
    return BlockEntry(row=row, col=col, key="", written=False).to_json()


def failing_block(row, col, parts, remote_run):
    if (row + col) % 2:
        raise ReadError(
            item="S2", band="red", href="https://x/a.tif?sig=abc", reason="answers 404", block=f"{row}_{col}"
        )
    return BlockEntry(row=row, col=col, key="", written=False).to_json()


def test_blocks_that_fail_for_good_are_set_aside_and_the_others_go_on(real, plain, cluster, monkeypatch):
    monkeypatch.setattr(cluster_module, "remote_block", failing_block)
    worker = reopened(plain)
    quarantine = Quarantine()
    blocks = worker.plan.raster.all_blocks()[:12]
    entries = list(run_on_cluster(worker, blocks, Placement(runner=cluster.scheduler_address), quarantine))
    bad = {block.name for block in blocks if (block.row + block.col) % 2}
    assert {row["block"] for row in quarantine.rows} == bad
    assert {entry.name for entry in entries} == {block.name for block in blocks} - bad
    assert {(row["class"], row["item"]) for row in quarantine.rows} == {("gone", "S2")}
    assert not [row for row in quarantine.rows if "abc" in row["reason"]]


def greedy_block(row, col, parts, remote_run):
    held = []
    while parts == 1:  # until the nanny ends this process
        held.append(b"x" * 50_000_000)
        time.sleep(0.02)
    return BlockEntry(row=row, col=col, key="", written=False, windows_run=parts).to_json()


def test_a_worker_killed_for_its_memory_gets_the_block_again_in_parts(plain, monkeypatch):
    monkeypatch.setattr(cluster_module, "remote_block", greedy_block)
    worker, quarantine = reopened(plain), Quarantine()
    blocks = worker.plan.raster.all_blocks()[:1]
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address=None, memory_limit="900MB"
        ) as small,
    ):
        placement = Placement(runner=small.scheduler_address)
        entries = list(run_on_cluster(worker, blocks, placement, quarantine))
    assert [(entry.name, entry.windows_run) for entry in entries] == [(blocks[0].name, 2)]
    assert quarantine.rows == []


def test_workers_of_another_version_are_refused_by_name(real, plain, cluster, monkeypatch):
    monkeypatch.setattr(cluster_module, "expected_facts", lambda worker: (("python", "3.11"), ("tilewright", "9.9")))
    worker, placement = reopened(plain), Placement(runner=cluster.scheduler_address)
    with pytest.raises(RunnerError, match=r"2 of 2 workers|3 of 3 workers") as refusal:
        list(run_on_cluster(worker, worker.plan.raster.all_blocks(), placement, Quarantine()))
    assert "tcp://127.0.0.1" in str(refusal.value)
    assert "tilewright 0.1.0 (here 9.9)" in str(refusal.value)


def test_a_worker_that_agrees_is_not_named():
    assert differences({"python": "3.11"}, (("python", "3.11"),)) == ""


def test_a_scheduler_that_is_not_there_is_refused(plain, monkeypatch):
    monkeypatch.setattr(cluster_module, "CONNECT_TIMEOUT", "1s")
    with pytest.raises(RunnerError, match="no Dask scheduler answers there"):
        list(run_on_cluster(reopened(plain), [], Placement(runner="tcp://127.0.0.1:9"), Quarantine()))


def test_dask_is_left_as_it_was_however_clients_end(plain, cluster):
    """A client that stays the default would take every later computation of this process, and fail it."""
    worker, placement = reopened(plain), Placement(runner=cluster.scheduler_address)
    first = run_on_cluster(worker, worker.plan.raster.all_blocks()[:2], placement, Quarantine())
    second = run_on_cluster(worker, worker.plan.raster.all_blocks()[2:4], placement, Quarantine())
    next(first), next(second)
    list(first), list(second)
    assert dask.config.get("scheduler", None) is None
