"""The promises in report.json: what was foretold, what was measured, and the ratios where they mean something."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tilewright.tasks.publish.report_json import RunFacts, _promises

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MEASURED = {"seconds": 9.0, "bytes_read": 4.0, "bytes_stored": 0.0, "peak_memory_mb": 500.0}


def facts(**more):
    return RunFacts(began=NOW, finished=NOW, seconds=9.0, n_workers=2, peak_memory=1, **more)


@pytest.mark.parametrize(
    ("promised", "whole", "ratios"),
    [
        ({"seconds": 6.0, "bytes_read": 4.0, "bytes_stored": 2.0, "peak_memory_mb": 250.0}, True, [1.5, 1.0, 0.0, 2.0]),
        ({"seconds": 6.0, "bytes_read": 4.0, "bytes_stored": 2.0, "peak_memory_mb": 250.0}, False, [None] * 4),
        ({"seconds": 6.0, "bytes_read": 0.0, "peak_memory_mb": None}, True, [1.5, None, None, None]),
        (None, True, [None] * 4),
    ],
)
def test_ratios_are_of_measured_to_promised(promised, whole, ratios):
    found = _promises(facts(promised=promised, measured=MEASURED), whole=whole)
    assert list(found["ratios"].values()) == ratios
    assert list(found["ratios"]) == list(found["measured"]) == list(MEASURED)
    assert found["promised"] == promised


def test_a_run_that_measured_nothing_says_nothing():
    assert _promises(facts(), whole=True) == {}
