from __future__ import annotations

import fcntl
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import psutil
import pytest
import zarr

from tests.support.fault_proxy import proxy_before
from tests.support.output_places import open_place, owned, owner_of
from tests.support.products import wait_until
from tilewright.tasks.storage import bucket, fence, guard, lock
from tilewright.tasks.storage.errors import FencedError, StorageError
from tilewright.tasks.storage.fence import LOCK, Fence, RecentCheck
from tilewright.tasks.storage.lock import read_lock, release_lock, renew_lock
from tilewright.tasks.storage.storage import open_storage

LARGE = b"large" * 1_200_000  # of more than one part


@pytest.fixture(autouse=True)
def _looks(monkeypatch):
    """Each shard's put looks at the lock, as if the last look were long ago."""
    monkeypatch.setattr(fence, "CHECK_SECONDS", 0.0)


@pytest.fixture(params=["folder", "bucket"])
def storage(request, tmp_path, monkeypatch):
    endpoint = request.getfixturevalue("moto") if request.param == "bucket" else ""
    return open_place(request.param, tmp_path, monkeypatch, endpoint)


def _array(storage):
    return zarr.open_array(storage.zarr("data.zarr"), mode="r+")


def _declare(storage):
    zarr.create_array(storage.zarr("data.zarr"), shape=(8, 8), chunks=(2, 2), shards=(4, 4), dtype="u1")


def _sent(value):
    return pickle.loads(pickle.dumps(value))  # noqa: S301 -- our own


def _file(tmp_path, content=b"file"):
    path = tmp_path / "local"
    path.write_bytes(content)
    return path


WRITES = {
    "write": lambda storage, _: storage.write("a", b"late"),
    "write_json": lambda storage, _: storage.write_json("folder/a", {}),
    "write_private": lambda storage, _: storage.write_private("a", b"late"),
    "create": lambda storage, _: storage.create_json("new", {}),
    "create what is there": lambda storage, _: storage.create_json("a", {}),
    "upload": lambda storage, path: storage.upload("a", path),
    "upload in parts": lambda storage, path: storage.upload("a", path.with_name("large")),
    "move": lambda storage, path: storage.move_file("a", path),
    "delete": lambda storage, _: storage.delete(["a"]),
    "delete what is not there": lambda storage, _: storage.delete(["nothing"]),
    "delete below": lambda storage, _: storage.delete_below("data.zarr"),
    "zarr chunk": lambda storage, _: _array(storage).__setitem__(slice(None), 9),
    "zarr attributes": lambda storage, _: _array(storage).update_attributes({"late": 1}),
    "zarr new array": lambda storage, _: zarr.create_array(storage.zarr("x"), shape=(2,), dtype="u1"),
    "zarr overwrite": lambda storage, _: zarr.create_array(
        storage.zarr("data.zarr"), shape=(2,), dtype="u1", overwrite=True
    ),
    "zarr group": lambda storage, _: zarr.open_group(storage.zarr("data.zarr/below"), mode="w"),
}


OURS = (".tilewright/.", ".tilewright/staging/")  # of whoever writes, for as long as it writes
HARMLESS = {"create what is there", "delete what is not there"}


def _content(storage):
    return {key: storage.read(key) for key in list(storage.keys()) if not key.startswith(OURS)}


LOSSES = {
    "taken over": lambda storage, _: owned(storage, "two"),
    "released": lambda storage, mine: release_lock(storage, mine.fence, owner_of("one")),
    "removed": lambda storage, _: storage.delete([LOCK]),
    "garbage": lambda storage, _: storage.write(LOCK, b'{"run": "one", "generation"'),
    "empty": lambda storage, _: storage.write(LOCK, b""),
    "of another version": lambda storage, _: storage.write(LOCK, b'{"run": "one", "host": "h", "pid": 1, "beat": 1.0}'),
}


def _prepared(storage, tmp_path):
    """The storage of a run that wrote a little, and a small local file beside a large one."""
    mine = owned(storage)
    mine.write("a", b"mine")
    _declare(mine)
    _array(mine)[:] = 7
    path = _file(tmp_path)
    path.with_name("large").write_bytes(LARGE)
    return mine, path


@pytest.mark.parametrize("what", WRITES)
def test_every_write_of_a_run_that_lost_its_lock_is_refused_and_changes_nothing(storage, tmp_path, what):
    mine, path = _prepared(storage, tmp_path)
    for lose in LOSSES.values():
        mine = owned(storage)
        lose(storage, mine)
        before = _content(storage)
        with pytest.raises(FencedError, match=r"another run|released|removed or damaged"):
            WRITES[what](mine, path)
        assert _content(storage) == before


