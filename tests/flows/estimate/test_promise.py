"""Promises: what a plan foretells is what a run takes, said in the report, and learnt from."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest

from tests.flows.estimate.test_rates import RUN
from tests.support.graphs import pointwise, unet
from tests.support.worlds import World, pixel_job, run, write_card
from tilewright.flows import machine
from tilewright.flows.estimate import measured
from tilewright.flows.estimate import promise as promises
from tilewright.flows.estimate.estimate import estimate
from tilewright.flows.estimate.promise import Promise, Stages, foretell, keep_promise, told_promise
from tilewright.flows.estimate.rates import KnownRuns, RunRecord, grown
from tilewright.flows.estimate.samples import sample_files
from tilewright.flows.estimate.trial import Trial
from tilewright.flows.estimate.workload import Workload, count_workload
from tilewright.flows.plan.make import plan_job
from tilewright.flows.plan.model_card import load_plan_card
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.block.floor import Rates

pytestmark = pytest.mark.usefixtures("small_pictures")
SIDE = 640
IMAGE = {"name": "x", "bands": ["red", "nir"]}
HEAD = {"name": "y", "classes": ["a", "b"], "tw:activation": "softmax"}
WORK = Workload(
    n_blocks=4, windows=16, decoded=8e6, read=4e6, reads=8, observed=4e6, pixels=1e6, files=2, kind="local",
    latency=0.0, sampled=True,
)  # fmt: skip
SHORT = Rates(decode=1e-8, window=0.25, write=1e-9)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TILEWRIGHT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    monkeypatch.setattr(promises, "n_cores", lambda: 2)


def make_world(folder, *, size=10.0, days=("2023-06-01", "2023-06-05")):
    world = World(folder)
    for number, day in enumerate(days):
        for band in IMAGE["bands"]:
            random = np.random.default_rng(number)
            # Half of it noise and half of it flat, so that tiles differ.
            values = random.integers(1, 6000, (SIDE, SIDE)).astype(np.uint16)
            values[:, SIDE // 2 :] = 500
            world.add(values, band, day=day, size=size, nodata=0, scale=0.0001, offset=0, unit="reflectance")
    return world


def job_of(tmp_path, model=None, *, rows=(5, 600), cols=(30, 610), world=None, **changes):
    world = world or make_world(tmp_path / "world")
    card = write_card(tmp_path / "card", model or pointwise(), inputs=[IMAGE], outputs=[HEAD], tile={"step": 128})
    return pixel_job(world, card, tmp_path / "out", rows=rows, cols=cols, **changes)


@pytest.mark.parametrize(
    ("rows", "cols", "changes"),
    [
        ((5, 600), (30, 610), {}),
        ((5, 200), (400, 630), {}),
        ((5, 300), (400, 1200), {}),
        ((5, 600), (30, 610), {"tile": {"block": 128}}),
        ((8, 300), (40, 300), {"grid": {"resolution": 20}}),
        ((5, 300), (30, 310), {"grid": {"resolution": 7}}),
    ],
    ids=["most", "flat", "half-outside", "small-blocks", "coarser", "finer"],
)
def test_bytes_read_are_foretold_by_the_files_own_tiles(tmp_path, rows, cols, changes):
    job = job_of(tmp_path, rows=rows, cols=cols, **changes)
    plan = plan_job(job)
    work = count_workload(plan, sample_files(plan))
    report = run(job).report
    assert work.decoded == pytest.approx(report["bytes_decoded"], rel=0.1)
    assert work.read == pytest.approx(report["bytes_read"], rel=0.1)
    assert report["bytes_read"] < report["bytes_decoded"]


@pytest.mark.parametrize("model", [pointwise(), unet(2, 2, depth=2)], ids=["pixels", "windows"])
def test_windows_are_counted_as_the_model_runs_them(tmp_path, model):
    """Those of seams too, and none where no scene lies."""
    job = job_of(tmp_path, model, cols=(320, 960), tile={"block": 256})
    plan = plan_job(job)
    work = count_workload(plan, {})
    report = run(job).report
    taken = report["windows_run"] + report["seams"].get("windows", 0)
    # A window that is compared has a neighbour half a step away only where its block is larger than its windows.
    assert -1 <= work.windows - taken <= 4
    assert work.pixels == pytest.approx(2 * 595 * 320, rel=0.02)


def test_the_run_compares_with_what_the_plan_told_and_the_next_plan_has_learnt(tmp_path):
    job = job_of(tmp_path)
    plan = plan_job(job)
    told = estimate(plan, load_plan_card(plan), provider="cpu", workers=1)
    assert told.basis == "from a short measurement"
    report = run(job).report
    assert report["promised"]["seconds"] == pytest.approx(told.seconds_to_report)
    assert report["promised"]["basis"] == told.basis
    assert set(report["measured"]) == set(report["ratios"]) == {
        "seconds", "bytes_read", "bytes_stored", "peak_memory_mb",
    }  # fmt: skip
    for name, ratio in report["ratios"].items():
        assert ratio == pytest.approx(report["measured"][name] / report["promised"][name])
    assert report["ratios"]["bytes_read"] == pytest.approx(1.0, abs=0.05)
    page = Path(tmp_path / "out/report.html").read_text()
    assert "from a short measurement" in page
    learnt = estimate(plan, load_plan_card(plan), provider="cpu", workers=1)
    assert learnt.basis == "from 1 run of this model on this machine"
    files = sum(path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert learnt.bytes_stored == pytest.approx(files, rel=0.05)


def test_a_first_run_that_nobody_planned_has_nothing_to_compare(tmp_path):
    report = run(job_of(tmp_path)).report
    assert report["promised"] is None
    assert set(report["ratios"].values()) == {None}
    assert report["measured"]["bytes_read"] == report["bytes_read"] > 0


def test_a_run_that_finds_blocks_is_not_compared_and_teaches_nothing(tmp_path):
    job = job_of(tmp_path, tile={"block": 256})
    plan = plan_job(job)
    run(job)
    rates = {path.name: path.read_bytes() for path in (tmp_path / "cache/rates").iterdir()}
    (tmp_path / "out/item.json").unlink()
    min((tmp_path / "out/.tilewright/ledger").iterdir()).unlink()
    estimate(plan, load_plan_card(plan), provider="cpu", workers=1)
    outcome = run(job)
    assert 0 < outcome.report["blocks_made"] < outcome.report["blocks"]
    assert set(outcome.report["ratios"].values()) == {None}
    assert outcome.off == ""
    assert {path.name: path.read_bytes() for path in (tmp_path / "cache/rates").iterdir()} == rates


def test_what_was_off_is_said_with_a_reason_and_nothing_else(tmp_path, monkeypatch):
    job = job_of(tmp_path)
    plan = plan_job(job)
    estimate(plan, load_plan_card(plan), provider="cpu", workers=1)
    told = told_promise(plan, workers=1, provider="cpu")
    keep_promise(plan, replace(told, seconds=500.0, peak_memory=9e9, bytes_stored=9e7), provider="cpu")
    off = run(job).off
    assert off.startswith("other than foretold from a short measurement: time ")
    assert "s instead of 500 s (this model's first run here)" in off
    assert "; storing " in off
    assert "MB instead of 9000 MB (this model's first run here)" in off
    assert "reading" not in off
    # The next run of the same plan is held against what is known by then.
    assert told_promise(plan, workers=1, provider="cpu") is None
    again = run_job(job, RunOptions(workers=1, replace=True)).report["promised"]
    assert again["basis"] == "from 1 run of this model on this machine"
    assert again["seconds"] < 100


@pytest.mark.parametrize("reading", ["process_cpu", "waited_for_core", "peak_memory"])
def test_what_a_process_used_before_a_run_is_none_of_the_run(tmp_path, monkeypatch, reading):
    """A service and a notebook make many runs in one process, and may have computed for hours before."""
    real, before = getattr(machine, reading), 40_000 if reading != "peak_memory" else 90_000_000_000
    for module in (machine, measured):
        monkeypatch.setattr(module, reading, lambda: real() + before, raising=False)
    job = job_of(tmp_path)
    if reading == "peak_memory":
        # The peak is that of the process for good, and this run stays below it.
        monkeypatch.setattr(machine, reading, lambda: before)
        monkeypatch.setattr(measured, reading, lambda: before)
    run(job)
    plan = plan_job(job)
    learnt = estimate(plan, load_plan_card(plan), provider="cpu", workers=1)
    assert learnt.basis == "from 1 run of this model on this machine"
    assert 0.05 < learnt.seconds < 100
    assert learnt.memory_bytes < 4e9


def test_a_command_counts_from_the_start_of_its_process():
    start = machine.PhaseStart.of_command(5.0)
    assert start.own == start.waited == start.peak == 0
    assert machine.PhaseStart.now().clock - start.clock == pytest.approx(5.0, abs=1.0)
    own = machine.PhaseStart.of_command(0.0)
    assert own.own > 0 < own.peak
    assert machine.PhaseStart.now().clock - own.clock < 1.0


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"[" * 9000, b'{"seconds": 1}', b"\xff"])
def test_a_promise_that_nobody_told_is_none(tmp_path, content):
    plan = plan_job(job_of(tmp_path))
    estimate(plan, load_plan_card(plan), provider="cpu")
    for path in (tmp_path / "cache/promises").iterdir():
        path.write_bytes(content)
    assert told_promise(plan, workers=2, provider="cpu") is None


@pytest.mark.parametrize(
    "changes",
    [
        {"seconds": -1}, {"seconds": "1"}, {"parts": {"a": None}}, {"basis": "x" * 500}, {"basis": "\x1b[2J"},
        {"bound": 3}, {"more": 1},
    ],
)  # fmt: skip
def test_a_promise_with_a_wrong_number_is_none(changes):
    told = foretell(WORK, KnownRuns(), SHORT, memory=5e8, workers=2)
    plain = json.loads(json.dumps(asdict(told)))
    assert Promise.from_json(plain) == told
    assert Promise.from_json({**plain, **changes}) is None


def test_nothing_is_promised_of_a_model_that_nobody_knows():
    assert foretell(WORK, KnownRuns(of_machine=(RUN,)), None, memory=5e8, workers=2) is None
    first = foretell(WORK, KnownRuns(of_machine=(RUN,)), SHORT, memory=5e8, workers=2)
    assert first.basis == "from a short measurement and runs of other models on this machine"


def test_no_memory_is_promised_where_that_of_the_model_is_not_known(tmp_path):
    """A promise of the few bytes that happen to be known would be held against the whole run."""
    assert foretell(WORK, KnownRuns(of_model=(RUN,)), None, memory=None, workers=2).peak_memory == 0
    job = job_of(tmp_path)
    run(job)
    shutil.rmtree(tmp_path / "cache" / "memory", ignore_errors=True)
    outcome = run_job(job, RunOptions(workers=1, replace=True))
    assert outcome.report["promised"]["seconds"] > 0
    assert outcome.report["promised"]["peak_memory_mb"] is None
    assert outcome.report["ratios"]["peak_memory_mb"] is None
    assert outcome.report["ratios"]["seconds"] > 0
    assert "memory" not in outcome.off


def test_the_same_job_takes_what_it_took():
    """A plan equal to the run it knows is promised just that run's figures."""
    known = foretell(WORK, KnownRuns(of_model=(RUN, RUN), of_machine=(RUN,)), None, memory=5e8, workers=2)
    assert known.seconds == pytest.approx(3.0 + 4.0 + 1.0 + 1.0)
    assert known.to_report == pytest.approx(8.0)
    assert (known.bytes_read, known.bytes_stored, known.peak_memory) == pytest.approx((4e6, 1.3e6, 6e8))
    assert known.basis == "from 2 runs of this model on this machine"


