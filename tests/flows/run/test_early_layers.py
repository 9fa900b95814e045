"""Layers written while their blocks come: the same bytes in any order of blocks, and nothing half after any end."""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tests.support.products import command, entries, read, tilewright, wait_until, write_job
from tilewright.flows.run.predict import run_job
from tilewright.flows.run.prefetch import EarlyLayers
from tilewright.flows.runners.run_options import RunOptions
from tilewright.flows.runners.worker import reopen_worker
from tilewright.tasks.block.worker import WorkerSettings
from tilewright.tasks.inventory.arrivals import Arrivals
from tilewright.tasks.progress import Advance, silent
from tilewright.tasks.publish.layers import begin_layers, write_layers
from tilewright.tasks.storage.ledger import read_entries
from tilewright.tasks.zarr.store import ChangedStoreError

pytestmark = pytest.mark.usefixtures("small_pictures")

BLOCK = 32

ORDERS = ("from the first row", "from the last row", "shuffled", "shuffled otherwise")


def ordered(entries_by_name, order):
    """The names of blocks in an order."""
    names = sorted(entries_by_name, key=lambda name: (entries_by_name[name].row, entries_by_name[name].col))
    if order == "from the last row":
        return names[::-1]
    if order != "from the first row":
        np.random.default_rng(ORDERS.index(order)).shuffle(names)
    return names


class StoppedError(RuntimeError):
    """The end of a run after its last block."""


