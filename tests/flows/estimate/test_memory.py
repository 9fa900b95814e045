"""Memory: the estimate of a plan is refused where less is free, and is close to the measured peak of the run."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.support.graphs import pointwise, unet
from tests.support.worlds import World, layer, pixel_job, run, write_card
from tilewright.flows.estimate import memory
from tilewright.flows.estimate.memory import LowMemoryError, MemoryEstimate, expected_memory, fitting_callers
from tilewright.flows.machine import free_memory, unused_memory
from tilewright.flows.plan.make import plan_job
from tilewright.flows.plan.model_card import load_plan_card
from tilewright.flows.runners import threads
from tilewright.tasks.block.worker import Worker

pytestmark = pytest.mark.usefixtures("small_pictures")
SIDE = 160
ROWS, COLS = (9, 147), (13, 139)
IMAGE = {"name": "x", "bands": ["red", "nir"]}
HEAD = {"name": "y", "classes": ["a", "b"], "tw:activation": "softmax"}


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path / "world")
    for seed, band in enumerate(IMAGE["bands"]):
        made.add(np.random.default_rng(seed).uniform(0, 1, (SIDE, SIDE)).astype(np.float32), band, unit="reflectance")
    return made


@pytest.fixture
def planned(world, tmp_path):
    """A job of one block of nine windows, its plan and its card."""
    card = write_card(tmp_path / "card", pointwise(2, 2), inputs=[IMAGE], outputs=[HEAD])
    job = pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, tile={"block": 192})
    plan = plan_job(job)
    return job, plan, load_plan_card(plan)


def test_callers_are_as_many_as_memory_has_room_for(planned, monkeypatch):
    _, plan, card = planned
    held = MemoryEstimate(fixed=400e6, blocks=100e6, caller=200e6, most_callers=6)
    monkeypatch.setattr(memory, "_estimate", lambda *_, **__: held)
    monkeypatch.setattr(memory, "card_memory", lambda *_, **__: 100.0)
    found = {free: fitting_callers(plan, card, n_callers=8, free=free) for free in (10**10, 17 * 10**8, 11 * 10**8)}
    # One block keeps six callers busy, so eight need no more than six.
    assert found == {10**10: 8, 17 * 10**8: 8, 11 * 10**8: 3}
    with pytest.raises(LowMemoryError, match=r"needs about 700 MB .* and 600 MB are free. Set a smaller tile.step"):
        fitting_callers(plan, card, n_callers=8, free=600 * 10**6)


def test_a_model_is_measured_only_where_it_matters(planned, monkeypatch):
    _, plan, card = planned

    def never(*_, **__):
        raise AssertionError("measured for nothing")

    monkeypatch.setattr(memory, "card_memory", never)
    assert fitting_callers(plan, card, n_callers=2, free=10**11) == 2


def test_a_job_that_does_not_fit_is_refused_before_anything_is_made(world, planned, tmp_path):
    job, *_ = planned
    tight = job.model_copy(update={"limits": job.limits.model_copy(update={"memory_mb": 100.0})})
    with pytest.raises(LowMemoryError, match=r"No room for memory: this job needs about .* and 100 MB are free"):
        run(tight)
    assert not (tmp_path / "out").exists()


def test_fewer_callers_give_the_same_pixels_and_are_reported(world, tmp_path):
    card = write_card(tmp_path / "card", unet(2, 2, depth=2), inputs=[IMAGE], outputs=[HEAD])
    jobs = [pixel_job(world, card, tmp_path / name, rows=ROWS, cols=COLS) for name in ("wide", "tight")]
    plan = plan_job(jobs[1])
    expected = expected_memory(plan, load_plan_card(plan))
    room = (expected.total(1) + 0.5 * expected.caller) / 1e6
    tight = jobs[1].model_copy(update={"limits": jobs[1].limits.model_copy(update={"memory_mb": room})})
    wide, narrow = run(jobs[0], workers=4), run(tight, workers=4)
    assert (wide.report["workers"], narrow.report["workers"]) == (4, 1)
    assert np.array_equal(layer(wide.output, "class"), layer(narrow.output, "class"))


@dataclass(frozen=True)
class Groups:
    """Control groups as files, and the one that /proc names for a process."""

    root: Path

    def limit(self, group: str, name: str, value: str) -> None:
        (self.root / group).mkdir(parents=True, exist_ok=True)
        (self.root / group / name).write_text(value + "\n")

    def free(self, own: str) -> int:
        (self.root / "own").write_text(own)
        return free_memory(cgroups=self.root, own=self.root / "own")


def test_a_control_groups_limit_holds_where_it_is_less_than_the_machines(tmp_path):
    groups = Groups(tmp_path)
    machine = psutil.virtual_memory().total
    assert 0 < groups.free("0::/") <= machine
    groups.limit("", "memory.max", "max")
    assert groups.free("0::/") > 10**7
    groups.limit("slice/job", "memory.max", "4000000")
    groups.limit("slice", "memory.max", "3000000")
    assert groups.free("0::/slice/job\n") == 3_000_000
    assert groups.free("0::/\n") > 10**7
    groups.limit("memory", "memory.limit_in_bytes", "2000000")
    assert groups.free("7:memory:/x\n") == 2_000_000


def test_what_is_unused_is_the_least_of_what_groups_have_left(tmp_path):
    groups = Groups(tmp_path)

    def unused(own):
        (tmp_path / "own").write_text(own)
        return unused_memory(cgroups=tmp_path, own=tmp_path / "own")

    assert unused("0::/") == pytest.approx(psutil.virtual_memory().available, rel=0.2)
    for name, value in (
        ("memory.max", "5000000"), ("memory.current", "4000000"), ("memory.stat", "anon 1\ninactive_file 500000")
    ):  # fmt: skip
        groups.limit("job", name, value)
    assert unused("0::/job") == 1_500_000


class Stages:
    """Counts the blocks read, and how often reading one and inferring another fell together."""

    def __init__(self, monkeypatch):
        self.reading = self.inferring = self.read_in_all = self.together = 0
        self.lock = threading.Lock()
        self.began = threading.Event()
        read, infer = Worker.read, Worker.infer
        monkeypatch.setattr(Worker, "read", lambda worker, block: self.reads(read, worker, block))
        monkeypatch.setattr(Worker, "infer", lambda worker, block, **more: self.infers(infer, worker, block, **more))

    def reads(self, whole, worker, block):
        with self.lock:
            self.read_in_all += 1
            self.reading += 1
            self.together += self.inferring > 0
        self.began.set()
        try:
            return whole(worker, block)
        finally:
            with self.lock:
                self.reading -= 1

    def infers(self, whole, *args, **more):
        with self.lock:
            self.inferring += 1
            self.together += self.reading > 0
        # A block that may be read in the meantime has begun by now, or never will.
        self.began.wait(0.3)
        self.began.clear()
        try:
            return whole(*args, **more)
        finally:
            with self.lock:
                self.inferring -= 1


@pytest.mark.parametrize(("unused", "overlaps"), [(10**12, True), (0, False)], ids=["room", "short"])
def test_blocks_are_prefetched_unless_memory_is_short(planned, tmp_path, monkeypatch, unused, overlaps):
    """Held back, a run goes on block by block and makes the same pixels."""
    job, *_ = planned
    whole = run(job)
    small = job.model_copy(update={"tile": job.tile.model_copy(update={"block": 64}), "output": str(tmp_path / "cut")})
    monkeypatch.setattr(threads, "unused_memory", lambda: unused)
    stages = Stages(monkeypatch)
    cut = run(small)
    assert cut.report["blocks"] == stages.read_in_all > 4
    assert (stages.together > 0) == overlaps
    assert np.array_equal(layer(whole.output, "class"), layer(cut.output, "class"))


PEAK = """
import json, sys
from pathlib import Path
from tilewright.flows.job.job import read_job
from tilewright.flows.plan.model_card import load_plan_card
from tilewright.flows.estimate.memory import expected_memory
from tilewright.flows.machine import peak_memory
from tilewright.flows.plan.make import plan_job
from tilewright.flows.runners.run_options import RunOptions; from tilewright.flows.run.predict import run_job
job = read_job(Path(sys.argv[1]), output=sys.argv[2])
run_job(job, RunOptions(workers=2))
peak = peak_memory()
plan = plan_job(job)
print(json.dumps([expected_memory(plan, load_plan_card(plan)).total(2), peak]))
"""


@pytest.mark.parametrize("kind", ["pixels", "windows", "dates"])
def test_the_expected_memory_is_close_to_the_memory_held(kind, tmp_path):
    """Within a factor of 1.5, of three unlike cards over 1024 x 1024 pixels: a process of its own each."""
    days = [f"2023-06-{day:02}" for day in range(1, 13)] if kind == "dates" else ["2023-06-01"]
    world = World(tmp_path / "world")
    values = np.random.default_rng(0).integers(1, 6000, (1024, 1024)).astype(np.uint16)
    for day in days:
        for band in IMAGE["bands"]:
            world.add(values, band, day=day, nodata=0, scale=0.0001, offset=0, unit="reflectance")
    model = unet(2, 2, depth=2, width=16) if kind == "windows" else pointwise(2, 2)
    card = write_card(tmp_path / "card", model, inputs=[IMAGE], outputs=[HEAD], tile={"step": 512})
    job = pixel_job(world, card, tmp_path / "out", rows=(0, 1024), cols=(0, 1024))
    plain = {"area": job.area.geojson(), "period": "2023-06", "source": world.source, "model": str(card),
             "grid": job.grid.model_dump(mode="json")}  # fmt: skip
    (tmp_path / "job.json").write_text(json.dumps(plain))
    command = [sys.executable, "-c", PEAK, str(tmp_path / "job.json"), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200)
    expected, held = json.loads(done.stdout.strip().splitlines()[-1])
    assert 1 / 1.5 <= expected / held <= 1.5, f"{kind}: {expected / 1e6:.0f} MB expected, {held / 1e6:.0f} MB held"
    print(f"{kind}: {expected / 1e6:.0f} MB expected, {held / 1e6:.0f} MB held")
