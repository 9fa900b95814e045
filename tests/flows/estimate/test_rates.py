"""The rates of finished runs: kept, bounded, combined; and what is no record of a run is as if it were not there."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, replace

import pytest

from tests.support.graphs import pointwise
from tests.support.worlds import World, pixel_job, write_card
from tilewright.flows.estimate import rates
from tilewright.flows.estimate.rates import MOST_RUNS, AmountLine, KnownRuns, RunRecord, keep_run, line_of, read_runs
from tilewright.flows.plan.make import plan_job

RUN = RunRecord(
    kind="local", precision="fp32", workers=2, blocks_made=4, windows=16, decoded=8e6, read=4e6, read_promised=4e6,
    observed=4e6, reads=8, pixels=1e6, files=2, start=3.0, blocks=4.0, finish=1.0, publish=1.0, infer_cpu=4.0,
    read_cpu=1.0, write_cpu=0.1, other_cpu=1.0, others_cpu=0.0, read_wait=1.0, stored=1e6, pages=3e5, peak=6e8,
    peak_modelled=5e8,
)  # fmt: skip


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    import numpy as np

    folder = tmp_path_factory.mktemp("rates")
    world = World(folder / "world")
    for band in ("red", "nir"):
        world.add(np.full((64, 64), 0.3, np.float32), band, unit="reflectance")
    outputs = [{"name": "y", "classes": ["a", "b"], "tw:activation": "softmax"}]
    card = write_card(folder / "card", pointwise(), inputs=[{"name": "x", "bands": ["red", "nir"]}], outputs=outputs)
    return plan_job(pixel_job(world, card, folder / "out", rows=(0, 64), cols=(0, 64)))


def test_runs_are_kept_of_the_model_and_of_the_machine_and_the_latest_only(plan, tmp_path):
    for number in range(MOST_RUNS + 3):
        keep_run(plan, replace(RUN, start=1.0 + number), provider="cpu", cache=tmp_path)
    known = read_runs(plan, provider="cpu", cache=tmp_path)
    assert [run.start for run in known.of_model] == [4.0 + number for number in range(MOST_RUNS)]
    assert known.of_machine == known.of_model
    assert read_runs(plan, provider="cuda", cache=tmp_path) == KnownRuns()
    other = replace(plan, model=replace(plan.model, card={**plan.model.card, "sha256": "0" * 64}))
    assert read_runs(other, provider="cpu", cache=tmp_path) == KnownRuns(of_machine=known.of_model)


def changed(**values):
    return json.dumps({"format": 2, "runs": [{**asdict(RUN), **values}]})


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\0\xff", b"[" * 90_000, b"7", b"null", b"[]", b'{"format": 2}', b'{"format": 2, "runs": 5}',
        b'{"format": 2, "runs": [1, null, [], {}]}', b'{"format": 1, "runs": []}',
        changed(precision="fp64").encode(), changed(precision=8).encode(), changed(precision=["int8"]).encode(),
        changed(start=-1).encode(), changed(start=0).encode(), changed(start=float("nan")).encode(),
        changed(blocks=float("inf")).encode(), changed(peak=1e300).encode(), changed(windows="9").encode(),
        changed(workers=True).encode(), changed(workers=0.5).encode(), changed(blocks_made=0.9).encode(),
        changed(finish=5e-324).encode(), changed(kind="tape").encode(), changed(kind=["local"]).encode(),
        changed(more=1).encode(), changed(peak=10**400).encode(), changed().replace('"start"', '"begin"').encode(),
        changed().encode() + b" " * rates.MOST_BYTES,
    ],
)  # fmt: skip
def test_a_file_that_no_run_wrote_is_as_if_it_were_not_there(plan, tmp_path, content):
    keep_run(plan, RUN, provider="cpu", cache=tmp_path)
    for path in (tmp_path / "rates").iterdir():
        path.write_bytes(content)
    assert read_runs(plan, provider="cpu", cache=tmp_path) == KnownRuns()
    keep_run(plan, RUN, provider="cpu", cache=tmp_path)
    assert read_runs(plan, provider="cpu", cache=tmp_path).of_model == (RUN,)


def test_a_record_that_is_none_is_not_kept(plan, tmp_path):
    keep_run(plan, replace(RUN, blocks=float("nan")), provider="cpu", cache=tmp_path)
    assert read_runs(plan, provider="cpu", cache=tmp_path) == KnownRuns()


def test_runs_that_end_together_leave_whole_files(plan, tmp_path):
    where = {"provider": "cpu", "cache": tmp_path}
    ends = [threading.Thread(target=keep_run, args=(plan, RUN), kwargs=where) for _ in range(8)]
    for end in ends:
        end.start()
    for end in ends:
        end.join()
    known = read_runs(plan, provider="cpu", cache=tmp_path).of_model
    assert set(known) == {RUN}
    assert 1 <= len(known) <= 8
    assert {path.suffix for path in (tmp_path / "rates").iterdir()} == {".json"}


def test_a_cache_that_cannot_be_written_stops_nothing(plan, tmp_path):
    (tmp_path / "rates").write_text("a file where the folder should be")
    keep_run(plan, RUN, provider="cpu", cache=tmp_path)
    assert read_runs(plan, provider="cpu", cache=tmp_path).of_machine in {(), (RUN,)}


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([], AmountLine(fixed=1.0, slope=2.0)),
        ([(10.0, 42.0)], AmountLine(fixed=2.0, slope=4.0)),
        ([(1.0, 13.0), (2.0, 16.0), (9.0, 37.0)], AmountLine(fixed=10.0, slope=3.0)),
        # One run among five that was disturbed changes nothing.
        ([(1.0, 13.0), (2.0, 16.0), (9.0, 37.0), (4.0, 22.0), (5.0, 400.0)], AmountLine(fixed=10.0, slope=3.0)),
        # Less for more is no line: the prior, scaled.
        ([(1.0, 30.0), (5.0, 22.0), (10.0, 21.0)], AmountLine(fixed=30.0, slope=0.0)),
    ],
)  # fmt: skip
def test_a_line_is_robust(points, expected):
    found = line_of(points, AmountLine(fixed=1.0, slope=2.0))
    if len(points) == 3 and points[0][1] == 30.0:
        assert found.slope == 0.0
        assert found.fixed == 22.0
    else:
        assert (found.fixed, found.slope) == pytest.approx((expected.fixed, expected.slope))
