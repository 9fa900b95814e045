from __future__ import annotations

import pytest

from tests.support.report_pages import HOSTILE, REPORT, assert_loads_nothing, page
from tilewright.tasks.report.promise_table import promise_table

PROMISED = {"seconds": 60.0, "bytes_read": 2e6, "bytes_stored": 3e5, "peak_memory_mb": 500.0, "basis": "from 3 runs"}
MEASURED = {"seconds": 90.0, "bytes_read": 2e6, "bytes_stored": 1.5e5, "peak_memory_mb": 450.0}
RATIOS = {"seconds": 1.5, "bytes_read": 1.0, "bytes_stored": 0.5, "peak_memory_mb": None}


def test_each_amount_stands_beside_its_promise():
    table = promise_table({"promised": PROMISED, "measured": MEASURED, "ratios": RATIOS})
    assert [(row.name, row.ratio) for row in table.rows] == [
        ("Time", 1.5), ("Read, compressed", 1.0), ("Stored, without pages", 0.5), ("Peak memory", None),
    ]  # fmt: skip
    assert table.basis == "from 3 runs"
    found = page({**REPORT, "promised": PROMISED, "measured": MEASURED, "ratios": RATIOS}).text
    shown = found.partition("Until this report was written")[2].partition("Foretold from 3 runs.")[0]
    assert [word for word in shown.split() if word in {"1.50", "1.00", "0.50", "–"}] == ["1.50", "1.00", "0.50", "–"]


@pytest.mark.parametrize(
    "promised", [None, {}, [], "x", {"seconds": None}, {"seconds": "soon"}, {"seconds": float("nan")}, {"basis": "x"}]
)
def test_without_a_promise_there_is_no_table(promised):
    report = {**REPORT, "promised": promised, "measured": MEASURED, "ratios": {}}
    assert promise_table(report).rows == ()
    assert "Until this report was written" not in page(report).text


def test_a_basis_is_text(tmp_path):
    del tmp_path
    hostile = {**REPORT, "promised": {**PROMISED, "basis": HOSTILE}, "measured": MEASURED, "ratios": RATIOS}
    assert_loads_nothing(page(hostile))