def test_every_write_of_the_run_that_holds_the_lock_is_done(storage, tmp_path):
    for what, write in WRITES.items():
        mine, path = _prepared(storage, tmp_path)
        before = _content(storage)
        write(mine, path)
        assert (_content(storage) != before) == (what not in HARMLESS), what
        for prefix in ("data.zarr", "x"):
            storage.delete_below(prefix)
        storage.delete(["a", "new", "folder/a"])


def test_what_a_run_writes_is_what_it_reads(storage, tmp_path):
    mine = owned(storage)
    mine.upload("large", _file(tmp_path, LARGE))
    assert storage.read("large") == LARGE
    _declare(mine)
    pixels = np.arange(64, dtype="u1").reshape(8, 8)
    _array(mine)[:] = pixels
    assert np.array_equal(zarr.open_array(storage.zarr("data.zarr", read_only=True), mode="r")[:], pixels)
    assert not mine.create_json("large", {})
    mine.delete_below("data.zarr")
    assert list(storage.keys("data.zarr")) == []


def test_a_fence_survives_the_way_to_a_worker_and_names_who_owns_the_output(storage):
    mine = owned(storage)
    there = replace(open_storage(storage.uri, options=storage.options), fence=_sent(mine.fence))
    there.write("a", b"1")
    owned(storage, "two", host="node-7")
    with pytest.raises(FencedError, match=r"taken over by another run \(two on node-7\)"):
        there.write("a", b"2")
    assert str(_sent(FencedError("gone"))) == "gone"


def test_the_same_run_under_another_number_is_another_owner():
    lock = b'{"run": "a", "generation": 3, "state": "held"}'
    assert Fence(run="a", generation=3).owns(lock)
    assert not Fence(run="a", generation=2).owns(lock)
    assert not Fence(run="b", generation=3).owns(lock)
    assert not Fence(run="a", generation=3).owns(b"[" * 100_000)
    assert not Fence(run="a", generation=3).owns(None)


WRITER = """
import os, sys
from pathlib import Path
from tilewright.tasks.storage import guard
from tilewright.tasks.storage.fence import Fence
check = guard.check_folder
def stopped(*words):
    check(*words)
    os.kill(os.getpid(), 19)
guard.check_folder = stopped
guard.put_file(Path(sys.argv[1]), "a", b"late", Fence(run="one", generation=int(sys.argv[2])))
"""


def test_a_process_stopped_between_check_and_write_keeps_a_successor_out_who_says_so(tmp_path, monkeypatch):
    storage = open_place("folder", tmp_path, monkeypatch, "")
    mine = owned(storage)
    words = [sys.executable, "-c", WRITER, str(storage.folder), str(mine.fence.generation)]
    writer = subprocess.Popen(words)
    try:
        wait_until(lambda: psutil.Process(writer.pid).status() == psutil.STATUS_STOPPED)
        monkeypatch.setattr(guard, "WAIT_SECONDS", 0.3)
        with pytest.raises(StorageError, match=r"stopped in the middle of a write.*SIGCONT"):
            owned(storage, "two")
        assert storage.read("a") is None
        writer.send_signal(signal.SIGCONT)
        assert writer.wait(20) == 0
        assert storage.read("a") == b"late", "it was written before the successor came"
        owned(storage, "two")
    finally:
        writer.kill()


def test_a_guard_file_removed_under_its_holder_lets_nobody_in_twice(tmp_path, monkeypatch):
    storage = open_place("folder", tmp_path, monkeypatch, "")
    mine = owned(storage)
    entered = threading.Event()
    with guard.guarded(storage.folder, alone=True):
        (storage.folder / guard.GUARD).unlink()
        with guard.guarded(storage.folder):
            entered.set()  # a new file, a new guard: that of the removed one keeps nobody out
    assert entered.is_set()
    # Who waited for the removed file does not take its lock for the guard.
    old = os.open(storage.folder / guard.GUARD, os.O_RDWR)
    fcntl.flock(old, fcntl.LOCK_EX)
    late = threading.Thread(target=mine.write, args=("a", b"1"))
    late.start()
    time.sleep(0.05)
    assert storage.read("a") is None
    (storage.folder / guard.GUARD).unlink()
    late.join(5)
    assert storage.read("a") == b"1"
    os.close(old)


