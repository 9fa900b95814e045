"""Two runs of one product, and whatever keeps one of them from seeing the other: real processes, stopped and killed."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest

from tests.support.fault_proxy import proxy_before
from tests.support.output_places import open_place
from tests.support.products import (
    assert_same_product,
    command,
    entries,
    fetched,
    read,
    wait_for_blocks,
    wait_until,
    write_job,
)
from tilewright.flows.machine import HOST as THIS_HOST
from tilewright.flows.run.output_lock import lock_output
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.cluster_worker import RemoteRun, expected_facts, remote_block
from tilewright.flows.runners.run_options import RunOptions
from tilewright.flows.runners.shard_worker import run_shard
from tilewright.flows.runners.worker import reopen_worker
from tilewright.tasks.block.worker import WorkerSettings
from tilewright.tasks.storage.errors import FencedError
from tilewright.tasks.storage.fence import LOCK, Fence
from tilewright.tasks.storage.storage import open_storage

SECONDS = 3

UNDER_WAY = 3
"""Puts that one process may have under way: its two writers', and a heartbeat."""

SETTINGS = WorkerSettings(provider="cpu", read_threads=1)

ON_HOST = "import socket; socket.gethostname = lambda: {host!r}"
"""Python that runs before the command: the process believes that it is on that host."""

CLOCK = "import time; true_time = time.time; time.time = lambda: true_time() + {seconds}"

STOP_AT = """
import os, signal, threading, time
from tilewright.tasks.storage import guard, storage
# No other thread is between its own look and write at that moment: a process stopped there would be waited for.
gate, locked, unlock = threading.RLock(), guard._locked, guard._unlock
def _locked(*words):
    gate.acquire()
    try:
        return locked(*words)
    except BaseException:
        gate.release()
        raise
def _unlock(*words):
    try:
        unlock(*words)
    finally:
        gate.release()
guard._locked, guard._unlock = _locked, _unlock
whole, stops = guard.place_file, [1]
def place_file(folder, key, *words, **more):
    if key.startswith({key!r}) and stops:
        stops.pop()
        with gate:
            os.kill(os.getpid(), signal.SIGSTOP)
            # The call returns before all threads stand.
            time.sleep(0.5)
    return whole(folder, key, *words, **more)
guard.place_file = storage.place_file = place_file
"""
"""The process stops itself just before it puts the first object there whose name begins so, already staged."""

SLOW = """
import time
from tilewright.tasks.block.worker import Worker
infer = Worker.infer
Worker.infer = lambda *words, **more: (time.sleep(1.5), infer(*words, **more))[1]
"""

NO_BEATS = f"""
{SLOW}
from tilewright.flows.run import output_lock
output_lock._send_heartbeats = lambda *words: None
"""
"""The thread of the heartbeats is dead from the start, and the run is slow."""


@pytest.fixture(scope="module", autouse=True)
def _pictures(small_pictures):
    return small_pictures


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setenv("TILEWRIGHT_LOCK_SECONDS", str(SECONDS))


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return write_job(tmp_path_factory.mktemp("job"), tile={"block": 64, "step": 32})


@pytest.fixture(scope="module")
def undisturbed(job, tmp_path_factory):
    return Path(run_job(read(job, tmp_path_factory.mktemp("undisturbed") / "out")).output)


@contextmanager
def running(job, output, *, before="", env=None, n_blocks=3, options=()):
    """A run under way with that many blocks done; it is ended afterwards."""
    process = command("run", job, "--output", output, *options, before=before, env=env)
    try:
        if n_blocks:
            wait_for_blocks(Path(output), n_blocks, process)
        yield process
    finally:
        process.kill()
        process.communicate()


def stopped(process):
    """Wait until a process has stopped."""
    wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)


def stop_between_writes(process, output):
    """Stop a process that is not in the middle of a write, in which nobody could take over from it."""
    while True:
        process.send_signal(signal.SIGSTOP)
        stopped(process)
        with (Path(output) / ".tilewright" / ".taking").open("rb") as guard, suppress(BlockingIOError):
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        process.send_signal(signal.SIGCONT)
        time.sleep(0.01)


def ended(process):
    """(exit code, what was said) of a process."""
    out, err = process.communicate(timeout=90)
    return process.returncode, out + err


def state_of(folder):
    """Every file of a product with its time; the guard's and those that are being written apart."""
    files = (path for path in Path(folder).rglob("*") if path.is_file())
    return {path: path.stat().st_mtime_ns for path in files if "staging" not in path.parts and path.name != ".taking"}


def assert_gave_up(process):
    """The process says that its output is another's, as what may be tried again, without a trace."""
    code, said = ended(process)
    assert code == 75, said
    assert "taken over by another run" in said or "lost its lock" in said, said
    assert "Traceback" not in said