@pytest.mark.parametrize(
    ("precision", "n_windows", "reads", "calls"),
    [
        ("fp32", 100, 0, 0),
        ("fp16", 100, 4, 5 * 2.5),
        ("bf16", 2, 2, 3 * 2.5),
        ("int8", 100, 16, 5 * 2.5 + 4 * 3.75),
        ("int8", 4, 8, 3 * 2.5 + 2 * 3.75),
    ],
)
def test_the_trial_of_a_precision_is_part_of_the_first_promise(precision, n_windows, reads, calls):
    """Windows that are read to calibrate and to compare, and calls of both models, at the rates of the blocks."""
    trial = Trial.of(precision, windows=n_windows)
    assert (trial.reads, trial.calls) == (reads, calls)
    plain = replace(WORK, windows=n_windows)
    single = foretell(plain, KnownRuns(), SHORT, memory=5e8, workers=2)
    other = foretell(replace(plain, precision=precision), KnownRuns(), SHORT, memory=5e8, workers=2)
    read, call = (single.parts[name] / n_windows for name in ("read", "infer"))
    assert other.seconds - single.seconds == pytest.approx(trial.fixed + reads * read / 2 + calls * call)
    assert (other.parts["trial"] > 1) == (precision != "fp32")
    assert other.parts["blocks"] == single.parts["blocks"]


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_a_trial_is_counted_once_where_runs_tell(precision):
    """A plan like a run of its precision takes what that took, and other models learn nothing of the trial."""
    work, tried = replace(WORK, precision=precision), replace(RUN, start=30.0, precision=precision)
    again = foretell(work, KnownRuns(of_model=(tried,), of_machine=(tried,)), None, memory=5e8, workers=2)
    assert again.parts["start"] == pytest.approx(30.0)
    first = foretell(WORK, KnownRuns(of_machine=(tried,)), SHORT, memory=5e8, workers=2)
    assert first.parts["start"] == foretell(WORK, KnownRuns(), SHORT, memory=5e8, workers=2).parts["start"]
    after = foretell(work, KnownRuns(of_machine=(tried, RUN)), SHORT, memory=5e8, workers=2)
    assert after.parts["start"] == pytest.approx(3.0 + after.parts["trial"])
    # A record of fewer seconds than its own trial leaves a start all the same.
    short = foretell(work, KnownRuns(of_model=(replace(tried, start=1.0),)), None, memory=5e8, workers=2)
    assert short.parts["start"] > short.parts["trial"]