def test_a_document_changed_by_a_later_owner_is_not_put_by_a_writer_who_slept_after_the_check(
    moto, tmp_path, monkeypatch
):
    with proxy_before(moto) as proxy:
        storage = open_place("bucket", tmp_path, monkeypatch, proxy.url)
        mine = owned(storage)
        mine.write("item.json", b"first")
        mine.write("entry.json", b"first")
        direct = open_storage(storage.uri, options={**storage.options, "endpoint": moto})
        for key in ("item.json", "entry.json", "new.json"):

            def sleep(method, path, key=key):
                # At the put, after the check: the run sleeps here, and another takes over and writes.
                if method == "PUT" and path.endswith(key):
                    proxy.before = lambda _method, _path: None
                    owned(direct, "two").write(key, b"later")

            proxy.before = sleep
            with pytest.raises(FencedError, match="taken over"):
                mine.write(key, b"late")
            assert storage.read(key) == b"later"
            mine = owned(storage, "one")


def test_an_upload_in_parts_is_not_completed_for_a_run_that_lost_its_output(moto, tmp_path, monkeypatch):
    with proxy_before(moto) as proxy:
        storage = open_place("bucket", tmp_path, monkeypatch, proxy.url)
        mine = owned(storage)
        mine.write("class.tif", b"first")
        direct = open_storage(storage.uri, options={**storage.options, "endpoint": moto})

        def lose(method, path):
            if method == "PUT" and "partNumber=1" in path:
                proxy.before = lambda _method, _path: None
                owned(direct, "two")

        proxy.before = lose
        monkeypatch.setattr(bucket, "PARALLEL_PARTS", 1)
        with pytest.raises(FencedError, match="taken over"):
            mine.upload("class.tif", _file(tmp_path, 3 * LARGE))
        assert storage.read("class.tif") == b"first"


@pytest.mark.parametrize("conditions", ["kept", "dropped"])
def test_no_item_comes_early_from_a_writer_who_slept_after_the_check(moto, tmp_path, monkeypatch, conditions):
    with proxy_before(moto) as proxy:
        proxy.conditions = conditions
        storage = open_place("bucket", tmp_path, monkeypatch, proxy.url)
        mine = owned(storage)
        mine.write("item.json", b"first")
        assert (storage.read("item.json"), list(storage.keys(".tilewright/drafts"))) == (b"first", [])
        direct = open_storage(storage.uri, options={**storage.options, "endpoint": moto})

        def sleep(method, path):
            # The successor removes the Item, works on, and has not written its own yet when the first one wakes.
            if method == "PUT" and path.endswith("/item.json"):
                proxy.before = lambda _method, _path: None
                owned(direct, "two").delete(["item.json"])

        proxy.before = sleep
        with pytest.raises(FencedError, match="taken over"):
            mine.write("item.json", b"late")
        assert storage.read("item.json") is None


def test_a_heartbeat_that_slept_after_the_check_gives_no_output_back_where_conditions_are_ignored(
    moto, tmp_path, monkeypatch
):
    monkeypatch.setattr(lock, "SETTLE_SECONDS", 0.0)
    with proxy_before(moto) as proxy:
        proxy.conditions = "dropped"
        storage = open_place("bucket", tmp_path, monkeypatch, proxy.url)
        mine, others = owned(storage), []
        assert not mine.fence.conditional

        def sleep(method, path):
            if method == "PUT" and path.endswith("/lock.json"):
                proxy.before = lambda _method, _path: None
                others.append(owned(storage, "two"))

        proxy.before = sleep
        assert renew_lock(mine, mine.fence, owner_of("one", beats=1)), "the put of the old lock does land"
        assert read_lock(storage).run == "one"
        for late in (mine, others[0]):
            with pytest.raises(FencedError, match="taken over by another run"):
                late.write("a", b"late")
            assert not renew_lock(late, late.fence, owner_of(late.fence.run, beats=2))
        third = owned(storage, "three")
        third.write("a", b"third")
        assert third.fence.generation > others[0].fence.generation > mine.fence.generation


def test_a_look_holds_for_further_shards_for_a_second_and_never_a_failed_one(monkeypatch):
    now, looks = [100.0], []
    monkeypatch.setattr(fence, "CHECK_SECONDS", 1.0)
    monkeypatch.setattr(fence.time, "clock_gettime", lambda _: now[0])

    def look():
        looks.append(now[0])
        if len(looks) == 3:
            raise FencedError("taken over")

    check = RecentCheck(look)
    for moment in (100.0, 100.5, 100.99, 101.0, 101.5):
        now[0] = moment
        check()
    assert looks == [100.0, 101.0]
    now[0] = 500.0  # the process slept
    with pytest.raises(FencedError):
        check()
    check()
    assert looks == [100.0, 101.0, 500.0, 500.0], "a look that failed holds for nothing"


def test_a_child_forked_in_the_middle_of_a_write_does_not_keep_the_guard(tmp_path):
    """It has the same open file, and may live for hours."""
    with guard.guarded(tmp_path):
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
    try:
        began = time.monotonic()
        with guard.guarded(tmp_path, alone=True):
            assert time.monotonic() - began < 5
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
