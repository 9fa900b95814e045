"""A run in a notebook: a few pictures a second, the last of which tells what was done."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

import tilewright as tw
from tests.support.products import read
from tests.support.report_pages import HOSTILE
from tilewright.flows.notebook.live import MOST_NOTICES, Live, live
from tilewright.flows.run.predict import run_job
from tilewright.tasks.progress import Advance, Notice, Stage


@pytest.fixture
def pictures():
    return []


def test_a_run_tells_its_stages_and_ends_with_their_seconds(job, pictures, small_pictures, tmp_path):
    listener = Live(title="small", show=pictures.append)
    run_job(read(job, tmp_path / "out"), listener=listener)
    listener.close()
    assert any("<progress" in picture for picture in pictures)
    for words in ("Planning", "Mapping blocks", "Publishing"):
        assert words in pictures[-1]
    assert "<progress" not in pictures[-1], "nothing is under way"


def test_a_stage_of_many_units_is_drawn_a_few_times_a_second(pictures):
    moments = iter(range(10**6))
    listener = Live(title="x", show=pictures.append, clock=lambda: next(moments) / 1000)
    listener(Stage(name="blocks", total=5000))
    for _ in range(5000):
        listener(Advance())
    assert len(pictures) < 40
    listener(Advance(done=9000))
    listener._draw(now=True)
    assert "5000 of 5000" in pictures[-1], "more units than were told are no more than all"


def test_notices_are_words_and_few(pictures):
    listener = Live(title=HOSTILE, show=pictures.append)
    for _ in range(MOST_NOTICES + 3):
        listener(Notice(text=HOSTILE))
    assert "<script" not in pictures[-1]
    assert "and 3 more notices" in pictures[-1]


def test_outside_a_notebook_nothing_is_drawn(monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert live("x") is None
    # A terminal of IPython has a shell without a kernel.
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=SimpleNamespace))
    assert live("x") is None
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    assert live("x") is None


def test_the_sample_is_found_in_the_cache(sample, tmp_path, monkeypatch):
    monkeypatch.setenv("TILEWRIGHT_CACHE", str(tmp_path))
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "sample").symlink_to(sample)
    assert tw.sample_catalog() == str(tmp_path / "demo" / "sample" / "catalog.json")
