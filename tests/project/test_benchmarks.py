"""Benchmarks are run by hand: what they take from the project is there all the same."""

from __future__ import annotations

from importlib import import_module

import pytest

from tests.support.paths import ROOT

NAMES = sorted(path.stem for path in (ROOT / "tests" / "benchmarks").glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_can_be_begun(name):
    pytest.importorskip("prefect", reason="some benchmarks take all extras")
    module = import_module(f"tests.benchmarks.{name}")
    assert module.__doc__, "a benchmark says what it measures"
