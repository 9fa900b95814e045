"""Memory that runs out: the block is done again in parts, with the same pixels, and only then set aside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.danube import water_fields, water_job
from tests.support.paths import ROOT
from tests.support.products import writing_worker
from tilewright.flows.errors import ErrorClass, classify
from tilewright.flows.job.job import make_job
from tilewright.flows.policies import MIN_BLOCKS_IN_MEMORY
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.quarantine import Quarantine, SetAsideError
from tilewright.flows.runners.run_options import Placement
from tilewright.flows.runners.runner import run_blocks
from tilewright.models.errors import InferenceError
from tilewright.tasks.block.split import cut_block, do_block_in_parts
from tilewright.tasks.block.worker import WorkerSettings
from tilewright.tasks.grid.blocks import block_at
from tilewright.tasks.storage.ledger import read_entries

TILE = {"block": 256, "step": 64}


@pytest.fixture(scope="module")
def plain(real, tmp_path_factory):
    return run_job(water_job(real, tmp_path_factory.mktemp("plain") / "out", tile=TILE)).output


@pytest.fixture
def worker(plain):
    return writing_worker(plain, WorkerSettings(provider="cpu", read_threads=2))


@given(
    row=st.integers(-50, 50), step=st.sampled_from([16, 64]), steps=st.integers(1, 9), parts=st.integers(1, 12)
)  # fmt: skip
def test_parts_cover_the_block_once_at_whole_steps(row, step, steps, parts):
    block = block_at(row=row, col=-row, block=step * steps, halo=8)
    pieces = cut_block(block, step=step, parts=parts)
    seen = np.zeros(block.inner.shape, dtype=int)
    for piece in pieces:
        seen[piece.inner.slices_in(block.inner)] += 1
        assert piece.inner.row_start % step == piece.inner.col_start % step == 0
        assert piece.name == block.name
    assert (seen == 1).all()
    assert len(pieces) == min(parts, steps) ** 2


@pytest.mark.parametrize("parts", [2, 3, 99])
def test_a_block_in_parts_has_the_checksums_of_the_whole(plain, worker, parts):
    existing = read_entries(worker.storage)
    block = next(block for block in worker.plan.raster.all_blocks() if existing[block.name].valid_pixels > 1000)
    whole, made = existing[block.name], do_block_in_parts(worker, block, parts=parts)
    assert (made.checksums, made.key, made.valid_pixels) == (whole.checksums, whole.key, whole.valid_pixels)
    assert (made.scenes, made.failures) == (whole.scenes, whole.failures)
    assert made.windows_run == whole.windows_run


class Greedy:
    """A session that fails like ONNX Runtime does for more than one window a call."""

    def __init__(self, session):
        self.session = session
        self.refused = 0

    def __getattr__(self, name):
        return getattr(self.session, name)

    def run_batch(self, feeds, *, batch, windows=None):
        if batch > 1:
            self.refused += 1
            raise InferenceError(
                "BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 9"
            )
        return self.session.run_batch(feeds, batch=batch, windows=windows)


def test_a_batch_that_cannot_be_allocated_is_run_window_by_window(plain, worker):
    greedy = Greedy(worker.model.session)
    short = replace(worker, model=replace(worker.model, session=greedy, batch=16))
    before = read_entries(worker.storage)
    blocks = [block for block in worker.plan.raster.all_blocks() if before[block.name].windows_run][:8]
    entries = {entry.name: entry for entry in run_blocks(short, blocks, Placement(workers=1))}
    assert {name: entry.checksums for name, entry in entries.items()} == {
        block.name: before[block.name].checksums for block in blocks
    }
    assert len(blocks) > MIN_BLOCKS_IN_MEMORY
    assert 1 <= greedy.refused <= MIN_BLOCKS_IN_MEMORY, "the next blocks are as large: they begin in parts"


def test_memory_that_is_too_short_for_one_window_sets_the_block_aside(worker, monkeypatch):
    monkeypatch.setattr("tilewright.flows.runners.threads.BLOCK_DELAYS", (0.0,))

    def run_batch(feeds, *, batch, windows=None):
        raise MemoryError

    greedy = Greedy(worker.model.session)
    greedy.run_batch = run_batch
    short = replace(worker, model=replace(worker.model, session=greedy))
    entries = read_entries(worker.storage)
    block = next(block for block in worker.plan.raster.all_blocks() if entries[block.name].windows_run)
    with pytest.raises(
        SetAsideError, match=r"\(out-of-memory\).*down to single windows: take fewer --workers"
    ) as error:
        list(run_blocks(short, [block], Placement(workers=1)))
    assert [row["block"] for row in error.value.rows] == [block.name]


def test_a_block_whose_worker_was_killed_is_cut_and_the_others_are_not(worker):
    class KilledWorker(Exception):  # noqa: N818 -- Dask's own name
        pass

    quarantine = Quarantine()
    one, other = worker.plan.raster.all_blocks()[:2]
    assert classify(KilledWorker("block")) is ErrorClass.LOST_WORKER
    assert quarantine.record_failure(one, KilledWorker("block"))
    assert (quarantine.parts(one), quarantine.parts(other)) == (2, 1)
    assert quarantine.record_failure(other, MemoryError())
    assert quarantine.parts(worker.plan.raster.all_blocks()[2]) == 2, "memory is short for all"


LIMITED = """
import json, resource, sys
from pathlib import Path
from tilewright.flows.job.job import make_job
from tilewright.flows.runners.run_options import RunOptions; from tilewright.flows.run.predict import run_job
from tilewright.tasks.block.worker import Worker

