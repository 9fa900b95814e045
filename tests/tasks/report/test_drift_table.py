"""The table of inputs beside the training's: hostile or missing values give a row or none, never a broken page."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tilewright.tasks.report.render import render_report
from tilewright.tasks.report.timeline import drift_table

BAND = {
    "band": "nir", "mean": 0.2, "stddev": 0.1, "expected": {"mean": 0.316, "stddev": 0.116},
    "difference": -1.0, "ratio": 0.86, "outside_percent": None, "far": "mean",
}  # fmt: skip


def test_a_band_has_its_values_and_a_bar_from_minus_to_plus_five_deviations():
    (row,) = drift_table({"drift": [{"input": "x", "bands": [BAND]}]})
    assert (row.input, row.band, row.far) == ("x", "nir", True)
    assert (row.found, row.expected, row.apart) == ("0.2 ± 0.1", "0.316 ± 0.116", "-1.00 deviations")
    assert row.bar == pytest.approx((50 - 18.6, 17.2, 40.0))
    page = render_report({"drift": [{"input": "x", "bands": [BAND]}]}, maps={})
    assert '<section id="drift">' in page
    assert '<section id="drift">' not in render_report({}, maps={})


@pytest.mark.parametrize(
    "changes",
    [
        {"difference": 1e300, "ratio": 1e300},
        {"difference": math.nan, "ratio": math.inf},
        {"difference": "far", "ratio": []},
        {"ratio": -3.0},
        {"expected": None, "mean": "<b>", "stddev": {}},
        {"expected": {"minimum": 0, "maximum": "x"}, "outside_percent": 1e9},
        {"band": "<script>alert(1)</script>", "far": "\x1b[31m"},
        {"band": ["x"], "far": []},
    ],
)
def test_any_value_gives_a_page(changes: dict[str, Any]):
    report = {"drift": [{"input": "<i>", "bands": [{**BAND, **changes}, "text", 5]}, "text", None, {"bands": 3}]}
    for row in drift_table(report):
        assert row.bar is None or all(0 <= part <= 100 for part in row.bar)
    page = render_report(report, maps={})
    assert "<script>alert" not in page
    assert "<i>" not in page.partition('<section id="drift">')[2].partition("</section>")[0]
