"""Open periods, intervals and tiny areas from the job to the report; the right values are those that were written."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from tests.support.graphs import Draft
from tests.support.worlds import World, layer, pixel_job, run, write_card
from tilewright.flows.job.job import JobError
from tilewright.flows.plan.make import plan_job

pytestmark = pytest.mark.usefixtures("small_pictures")
WHERE = {"rows": (8, 40), "cols": (8, 40)}
VALUES = {"2022-12-31": 1.0, "2023-03-10": 2.0, "2023-06-20": 4.0}


def card_of(folder: Path, *, n_in: int = 1, **dates: object) -> Path:
    """A card whose layer is the sum of the red of its steps."""
    draft = Draft()
    axes = draft.constant(np.array([1], np.int64))
    total = draft.node("ReduceSum", "x", axes, keepdims=1)
    model = draft.model(total, n_in=n_in, n_out=1)
    entry = {"name": "x", "bands": ["red"], "tw:collection": "optics", "tw:dates": dates or {"reducer": "mean"}}
    return write_card(folder, model, inputs=[entry], outputs=[{"name": "y", "tw:layers": ["sum"]}])


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path / "world")
    for day, value in VALUES.items():
        made.add(np.full((64, 64), value, np.float32), "red", day=day, unit="reflectance")
    return made


@pytest.mark.parametrize(
    ("period", "right"),
    [
        ("2023-01-01/..", (3.0, "2023-01-01T00:00:00Z/..", ("2023-01-01", "2023-06-20"))),
        ("../2023-05", (1.5, "../2023-05-31T23:59:59.999999Z", ("2022-12-31", "2023-05-31"))),
        ("/", (7 / 3, "../..", ("2022-12-31", "2023-06-20"))),
        ("P3M/2023-05", (2.0, "2023-03-01T00:00:00Z/2023-05-31T23:59:59.999999Z", ("2023-03-01", "2023-05-31"))),
        ("2022-Q4/2023-W10", (1.5, "2022-10-01T00:00:00Z/2023-03-12T23:59:59.999999Z", ("2022-10-01", "2023-03-12"))),
    ],
)
def test_a_composite_of_an_open_period_takes_what_there_is(world, tmp_path, period, right):
    mean, shown, step = right
    job = pixel_job(world, card_of(tmp_path / "card"), tmp_path / "out", period=period, **WHERE)
    assert np.allclose(layer(run(job).output, "sum"), mean, atol=1e-6)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["period"] == {"period": shown}
    assert tuple(report["steps"][0][end][:10] for end in ("start", "end")) == step
    item = json.loads((tmp_path / "out" / "item.json").read_text())["properties"]
    assert (item["start_datetime"][:10], item["end_datetime"][:10]) == step
    # The same job on another day is the same request: the frozen plan is followed.
    kept = (tmp_path / "out" / ".tilewright" / "plan.json").read_bytes()
    run(pixel_job(world, tmp_path / "card", tmp_path / "out", period=period, **WHERE))
    assert (tmp_path / "out" / ".tilewright" / "plan.json").read_bytes() == kept


def test_a_pair_may_be_open_on_both_sides(world, tmp_path):
    card = card_of(tmp_path / "card", n_in=2, kind="pair")
    period = {"before": "../2023-01", "after": "2023-06-01/.."}
    made = run(pixel_job(world, card, tmp_path / "out", period=period, **WHERE))
    assert np.allclose(layer(made.output, "sum"), 1 + 4)
    with pytest.raises(
        JobError, match=r"period-1 .2023-01-01/2023-06-30. and period-2 .2023-06-20/2023-12-31. overlap"
    ):
        plan_job(pixel_job(world, card, tmp_path / "x", period=["2023-01/2023-06", "2023-06-20/2023-12"], **WHERE))


@pytest.mark.parametrize("period", ["2023-01-01/..", "../2023", "/"])
def test_a_series_needs_both_ends(world, tmp_path, period):
    card = card_of(tmp_path / "card", n_in=2, kind="series", steps=2, every="month")
    with pytest.raises(JobError, match="cuts .* into steps: write both ends instead of"):
        plan_job(pixel_job(world, card, tmp_path / "out", period=period, **WHERE))


def test_an_interval_is_in_every_step_that_it_meets(tmp_path):
    world = World(tmp_path / "world")
    world.add(np.full((64, 64), 3.0, np.float32), "red", day="2023-01-01", unit="reflectance")
    world.files[0] |= {"datetime": None, "start_datetime": "2022-12-15", "end_datetime": "2023-02-03"}
    card = card_of(tmp_path / "card", n_in=2, kind="series", steps=2, every="month")
    made = run(pixel_job(world, card, tmp_path / "out", period="2023-01/2023-02", **WHERE))
    assert np.allclose(layer(made.output, "sum"), 3 + 3)
    scene = plan_job(pixel_job(world, card, tmp_path / "x", period="2023-01/2023-02", **WHERE)).inputs[0].scenes[0]
    assert scene.end == datetime(2023, 2, 3, 23, 59, 59, 999999, tzinfo=UTC)
