"""Publishing prepared while the model runs: it begins after the first call, and its errors are raised at the end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tilewright.flows.run import prefetch as prefetch_module
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
    with Prefetch(worker) as prefetched:
        assert prefetched.background() is None, "no scene of this product has red, green and blue"
    calls = []

    def picture(plan: Plan, access: Access, *, max_size: int) -> np.ndarray:
        calls.append((plan, max_size))
        return np.zeros((2, 3, 3), dtype=np.uint8)

    monkeypatch.setattr(background, "background_picture", picture)
    with Prefetch(worker) as prefetched:
        shown = prefetched.background()
    assert shown is not None
    assert shown.shape == (2, 3, 3)
    assert calls == [(worker.plan, publish.PICTURE_SIZE)]


def test_nothing_begins_before_the_models_first_call(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetch_module, "FIRST_CALL_TIMEOUT_S", 60.0)
    begun: list[bool] = []

    def picture(*_: object, **__: object) -> None:
        begun.append(worker.model.timer.begun.is_set())

    monkeypatch.setattr(background, "background_picture", picture)
    with Prefetch(worker) as prefetched:
        assert not begun
        with worker.model.timer.timing(1, by_cpu=True):
            assert prefetched.background() is None
    assert begun == [True]


def test_what_goes_wrong_is_raised_where_the_picture_is_wanted(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no picture today")

    monkeypatch.setattr(background, "background_picture", broken)
    with Prefetch(worker) as prefetched:
        for _ in range(2):
            with pytest.raises(RuntimeError, match="no picture today"):
                prefetched.background()


def test_a_thread_that_died_before_it_could_answer_is_not_awaited(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Python leaves one for which memory ran out at its birth: seen with 12 MB to spare."""
    monkeypatch.setattr(prefetch_module._Aside, "_run", lambda _: None)
    with Prefetch(worker) as prefetched, pytest.raises(MemoryError, match="tilewright-prefetch"):
        prefetched.scene_image()


def test_an_import_that_fails_early_in_whatever_way_is_left_to_publishing(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: str) -> None:
        raise SystemError("initialization failed without raising an exception")

    monkeypatch.setattr(prefetch_module, "import_module", broken)
    with Prefetch(worker) as prefetched:
        assert prefetched.background() is None
