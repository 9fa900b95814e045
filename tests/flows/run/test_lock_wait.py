from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict, replace

import pytest

from tests.support.output_places import open_place, owned, owner_of
from tests.support.products import wait_until
from tilewright.flows.environment import lock_seconds
from tilewright.flows.errors import ErrorClass, classify
from tilewright.flows.machine import HOST, kernel_place, process_start
from tilewright.flows.run import lock_wait
from tilewright.flows.run.lock_wait import acquire, new_owner
from tilewright.flows.run.output_lock import lock_output
from tilewright.tasks.storage import lock as lock_module
from tilewright.tasks.storage.errors import FencedError, LockHeldError, StoreError
from tilewright.tasks.storage.fence import LOCK
from tilewright.tasks.storage.lock import read_lock, release_lock, renew_lock

LASTS = 0.9
"""Seconds after which the locks of these tests are stale."""


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(lock_module, "SHORTEST_LOCK", 0.1)
    monkeypatch.setattr(lock_module, "LOCK_SECONDS", LASTS)


@pytest.fixture(params=["folder", "bucket"])
def storage(request, tmp_path, monkeypatch):
    endpoint = request.getfixturevalue("moto") if request.param == "bucket" else ""
    return open_place(request.param, tmp_path, monkeypatch, endpoint)


def gain(storage, *, wait=0.0, said=None):
    """The seconds it took to get the lock."""
    began = time.monotonic()
    owner = replace(new_owner(), lasts=LASTS)
    fence = acquire(storage, owner, wait=wait, listener=(said if said is not None else []).append)
    assert fence.run == owner.run == read_lock(storage).run
    return time.monotonic() - began


@contextmanager
def beating(storage, host="node-a", *, every=LASTS / 6, mtime=0.0, clock=0.0):
    """A run that lives on another host; its clock, or the stamp of its lock in a folder, is off by so many seconds."""
    mine, stop = owned(storage, "alive", host=host, lasts=LASTS), threading.Event()

    def beat():
        count = 0
        while not stop.wait(every):
            count += 1
            owner = owner_of("alive", host=host, lasts=LASTS, beats=count)
            if not renew_lock(storage, mine.fence, replace(owner, beat=time.time() + clock)):
                return
            if mtime:
                now = time.time()
                os.utime(storage.folder / LOCK, (now, now + mtime))

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield mine
    finally:
        stop.set()
        thread.join()


def here(run="here", pid=None, **said):
    """A run of this host, by default of this process."""
    pid = os.getpid() if pid is None else pid
    return owner_of(run, host=HOST, pid=pid, born=process_start(pid) or 0.0, place=kernel_place(), lasts=LASTS, **said)


@pytest.mark.parametrize("before", ["nothing", "released", "released by an older one, which removed it"])
def test_a_lock_that_nobody_holds_is_taken_at_once(storage, before):
    if before != "nothing":
        mine = owned(storage)
        release_lock(storage, mine.fence, owner_of("one"))
    if "older" in before:
        storage.delete([LOCK])
    assert gain(storage) < LASTS / 2


def test_the_lock_of_a_machine_that_died_is_awaited_and_then_taken_and_both_are_said(storage):
    owned(storage, "dead", host="node-a", pid=77, lasts=LASTS)
    said = []
    assert LASTS / 4 <= gain(storage, said=said) < LASTS + 4
    waits, took = (notice.text for notice in said)
    assert waits.startswith("Waits for the lock of process 77 on node-a: no sign of life for ")
    assert took.startswith("Took the output over from process 77 on node-a: no sign of life for ")


@pytest.mark.parametrize("content", [b"", b"{", b'{"run": "x"}', b"[1, 2]", b"\x00" * 100, b'{"run": 1, "host": 2}'])
def test_a_lock_that_is_garbage_ages_like_any_other_and_is_taken(storage, content):
    storage.write(LOCK, content)
    said = []
    assert LASTS / 4 <= gain(storage, said=said) < LASTS + 4
    assert "one whose lock cannot be read" in said[0].text


def test_a_run_that_gives_a_sign_of_life_is_not_taken_over(storage):
    with beating(storage) as mine:
        with pytest.raises(LockHeldError, match=r"Another run \(process 1 on node-a\) is writing .*--wait") as caught:
            gain(storage)
        assert isinstance(caught.value, StoreError)
        assert classify(caught.value) is ErrorClass.OTHER_RUN
        mine.write("a", b"still mine")


CLOCKS = {"own clock ahead": {"clock": 200}, "own clock behind": {"clock": -200}, "stamps ahead": {"mtime": 200},
          "stamps behind": {"mtime": -200}, "stamps an hour behind": {"mtime": -3600}}  # fmt: skip


@pytest.mark.parametrize("wrong", CLOCKS)
def test_no_wrong_clock_takes_a_living_run_over(tmp_path, monkeypatch, wrong):
    monkeypatch.setattr(lock_wait, "CERTAIN", 1e9)
    storage = open_place("folder", tmp_path, monkeypatch, "")
    with beating(storage, **CLOCKS[wrong]) as mine:
        wait_until(lambda: read_lock(storage).beats > 0)
        with pytest.raises(LockHeldError):
            gain(storage)
        mine.write("a", b"still mine")