@pytest.mark.parametrize(
    ("stages", "n_blocks", "workers", "expected"),
    [
        # One block: read on two cores, inferred on two, written on one.
        (Stages(read=2, infer=8, write=1, other=0, wait=0), 1, 2, (1 + 4 + 1, "cpu")),
        (Stages(read=2, infer=8, write=1, other=0, wait=0), 1, 1, (1 + 8 + 1, "model")),
        # Many blocks: the longest stage, and a block's stages once.
        (Stages(read=2, infer=8, write=1, other=0, wait=30), 10, 2, (0.9 * 31 + (31 + 4 + 1) / 10, "read")),
        (Stages(read=2, infer=8, write=1, other=9, wait=0), 10, 2, (10, "cpu")),
    ],
)
def test_blocks_take_the_longest_of_their_stages(stages, n_blocks, workers, expected):
    seconds, bound = stages.seconds(n_blocks=n_blocks, workers=workers, cores=2)
    assert bound == expected[1]
    assert seconds == pytest.approx(expected[0])


@pytest.mark.parametrize(
    ("change", "factor"),
    [({"windows": 32}, "infer"), ({"reads": 16, "decoded": 16e6, "observed": 8e6}, "read"), ({"pixels": 2e6}, "write")],
)
def test_twice_the_amount_takes_twice_the_stage_but_for_what_comes_once(change, factor):
    runs = KnownRuns(of_model=(RUN,))
    once = foretell(WORK, runs, None, memory=5e8, workers=2)
    twice = foretell(replace(WORK, **change), runs, None, memory=5e8, workers=2)
    # RUN's stages of 0.1 to 0.8 s: a first part of 0.15 s, or of three quarters, is no part of twice.
    first = min(0.15, 0.75 * once.parts[factor])
    assert twice.parts[factor] == pytest.approx(2 * once.parts[factor] - first)
    assert twice.seconds > once.seconds or factor == "write"


