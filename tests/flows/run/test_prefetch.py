"""What is made for the end of a run while the model runs: after its first call, and what fails is told at the end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tilewright.flows.run import prefetch as ahead
from tilewright.flows.run.prefetch import Prefetch
from tilewright.flows.runners.worker import reopen_worker
from tilewright.tasks.block.block import Worker
from tilewright.tasks.plan import Plan
from tilewright.tasks.publish import publish
from tilewright.tasks.report import background


@pytest.fixture
def worker(whole: Path) -> Worker:
    return reopen_worker(str(whole), provider="cpu", batch=None, tolerance=0, read_threads=1)


def test_the_picture_is_that_of_the_plan(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Prefetch(worker).background() is None, "no scene of this product has red, green and blue"
    asked = []

    def picture(plan: Plan, *, max_size: int, **_: object) -> np.ndarray:
        asked.append((plan, max_size))
        return np.zeros((2, 3, 3), dtype=np.uint8)

    monkeypatch.setattr(background, "background_picture", picture)
    made = Prefetch(worker).background()
    assert made is not None
    assert made.shape == (2, 3, 3)
    assert asked == [(worker.plan, publish.PICTURE_SIZE)]


def test_nothing_begins_before_the_models_first_call(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "PATIENCE_S", 60.0)
    begun: list[bool] = []

    def picture(*_: object, **__: object) -> None:
        begun.append(worker.engine.pace.begun.is_set())

    monkeypatch.setattr(background, "background_picture", picture)
    work = Prefetch(worker)
    assert not begun
    with worker.engine.pace.timing(1, by_cpu=True):
        assert work.background() is None
    assert begun == [True]


def test_what_goes_wrong_is_raised_where_the_picture_is_wanted(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no picture today")

    monkeypatch.setattr(background, "background_picture", broken)
    work = Prefetch(worker)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no picture today"):
            work.background()