@pytest.fixture(scope="module", params=["one file", "parts and levels"])
def small_sizes(request):
    """Products of few pixels as they are, and with what large ones have: several parts, units and levels."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param != "one file":
            patch.setattr("tilewright.tasks.publish.names.MAX_SIDE", 96)
            patch.setattr("tilewright.tasks.zarr.pyramid.SMALLEST_LEVEL", 12)
        yield request.param


@pytest.fixture(scope="module")
def unfinished(small_sizes, tmp_path_factory):
    """A product whose blocks are all there, and nothing else of it."""
    del small_sizes
    folder = tmp_path_factory.mktemp("unfinished")
    output = folder / "out"

    def stop(*_, **__):
        raise StoppedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tilewright.flows.run.pipeline._has_room", lambda *_: False)
        patch.setattr("tilewright.tasks.publish.layers.write_layers", stop)
        job = read(write_job(folder / "job", side=256 + 40, tile={"block": BLOCK, "step": BLOCK}), output)
        with pytest.raises(StoppedError):
            run_job(job, RunOptions(workers=2))
    assert not (output / "data.zarr" / "class" / "c").exists()
    return output


class Product:
    """A copy of a product whose blocks are all there, which says that they are one by one."""

    def __init__(self, unfinished, folder):
        shutil.copytree(unfinished, folder)
        self.folder = folder
        worker = reopen_worker(str(folder), WorkerSettings(provider="cpu", read_threads=1))
        self.of = (worker.storage, worker.plan, worker.model.card)
        self.entries = read_entries(worker.storage)
        self.arrivals = Arrivals.of(worker.plan.raster.blocks, [])

    def begin(self):
        return begin_layers(*self.of, self.arrivals, n_cores=2)

    def finish(self, begun=None):
        write_layers(*self.of, self.entries, n_cores=2, listener=silent, standing=(), begun=begun)

    def come(self, names):
        for name in names:
            self.arrivals.add(self.entries[name])

    def written(self):
        """The bytes of all files but those that hold times and tags."""
        files = (path for path in self.folder.rglob("*") if path.is_file() and ".tilewright" not in path.parts)
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files}

    def cut(self):
        return [path for path in (self.folder / "data.zarr" / "class" / "c").rglob("*") if path.is_file()]

    def half(self):
        """Files being written, and records of what a later run may keep."""
        cogs, staging = (self.folder / ".tilewright" / name for name in ("cogs", "staging"))
        return [*cogs.glob("*"), *staging.glob("*/*")]


@pytest.fixture(scope="module")
def at_the_end(unfinished, tmp_path_factory):
    """The files of the product, all made after its last block."""
    product = Product(unfinished, tmp_path_factory.mktemp("end") / "out")
    product.finish()
    return product.written()


@pytest.mark.parametrize("order", ORDERS)
def test_blocks_in_any_order_make_the_bytes_of_all_at_once(unfinished, at_the_end, tmp_path, order):
    product = Product(unfinished, tmp_path / "out")
    begun, names = product.begin(), ordered(product.entries, order)
    product.come(names[: len(names) // 2])
    if order == "from the first row":
        wait_until(product.cut)
        assert len(product.arrivals.entries) < len(product.arrivals.planned), "it is cut before the last block is there"
    product.come(names[len(names) // 2 :])
    product.finish(begun)
    assert product.written() == at_the_end
    assert len(list((product.folder / ".tilewright" / "cogs").iterdir())) == len(list(product.folder.glob("*.tif")))


@pytest.mark.parametrize("n_come", [0, 1, 40])
def test_a_run_that_ends_before_its_last_block_leaves_nothing_half(unfinished, at_the_end, tmp_path, n_come):
    product = Product(unfinished, tmp_path / "out")
    begun = product.begin()
    product.come(ordered(product.entries, ORDERS[0])[:n_come])
    if n_come > BLOCK:
        wait_until(product.cut)
    begun.abandon()
    assert product.half() == []
    whole = {path.name: path.read_bytes() for path in product.folder.glob("*.tif")}
    assert whole == {name: at_the_end[name] for name in whole}, "parts whose blocks are all there may be whole"
    product.finish()
    assert product.written() == at_the_end


def test_no_thread_writes_after_a_run_that_ended_while_it_waited_for_its_files(unfinished, at_the_end, tmp_path):
    product = Product(unfinished, tmp_path / "out")
    begun = product.begin()
    product.come(product.entries)

    def end(_event):
        raise StoppedError

    with pytest.raises(StoppedError):
        write_layers(*product.of, product.entries, n_cores=2, listener=end, standing=(), begun=begun)
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("tilewright-finish")]
    assert product.half() == []
    product.finish()
    assert product.written() == at_the_end


@pytest.mark.parametrize("when", ["before it is read", "after it was read"])
def test_a_block_that_changes_is_found_whenever_it_was_read(unfinished, tmp_path, when):
    product = Product(unfinished, tmp_path / "out")
    shard = next(path for path in sorted((product.folder / ".tilewright/blocks.zarr/class/c/0").rglob("*")))
    if when == "before it is read":
        shard.write_bytes(shard.with_name("1").read_bytes() if shard.name == "0" else b"")
    begun = product.begin()
    product.come(product.entries)
    if when == "after it was read":
        wait_until(lambda: all(future.done() for future in (begun.pyramid, *begun.files.values())))
        os.utime(shard, ns=(1, 1))
    with pytest.raises(ChangedStoreError):
        product.finish(begun)
    assert not list((product.folder / ".tilewright" / "cogs").glob("*"))


def test_a_shard_that_changes_after_it_was_cut_is_found(unfinished, at_the_end, tmp_path):
    product = Product(unfinished, tmp_path / "out")
    begun, names = product.begin(), ordered(product.entries, ORDERS[0])
    product.come(names[:-1])
    first = product.folder / "data.zarr/class/c/0/0"
    wait_until(first.parent.with_name("7").exists)
    os.utime(first, ns=(1, 1))
    product.come(names[-1:])
    with pytest.raises(ChangedStoreError):
        product.finish(begun)
    product.finish()
    assert product.written() == at_the_end


def test_what_went_wrong_while_blocks_came_is_made_once_they_are_there(unfinished, at_the_end, tmp_path):
    product = Product(unfinished, tmp_path / "out")
    shard = next(path for path in sorted((product.folder / ".tilewright/blocks.zarr/class/c/0").rglob("*")))
    content = shard.read_bytes()
    shard.write_bytes(content[:9])
    begun = product.begin()
    product.come(ordered(product.entries, ORDERS[0])[:-1])
    wait_until(begun.failed)
    shard.write_bytes(content)
    product.finish(begun)
    assert product.written() == at_the_end


def test_a_run_cuts_while_its_blocks_come_and_makes_the_same_product(unfinished, at_the_end, tmp_path):
    del unfinished
    output, events = tmp_path / "out", []
    chunks = output / "data.zarr" / "class" / "c"
    job = read(write_job(tmp_path / "job", side=256 + 40, tile={"block": BLOCK, "step": BLOCK}), output)

    def listener(event):
        events.extend([event] if isinstance(event, Advance) and event.block else [])
        if len(events) == 60:
            wait_until(lambda: any(path.is_file() for path in chunks.rglob("*")))
            events.append("cut")

    run_job(job, RunOptions(workers=2), listener=listener)
    assert "cut" in events, "shards are there before the last block"
    written = {name: (output / name).read_bytes() for name in at_the_end if "/c/" in name or name.endswith(".tif")}
    assert written == {name: at_the_end[name] for name in written}
    assert written


KILLED_WHILE_BLOCKS_COME = """
import os, time, pathlib
from tilewright.tasks.block import worker
real, done = worker.write_entry, []
def write_entry(storage, entry):
    if len(done) == 40:
        chunks, end = storage.folder / "data.zarr" / "class" / "c", time.monotonic() + 60
        while not any(path.is_file() for path in chunks.rglob("*")) and time.monotonic() < end:
            time.sleep(0.01)
        os._exit(9)
    real(storage, entry)
    done.append(1)