def test_a_run_paused_past_the_age_of_its_lock_and_taken_over_wakes_and_writes_nothing(job, undisturbed, tmp_path):
    output, said = tmp_path / "out", []
    with running(job, output) as first:
        stop_between_writes(first, output)
        kept = entries(output)
        time.sleep(SECONDS)
        run_job(read(job, output), listener=said.append)
        assert any(f"Took the output over from process {first.pid}" in str(event) for event in said)
        assert {name: entries(output)[name] for name in kept} == kept, "no block that stood was done again"
        before = state_of(output)
        first.send_signal(signal.SIGCONT)
        assert_gave_up(first)
        assert state_of(output) == before
    assert_same_product(output, undisturbed)


@pytest.mark.parametrize(
    "key",
    ["item.json", "data.zarr/class/c", ".tilewright/ledger/", ".tilewright/plan.json"],
)
def test_a_run_stopped_just_before_a_write_and_taken_over_does_not_do_it(job, undisturbed, tmp_path, key):
    output = tmp_path / "out"
    with running(job, output, before=STOP_AT.format(key=key), n_blocks=0) as first:
        stopped(first)
        time.sleep(SECONDS / 2)
        run_job(read(job, output))
        before = state_of(output)
        first.send_signal(signal.SIGCONT)
        assert_gave_up(first)
        assert state_of(output) == before
    assert_same_product(output, undisturbed)


def test_the_successor_of_an_evicted_pod_waits_and_goes_on_and_is_never_refused(job, undisturbed, tmp_path):
    output = tmp_path / "out"
    with running(job, output, before=ON_HOST.format(host="node-a")) as first:
        first.kill()
    kept, said = entries(output), []
    began = time.monotonic()
    run_job(read(job, output), listener=said.append)
    assert time.monotonic() - began > SECONDS / 4
    assert any("on node-a: no sign of life for" in str(event) for event in said)
    assert {name: entries(output)[name] for name in kept} == kept
    assert_same_product(output, undisturbed)


def test_two_challengers_whose_clocks_are_wrong_leave_a_living_run_alone(job, tmp_path):
    storage = open_storage(str(tmp_path / "out"), create=True)
    with lock_output(storage, seconds=SECONDS) as lock:
        clocks = [f"{ON_HOST.format(host='node-b')}\n{CLOCK.format(seconds=seconds)}" for seconds in (200, -200)]
        for process in [command("run", job, "--output", storage.uri, before=before) for before in clocks]:
            code, said = ended(process)
            assert code == 75, said
            assert f"Another run (process {os.getpid()} on {THIS_HOST}) is writing" in said
            assert "--wait" in said
        lock.storage.write("a", b"still its own")


def test_with_wait_a_run_awaits_the_other_and_then_says_that_all_is_done(job, undisturbed, tmp_path):
    output = tmp_path / "out"
    with running(job, output, before=ON_HOST.format(host="node-a")) as first:
        second = command("run", job, "--output", output, "--wait", "forever", before=ON_HOST.format(host="node-b"))
        code, said = ended(second)
        assert code == 0, said
        assert "complete" in said
        assert ended(first)[0] == 0
    assert_same_product(output, undisturbed)


@pytest.mark.parametrize("damage", ["removed", "garbage"])
def test_a_lock_damaged_by_hand_ends_the_run_and_the_next_one_goes_on(job, undisturbed, tmp_path, damage):
    output = tmp_path / "out"
    with running(job, output, before=SLOW) as first:
        lock = output / LOCK
        if damage == "removed":
            lock.unlink()
        else:
            lock.write_bytes(b'{"run": ')
        assert_gave_up(first)
        assert not (output / "item.json").exists()
        assert not lock.exists() or damage != "removed", "it is not made anew by a run that lost it"
    run_job(read(job, output))
    assert_same_product(output, undisturbed)


def test_a_run_whose_heartbeats_died_is_taken_over_and_gives_up(job, undisturbed, tmp_path):
    output = tmp_path / "out"
    with running(job, output, before=NO_BEATS, n_blocks=1) as first:
        time.sleep(SECONDS)
        run_job(read(job, output))
        assert_gave_up(first)
    assert_same_product(output, undisturbed)


def late_copy(undisturbed, tmp_path):
    """A finished product, and the fence of the run that made it."""
    output = tmp_path / "out"
    shutil.copytree(undisturbed, output)
    lock = json.loads((output / LOCK).read_text())
    assert lock["state"] == "released"
    return output, Fence(run=lock["run"], generation=lock["generation"])