@pytest.mark.parametrize("mtime", [-200, 200])
def test_no_wrong_clock_keeps_a_successor_out_for_long(tmp_path, monkeypatch, mtime):
    storage = open_place("folder", tmp_path, monkeypatch, "")
    owned(storage, "dead", host="node-a", lasts=LASTS)
    os.utime(storage.folder / LOCK, (time.time(), time.time() + mtime))
    monkeypatch.setattr(time, "time", lambda: 1e6)
    assert gain(storage) < LASTS + 4


def test_a_run_of_this_host_whose_process_has_ended_is_taken_over_at_once(storage):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    owner = here("ended", pid=ended.pid)
    ended.wait()
    owned_by(storage, owner)
    assert gain(storage) < LASTS / 2


def owned_by(storage, owner):
    storage.write_json(LOCK, asdict(owner))


def test_the_same_process_id_in_another_container_of_this_host_name_says_nothing(storage):
    owned_by(storage, replace(here(pid=2**22 + 1), place="another kernel"))
    assert gain(storage) >= LASTS / 4


def test_a_process_of_this_host_that_only_sleeps_is_refused_while_fresh_and_taken_after_a_longer_look(storage):
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        owned_by(storage, here("sleeper", pid=sleeper.pid))
        with pytest.raises(LockHeldError, match=f"process {sleeper.pid} on {HOST}"):
            gain(storage)
        # A bucket stamps its objects to the second.
        time.sleep(LASTS + 1)
        assert gain(storage) >= LASTS / 2
    finally:
        sleeper.kill()


def test_a_living_run_is_awaited_for_as_long_as_was_asked(storage):
    with beating(storage) as mine:
        began, said = time.monotonic(), []
        with pytest.raises(LockHeldError):
            gain(storage, wait=1.5, said=said)
        assert 1.4 < time.monotonic() - began < 6
        assert any(notice.text.endswith("is writing this output: waits for its end, 1 s at most.") for notice in said)
        threading.Timer(1.0, lambda: release_lock(storage, mine.fence, owner_of("alive", host="node-a"))).start()
        assert gain(storage, wait=float("inf")) < 10


def test_of_two_challengers_of_a_dead_run_one_gets_the_lock_and_the_other_is_told(storage):
    owned(storage, "dead", host="node-a", lasts=LASTS)
    won, told, leave = [], [], threading.Event()

    def challenge():
        try:
            with lock_output(storage, seconds=LASTS) as lock:
                won.append(lock.owner.run)
                leave.wait(10)
        except LockHeldError as error:
            told.append(error)

    threads = [threading.Thread(target=challenge) for _ in range(2)]
    [thread.start() for thread in threads]
    wait_until(lambda: len(won) + len(told) == 2)
    leave.set()
    [thread.join() for thread in threads]
    assert (len(won), len(told)) == (1, 1)


def test_an_owner_that_dies_before_its_first_heartbeat_is_awaited_like_any_other(storage):
    mine = owned(storage, "born dead", host="node-a", lasts=LASTS)
    assert read_lock(storage).beats == 0
    assert LASTS / 4 <= gain(storage) < LASTS + 4
    with pytest.raises(FencedError, match="taken over"):
        mine.write("a", b"late")


def test_heartbeats_keep_a_lock_and_their_end_gives_it_away(storage, monkeypatch):
    with lock_output(storage, seconds=LASTS) as lock:
        first = read_lock(storage).beats
        wait_until(lambda: read_lock(storage).beats > first + 2)
        monkeypatch.setattr(lock, "beat", lambda: None)  # the thread is dead
        owned(storage, "next", host="node-b")
        with pytest.raises(FencedError, match="next on node-b"):
            lock.storage.write("a", b"late")
    assert read_lock(storage).run == "next", "a lock that is not ours is not released"


def test_a_second_run_of_this_process_is_refused_and_one_that_failed_here_is_not_in_the_way(storage):
    with lock_output(storage, seconds=LASTS), pytest.raises(LockHeldError):
        gain(storage)
    owned_by(storage, here("failed in this process"))
    assert gain(storage) < LASTS / 2


@pytest.mark.parametrize("text", ["x", "0", "-1", "2.9", "nan", "inf", "1e9"])
def test_a_time_that_no_lock_may_have_is_refused(text):
    with pytest.raises(StoreError, match="TILEWRIGHT_LOCK_SECONDS is .*expected a number of seconds from 3 to 3600"):
        lock_seconds({"TILEWRIGHT_LOCK_SECONDS": text})


def test_the_time_of_a_lock_is_read_from_the_environment():
    assert lock_seconds({}) == 120
    assert lock_seconds({"TILEWRIGHT_LOCK_SECONDS": " 30 "}) == 30
