"""Garbage is collected again after a start, also where one start lies inside another or fails."""

from __future__ import annotations

import gc

import pytest

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