def test_a_late_dask_worker_does_not_write_into_a_published_product_or_one_that_was_taken_over(
    job, undisturbed, tmp_path
):
    output, fence = late_copy(undisturbed, tmp_path)
    worker = reopen_worker(str(output), SETTINGS)
    late = RemoteRun(output=str(output), settings=SETTINGS, expected=expected_facts(worker), fence=fence)
    row, col = worker.plan.raster.blocks[0]
    before = state_of(output)
    with pytest.raises(FencedError, match="released by this run, which has ended"):
        remote_block(row, col, 1, late)
    with lock_output(open_storage(str(output))) as lock:
        during = state_of(output)
        with pytest.raises(FencedError, match="taken over by another run"):
            remote_block(row, col, 1, late)
        assert state_of(output) == during
        # The process is the same, and its worker of the earlier run still there: it takes the new fence.
        now = RemoteRun(output=str(output), settings=SETTINGS, expected=late.expected, fence=lock.fence)
        with pytest.raises(KeyError):
            remote_block(row, col, 1, now)  # it may write, but a published product has no place for blocks
    unlocked = {path: when for path, when in state_of(output).items() if path.parent.name != ".tilewright"}
    assert unlocked == {path: when for path, when in before.items() if path.parent.name != ".tilewright"}


def test_a_late_shard_run_does_not_write_and_one_without_a_number_belongs_to_the_owner_of_now(undisturbed, tmp_path):
    output, fence = late_copy(undisturbed, tmp_path)
    before = state_of(output)
    shard = {"output": str(output), "number": 1, "n_shards": 2, "runner": "threads", "workers": 1, "provider": "cpu",
             "batch": None, "tolerance": 0}  # fmt: skip
    with pytest.raises(FencedError, match="which has ended"):
        run_shard(**shard, fence=asdict(fence))
    with pytest.raises(FencedError, match="No run owns"):
        run_shard(**shard)
    assert state_of(output) == before
    with lock_output(open_storage(str(output))) as lock:
        with pytest.raises(FencedError, match="taken over"):
            run_shard(**shard, fence=asdict(fence))
        assert run_shard(**shard, fence=asdict(lock.fence))["done_now"] == 0
        assert run_shard(**shard)["done_now"] == 0


def test_products_of_older_tilewrights_go_on_whatever_their_lock_looks_like(job, undisturbed, tmp_path):
    ended_process = {"run": "old", "host": THIS_HOST, "pid": 2**22 + 1, "beat": 5.0, "born": 1.0}
    for lock in (None, ended_process):
        output = tmp_path / f"out-{lock is None}"
        shutil.copytree(undisturbed, output)
        for name in ("item.json", LOCK, ".tilewright/generation.json"):
            (output / name).unlink()
        if lock is not None:
            (output / LOCK).write_text(json.dumps(lock))
        run_job(read(job, output))
        assert_same_product(output, undisturbed)
        assert run_job(read(job, output)).already_complete


@pytest.mark.parametrize("conditions", ["kept", "dropped"])
def test_in_a_bucket_too_a_run_that_was_paused_and_taken_over_gives_up(
    request, moto, tmp_path, monkeypatch, conditions
):
    job, undisturbed = request.getfixturevalue("job"), request.getfixturevalue("undisturbed")
    with proxy_before(moto) as proxy:
        proxy.conditions = conditions
        storage = open_place("bucket", tmp_path, monkeypatch, proxy.url)
        puts, said = [], []
        with running(job, storage.uri, n_blocks=0) as first:
            wait_until(lambda: sum(1 for key in storage.keys(".tilewright/ledger")) >= 3)
            first.send_signal(signal.SIGSTOP)
            stopped(first)
            time.sleep(SECONDS)
            run_job(read(job, storage.uri), listener=said.append)
            assert any("ignores the conditions" in str(event) for event in said) == (conditions == "dropped")
            proxy.before = lambda method, path: puts.append((method, path)) if method in {"PUT", "POST"} else None
            first.send_signal(signal.SIGCONT)
            assert_gave_up(first)
        # A put that was under way when the process was stopped is sent to its end, or once more; no new one is begun.
        assert len(puts) <= UNDER_WAY, puts
        proxy.conditions = "kept"
        assert_same_product(fetched(storage.uri, tmp_path / "down"), undisturbed)


def test_two_products_of_one_job_on_one_scheduler_get_their_own_blocks(job, undisturbed, tmp_path):
    """The other run is stopped, and the scheduler keeps its answers for as long as it is connected."""
    distributed = pytest.importorskip("distributed", reason="the extra `flows` is not installed")
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        with running(job, tmp_path / "other", options=("--runner", address)) as first:
            first.send_signal(signal.SIGSTOP)
            stopped(first)
            said = []
            run_job(read(job, tmp_path / "out"), RunOptions(runner=address), listener=said.append)
            assert not [event for event in said if "is made again" in str(event)]
            time.sleep(SECONDS)
            run_job(read(job, tmp_path / "other"), RunOptions(runner=address))
    assert_same_product(tmp_path / "out", undisturbed)
    assert_same_product(tmp_path / "other", undisturbed)
