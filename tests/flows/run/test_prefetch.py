"""What is made for the end of a run while the model runs: after its first call, and what fails is told at the end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tilewright.flows.run import prefetch
from tilewright.flows.run.prefetch import Prefetch
from tilewright.flows.runners.worker import reopen_worker
from tilewright.tasks.block.worker import Worker, WorkerSettings
from tilewright.tasks.plan.plan import Plan
from tilewright.tasks.publish import publish
from tilewright.tasks.read.access import Access
from tilewright.tasks.report import background


@pytest.fixture
def worker(whole: Path) -> Worker:
    return reopen_worker(str(whole), WorkerSettings(provider="cpu", read_threads=1))


def test_the_picture_is_that_of_the_plan(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    with Prefetch(worker) as later:
        assert later.background() is None, "no scene of this product has red, green and blue"
    asked = []

    def picture(plan: Plan, access: Access, *, max_size: int) -> np.ndarray:
        asked.append((plan, max_size))
        return np.zeros((2, 3, 3), dtype=np.uint8)

    monkeypatch.setattr(background, "background_picture", picture)
    with Prefetch(worker) as later:
        made = later.background()
    assert made is not None
    assert made.shape == (2, 3, 3)
    assert asked == [(worker.plan, publish.PICTURE_SIZE)]


def test_nothing_begins_before_the_models_first_call(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetch, "PATIENCE_S", 60.0)
    begun: list[bool] = []

    def picture(*_: object, **__: object) -> None:
        begun.append(worker.model.timer.begun.is_set())

    monkeypatch.setattr(background, "background_picture", picture)
    with Prefetch(worker) as later:
        assert not begun
        with worker.model.timer.timing(1, by_cpu=True):
            assert later.background() is None
    assert begun == [True]


def test_what_goes_wrong_is_raised_where_the_picture_is_wanted(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no picture today")

    monkeypatch.setattr(background, "background_picture", broken)
    with Prefetch(worker) as later:
        for _ in range(2):
            with pytest.raises(RuntimeError, match="no picture today"):
                later.background()