begun = []
whole = Worker.read

def reading(worker, block, **how):
    # What libraries and threads take is there by now; what is left is for the pixels of one read.
    used = 1024 * int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1])
    begun.append(block.inner.shape)
    resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[2]), resource.RLIM_INFINITY))
    try:
        return whole(worker, block, **how)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

import tilewright.tasks.publish.publish
import tilewright.flows.runners.threads, tilewright.tasks.block.split
Worker.read = reading
outcome = run_job(make_job(json.loads(Path(sys.argv[1]).read_text()), base=Path()), RunOptions(workers=1))
print(json.dumps({"output": outcome.output, "shapes": sorted(set(begun)), "n": len(begun)}))
"""


def test_a_process_without_room_for_a_whole_block_maps_it_in_parts(real, tmp_path):
    """A real limit of the address space: a real allocation fails, and the product is the same."""
    plain_job = water_fields(real, tile={"block": 2048, "step": 128})
    script = tmp_path / "limited.py"
    script.write_text(LIMITED)
    limits = (under(plain_job, script, megabytes) for megabytes in (16, 14, 20, 25, 12, 30, 40, 60))
    made = next(filter(None, limits), None)
    assert made is not None, "none of the limits lay between what a part takes and what the whole block takes"
    print(made)
    assert [2048, 2048] in made["shapes"], "it was tried whole"
    room = run_job(make_job({**plain_job, "output": str(tmp_path / "room")}, base=Path()))
    checksums = [
        {name: entry.checksums for name, entry in read_entries(reopened(output).storage).items()}
        for output in (made["output"], room.output)
    ]
    assert checksums[0] == checksums[1]


def under(plain_job, script, megabytes):
    """What a run with so much room for pixels tells; None where a whole block fits, or not even a part."""
    job = script.with_name(f"job-{megabytes}.json")
    job.write_text(json.dumps({**plain_job, "output": str(script.with_name(f"out-{megabytes}"))}))
    env = {**os.environ, "PYTHONPATH": str(ROOT), "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(
        [sys.executable, str(script), str(job), str(megabytes * 2**20)],
        capture_output=True, text=True, env=env, timeout=120, check=False,
    )  # fmt: skip
    printed = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {"shapes": []}
    return printed if len(printed["shapes"]) > 1 else None


def reopened(output):
    return writing_worker(output)