worker.write_entry = write_entry
"""


@pytest.mark.parametrize("options", [(), ("--update",)])
def test_a_run_killed_while_it_cuts_and_blocks_come_goes_on_to_the_same_bytes(small_sizes, tmp_path, options):
    if small_sizes != "one file":
        pytest.skip("processes know nothing of the smaller sizes")
    job = write_job(tmp_path / "job", tile={"block": BLOCK, "step": BLOCK})
    output, whole = tmp_path / "out", tmp_path / "whole"
    killed = command("run", job, "--output", output, before=KILLED_WHILE_BLOCKS_COME)
    killed.communicate(timeout=120)
    assert killed.returncode == 9
    assert len(entries(output)) == 40
    assert [path for path in (output / "data.zarr/class/c").rglob("*") if path.is_file()]
    assert not list(output.glob("*.tif"))
    assert tilewright("run", job, "--output", output, *options).returncode == 0
    run_job(read(job, whole), RunOptions(workers=2))
    for path in [*whole.glob("*.tif"), *(path for path in (whole / "data.zarr").rglob("*") if path.is_file())]:
        assert (output / path.relative_to(whole)).read_bytes() == path.read_bytes(), path


def test_nothing_is_begun_without_room_or_of_a_product_that_is_whole(unfinished, tmp_path):
    shutil.copytree(unfinished, tmp_path / "out")
    worker = reopen_worker(str(tmp_path / "out"), WorkerSettings(provider="cpu", read_threads=1))
    there = read_entries(worker.storage)
    few = dict(list(there.items())[:3])
    for room, done, begins in ((False, few, False), (True, there, False), (True, few, True)):
        with EarlyLayers(worker, worker.model.card, room=room) as early:
            early.begin(done, standing=worker.store.standing)
            for name in there.keys() - done.keys():
                early.add(there[name])
            begun = early.take()
            assert (begun is not None) == begins
            assert early.take() is None
            if begun is not None:
                begun.abandon()
    (Path(tmp_path) / "out/.tilewright/cogs").mkdir(exist_ok=True)
    (Path(tmp_path) / "out/.tilewright/cogs/class.tif.json").write_text("{}")
    with EarlyLayers(worker, worker.model.card, room=True) as early:
        early.begin(few, standing=worker.store.standing)
        assert early.take() is None, "the file may be one that is kept"


@pytest.fixture
def early_worker(unfinished, tmp_path):
    """A worker of the product, and the entries of its blocks."""
    shutil.copytree(unfinished, tmp_path / "out")
    worker = reopen_worker(str(tmp_path / "out"), WorkerSettings(provider="cpu", read_threads=1))
    return worker, read_entries(worker.storage)


def finishing():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("tilewright-finish")]


def test_a_run_that_is_interrupted_after_it_took_its_layers_leaves_no_thread(early_worker):
    worker, there = early_worker
    done = dict(list(there.items())[:3])

    def interrupted_run():
        with EarlyLayers(worker, worker.model.card, room=True) as early:
            early.begin(done, standing=worker.store.standing)
            assert early.take() is not None
            assert finishing(), "they wait for blocks"
            # As Ctrl-C while the module that finishes layers is imported.
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted_run()
    assert not finishing()


def test_a_run_that_ends_before_its_thread_began_does_not_wait_for_it(early_worker, monkeypatch):
    """As `--retry` of a class of failures that no block has."""
    worker, there = early_worker

    class Late(threading.Thread):
        def run(self):
            time.sleep(0.3)
            super().run()

    monkeypatch.setattr("tilewright.flows.run.prefetch.Thread", Late)

    def failing_run():
        with EarlyLayers(worker, worker.model.card, room=True) as early:
            early.begin(dict(list(there.items())[:3]), standing=worker.store.standing)
            raise StoppedError

    ended = threading.Event()

    def run_it():
        with pytest.raises(StoppedError):
            failing_run()
        ended.set()

    threading.Thread(target=run_it, daemon=True).start()
    assert ended.wait(10)
    assert not finishing()


@pytest.mark.parametrize("seconds", [0.0, 0.6], ids=["at once", "long"])
def test_a_run_that_ends_says_which_files_it_waits_for(unfinished, tmp_path, monkeypatch, seconds):
    """A library that writes a file cannot be broken off: whoever pressed Ctrl-C is told, once, if it takes long."""
    product, writing, said = Product(unfinished, tmp_path / "out"), threading.Event(), []
    monkeypatch.setattr("tilewright.tasks.publish.layers.PATIENCE_SECONDS", 0.2)

    def slow(*_, **__):
        writing.set()
        time.sleep(seconds)
        raise StoppedError

    monkeypatch.setattr("tilewright.tasks.cog.write._make_cog", slow)
    begun = product.begin()
    product.come(product.entries)
    assert writing.wait(20)
    began = time.monotonic()
    begun.abandon(said.append)
    assert time.monotonic() - began < seconds + 5
    assert not finishing()
    if seconds:
        (notice,) = said
        assert notice.text.startswith("Waiting until ")
        # Both layers are written at once: it names the one that is waited for first.
        assert "class" in notice.text or "confidence" in notice.text
        assert ".tif" in notice.text
        assert notice.text.endswith(" is written.")
    assert product.half() == []