def test_a_small_run_does_not_make_a_large_ones_promise_many_times_so_long():
    assert grown([(10.0, 0.2)], 1000.0, each=1.0) == pytest.approx(0.15 + 0.05 * 100)
    assert grown([(10.0, 0.2)], 10.0, each=1.0) == pytest.approx(0.2)
    assert grown([(10.0, 0.0)], 1000.0, each=1.0) == 0.0
    assert grown([(1000.0, 100.15)], 10.0, each=1.0) == pytest.approx(0.15 + 1.0)
    assert grown([], 10.0, each=0.5) == 5.0


def test_a_network_is_waited_for_and_its_latency_is_learnt():
    """By the requests under way at a time; from the runs that read from there, not from those of a disk."""
    remote = replace(WORK, kind="http", reads=400, latency=0.05)
    short = foretell(remote, KnownRuns(), SHORT, memory=5e8, workers=2)
    assert short.parts["wait"] == pytest.approx(400 * 0.05 / 16)
    slow = replace(RUN, kind="http", reads=100, read_wait=20.5, blocks=21.0)
    learnt = foretell(remote, KnownRuns(of_model=(RUN, slow)), None, memory=5e8, workers=2)
    assert learnt.parts["wait"] == pytest.approx(4 * 20.0)


@pytest.mark.parametrize(
    ("other", "taken"),
    [
        ({}, {1.0, 5.0}),
        ({"kind": "http"}, {5.0}),
        ({"workers": 1}, {5.0}),
        ({"windows": 160}, {5.0}),
        ({"pixels": 1.2e6, "windows": 18}, {1.0, 5.0}),
        ({"decoded": 0.0}, {5.0}),
    ],
)
def test_runs_that_are_alike_count_before_others(other, taken):
    """A job that was run before is promised what that took, whatever else its model has mapped."""
    runs = KnownRuns(of_model=(replace(RUN, start=1.0, **other), replace(RUN, start=5.0)))
    near = runs.near(kind="local", workers=2, amounts={"decoded": 8e6, "pixels": 1e6, "windows": 16})
    assert {run.start for run in near.of_model} == taken
    far = runs.near(kind="s3", workers=2, amounts={"decoded": 8e6})
    assert far == runs


def test_whatever_a_cache_holds_a_promise_is_of_numbers():
    """Records with amounts that no run has, each of which passes for one: what is foretold can be kept and read."""
    random = np.random.default_rng(0)
    names = [each.name for each in fields(RunRecord) if each.name not in {"kind", "precision"}]
    work = Workload(
        n_blocks=3000, windows=1e5, decoded=1e11, read=5e10, reads=1e5, observed=1e10, pixels=1e9, files=7000,
        kind="http", latency=0.1, sampled=True, precision="int8",
    )  # fmt: skip
    n_taken = 0
    for _ in range(3000):
        plain = dict(zip(names, random.choice([0, 5e-324, 1e-300, 0.5, 1, 1e15], len(names)).tolist(), strict=True))
        record = RunRecord.from_json({**plain, "kind": "http", "precision": "int8"})
        if record is None:
            continue
        n_taken += 1
        runs = KnownRuns(of_model=(record,), of_machine=(record,))
        promise = foretell(work, runs, None, memory=1e9, workers=2)
        assert Promise.from_json(json.loads(json.dumps(asdict(promise)))) == promise
    assert n_taken > 10
