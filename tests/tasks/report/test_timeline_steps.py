from __future__ import annotations

from typing import Any

import pytest

from tests.support.report_pages import HOSTILE, REPORT, Page, assert_loads_nothing, page
from tilewright.tasks.report.timeline import step_table, timeline


def saw(name: str, days: list[str], percent: float | None, mean: float | None) -> dict[str, Any]:
    return {"name": name, "days": days, "observed_percent": percent, "mean_observations": mean}


def step(label: str, *inputs: dict[str, Any], span: str = "2021-06-01/2021-06-30") -> dict[str, Any]:
    start, end = span.split("/")
    days = sorted({day for entry in inputs for day in entry["days"]})
    return {"label": label, "start": start, "end": end, "days": days, "inputs": list(inputs)}


JUNE = step("2021-06", saw("x", ["2021-06-07", "2021-06-17"], 87.25, 1.437))
JULY = step("2021-07", saw("x", [], 0.0, 0.0), span="2021-07-01/2021-07-31")


def section(found: Page) -> str:
    """The text of the page between the headings Steps and Exactness."""
    return found.text.partition(" Steps ")[2].partition(" Exactness ")[0]


@pytest.mark.parametrize("shown", ["2021-06", "2 days", "7 Jun 2021, 17 Jun 2021", "87.2 %", "1.44", "0 days", "0.0 %"])
def test_every_step_shows_its_days_and_coverage(shown: str) -> None:
    assert shown in section(page({**REPORT, "steps": [JUNE, JULY]}))


def test_inputs_with_the_same_coverage_share_a_row_and_others_are_named() -> None:
    days = ["2021-06-07"]
    radar = saw("radar", ["2021-06-09"], 100.0, 1.0)
    table = step_table({"steps": [step("june", saw("a", days, 50.0, 0.5), saw("b", days, 50.0, 0.5), radar)]})
    assert [(row.inputs, row.observed) for row in table.rows] == [("a, b", 50.0), ("radar", 100.0)]
    assert table.several
    assert not step_table({"steps": [JUNE, JULY]}).several


def test_a_missing_figure_is_a_dash_and_no_bar() -> None:
    unknown = {**REPORT, "steps": [step("june", saw("x", ["2021-06-07"], None, None))]}
    assert section(page(unknown)).count("–") == 2
    assert section(page({**REPORT, "steps": [{**JUNE, "inputs": []}]})) == "", "an older report says nothing of inputs"


def test_a_hundred_days_are_counted_and_not_all_listed() -> None:
    days = [f"20{year}-{month:02d}-01" for year in range(15, 25) for month in range(1, 11)]
    (row,) = step_table({"steps": [step("long", saw("x", days, 1.0, 1.0))]}).rows
    assert row.n_days == 100
    assert row.days.endswith("and 69 more")


def test_a_step_without_days_takes_no_place_on_the_line() -> None:
    never = step("static", saw("dem", [], 0.0, 0.0), span="1970-01-01/1970-01-01")
    line = timeline({"scenes": REPORT["scenes"], "steps": [JUNE, never]})
    assert [period.label for period in line.periods] == ["2021-06"]
    assert all("1970" not in tick.label for tick in line.ticks)


@pytest.mark.parametrize("nonsense", [None, 3, "x", [], {}, [1, None], {"a": [1]}, HOSTILE, [HOSTILE]])
def test_hostile_steps_are_shown_and_never_obeyed(nonsense: object) -> None:
    inputs = [{"name": nonsense, "days": nonsense, "observed_percent": nonsense, "mean_observations": nonsense}]
    for steps in (nonsense, [{"label": nonsense, "days": nonsense, "inputs": nonsense}], [{**JUNE, "inputs": inputs}]):
        found = page({**REPORT, "steps": steps})
        assert_loads_nothing(found)
        assert len(found.all("script")) == 2
