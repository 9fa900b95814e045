"""Garbage is collected again after a start, also where one start lies inside another or fails."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.graphs import pointwise
from tests.support.worlds import World, pixel_job, run, write_card
from tilewright.flows.machine import garbage_collector_off


def test_collecting_goes_on_as_it_was() -> None:
    assert gc.isenabled()
    with garbage_collector_off():
        assert not gc.isenabled()
        with garbage_collector_off():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(KeyError), garbage_collector_off():
        raise KeyError
    assert gc.isenabled()
    gc.disable()
    try:
        with garbage_collector_off():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_process_of_one_run_spares_the_collector_what_stands() -> None:
    code = (
        "import gc; from tilewright.flows.machine import spare_collector; spare_collector(); "
        "print(gc.get_freeze_count(), gc.get_threshold(), gc.isenabled())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    frozen, rest = done.stdout.split(" ", 1)
    assert int(frozen) > 10_000
    assert rest.split() == ["(20000,", "20,", "100)", "True"]


def test_a_run_in_a_process_of_others_leaves_their_collector_alone(tmp_path: Path) -> None:
    before = gc.get_freeze_count(), gc.get_threshold()
    world = World(tmp_path / "world")
    world.add(np.full((64, 64), 900, np.uint16), "red", day="2023-06-01", nodata=0, scale=0.0001, unit="reflectance")
    card = write_card(
        tmp_path / "card", pointwise(1), inputs=[{"name": "x", "bands": ["red"]}],
        outputs=[{"name": "y", "classes": ["a", "b"], "tw:activation": "softmax"}], tile={"step": 64},
    )  # fmt: skip
    run(pixel_job(world, card, tmp_path / "out", rows=(0, 64), cols=(0, 64)))
    # Objects that another test froze may end meanwhile; none is added.
    assert gc.get_freeze_count() <= before[0]
    assert gc.get_threshold() == before[1]
