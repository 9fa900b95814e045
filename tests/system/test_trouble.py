"""What goes wrong in the middle: one clear sentence, what is finished is kept, and a second call completes it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from contextlib import suppress

import pytest

from tests.support.products import (
    N_LARGE,
    assert_same_product,
    command,
    entries,
    read,
    tilewright,
    wait_for_blocks,
    wait_until,
)
from tilewright.flows.maintain.status import product_status
from tilewright.flows.run.output_lock import lock_output
from tilewright.flows.run.predict import run_job
from tilewright.flows.run.prepare import needed_disk_bytes
from tilewright.tasks.progress import Advance
from tilewright.tasks.storage.errors import StorageError, StoreError
from tilewright.tasks.storage.lock import LOCK, read_lock
from tilewright.tasks.storage.storage import open_storage

pytestmark = pytest.mark.usefixtures("small_pictures")


@pytest.fixture
def small_disk(tmp_path):
    """A mounted disk of 24 MB and a function that mounts it anew with other options."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(*options):
        return subprocess.run(
            ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", folder], check=False
        ).returncode

    if os.geteuid() != 0 or mount("size=24m") != 0:
        pytest.skip("mounting a small disk needs root")
    yield folder, mount
    subprocess.run(["umount", folder], check=True)


def test_a_disk_that_fills_up_ends_the_run_in_one_sentence_and_room_completes_it(job, whole, small_disk):
    disk, _mount = small_disk
    filled = threading.Event()

    def fill(event):
        if isinstance(event, Advance) and len(entries(disk / "out")) >= N_LARGE // 3 and not filled.is_set():
            filled.set()
            with suppress(OSError), (disk / "ballast").open("wb") as ballast:
                ballast.write(bytes(shutil.disk_usage(disk).free))

    with pytest.raises(StorageError, match=r"the disk is full\. Make room and run the same job again"):
        run_job(read(job, disk / "out"), listener=fill)
    assert not (disk / "out" / "item.json").exists()
    kept = entries(disk / "out")
    assert 0 < len(kept) < N_LARGE
    (disk / "ballast").unlink()
    run_job(read(job, disk / "out"))
    assert {name: entries(disk / "out")[name] for name in kept} == kept
    assert_same_product(disk / "out", whole)


def test_a_disk_without_room_is_refused_before_a_pixel_is_read(job, small_disk):
    disk, _mount = small_disk
    with (disk / "ballast").open("wb") as ballast:
        ballast.write(bytes(shutil.disk_usage(disk).free - 8192))
    answer = tilewright("run", job, "--output", disk / "out")
    assert answer.returncode == 2, answer.stderr
    assert "MB of room" in answer.stderr
    assert not (disk / "out").exists()


def test_the_room_needed_grows_with_pixels_and_shrinks_with_what_is_done():
    def needed(side, share_left=1.0):
        files = [[("class", "uint8")], [("value", "float32")]]
        return needed_disk_bytes(files, shape=(side, side), share_left=share_left)

    assert needed(2000) == pytest.approx(4 * needed(1000), rel=1e-6)
    assert needed(1000, 0.0) < needed(1000, 0.5) < needed(1000)
    assert needed(1000) < 21 * 1000**2


def test_an_image_is_staged_as_one_file():
    bands, told = [("value", "float32")] * 8, {"shape": (1000, 1000), "share_left": 1.0}
    image, layers = (needed_disk_bytes(files, **told) for files in ([bands], [[one] for one in bands]))
    # Four of eight files are staged at a time, but all of an image's bands.
    staged = needed_disk_bytes([bands[:1]], **told) - needed_disk_bytes([], **told)
    assert layers < image < layers + 4 * staged


def test_a_disk_that_becomes_read_only_ends_the_run_in_one_sentence_and_write_access_completes_it(job, small_disk):
    disk, _mount = small_disk
    lost = threading.Event()

    def remount(how):
        # Refused as "busy" while another worker has a file open for writing: asked until no one has.
        command = ["mount", "-o", f"remount,{how}", disk]
        wait_until(lambda: subprocess.run(command, check=False, capture_output=True).returncode == 0)

    def lose(event):
        if isinstance(event, Advance) and len(entries(disk / "out")) >= 3 and not lost.is_set():
            remount("ro")
            lost.set()

    # Layers of the third format are open while blocks run, and a disk with open files is not remounted.
    with pytest.raises(StorageError, match=r"access was refused .*Renew the credentials or the permission"):
        run_job(read(job, disk / "out", zarr_format=2), listener=lose)
    remount("rw")
    assert product_status(str(disk / "out"))["state"] == "stopped"
    run_job(read(job, disk / "out", zarr_format=2))
    assert product_status(str(disk / "out"))["state"] == "complete"


def test_a_second_run_in_another_process_is_refused_with_the_first_ones_name(job, tmp_path):
    output = tmp_path / "out"
    first = command("run", job, "--output", output)
    wait_for_blocks(output, 1, first)
    # Held still, so that it cannot be done before the other has even started.
    first.send_signal(signal.SIGSTOP)
    second = tilewright("run", job, "--output", output)
    first.send_signal(signal.SIGCONT)
    assert second.returncode == 75, second.stderr
    assert f"Another run (process {first.pid} on " in second.stderr
    assert product_status(str(output))["state"] in {"running", "complete"}
    assert first.wait(60) == 0, first.communicate()


def test_the_heart_beats_while_one_step_takes_long_and_stops_when_the_output_is_lost(tmp_path):
    storage = open_storage(str(tmp_path), create=True)
    with lock_output(storage, heartbeat_seconds=0.02) as lock:
        first = read_lock(storage).beat
        wait_until(lambda: read_lock(storage).beat > first)
        lock.check()
        storage.write_json(LOCK, {**storage.read_json(LOCK), "run": "another"})
        wait_until(lambda: lock.lost)
        with pytest.raises(RuntimeError, match="taken over by another run"):
            lock.check()
    assert read_lock(storage).run == "another", "a lock that is not ours is not freed"


def test_of_two_that_take_over_a_dead_lock_one_wins(tmp_path):
    storage = open_storage(str(tmp_path), create=True)
    dead = {"run": "dead", "host": "gone", "pid": 1, "beat": 0.0, "born": 0.0}
    for _ in range(10):
        storage.write_json(LOCK, dead)
        os.utime(tmp_path / LOCK, (0, 0))
        won, start, leave = [], threading.Barrier(4), threading.Event()

        def take(start=start, won=won, leave=leave):
            start.wait()
            try:
                with lock_output(storage) as lock:
                    won.append(lock.owner.run)
                    leave.wait(5)
            except StoreError:
                pass

        threads = [threading.Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
        wait_until(lambda threads=threads: sum(thread.is_alive() for thread in threads) == 1)
        leave.set()
        for thread in threads:
            thread.join()
        assert len(won) == 1
