"""Garbage is collected again after a start, also where one start lies inside another or fails."""

from __future__ import annotations

import gc

import pytest

from tilewright.flows.machine import without_collecting


def test_collecting_goes_on_as_it_was() -> None:
    assert gc.isenabled()
    with without_collecting():
        assert not gc.isenabled()
        with without_collecting():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(KeyError), without_collecting():
        raise KeyError
    assert gc.isenabled()
    gc.disable()
    try:
        with without_collecting():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
