from __future__ import annotations

import pytest

from tests.support.report_pages import REPORT, page
from tilewright.tasks.report.timeline import timeline


def test_three_hundred_scenes_fold_their_table_and_keep_their_marks() -> None:
    scenes = [
        {"id": f"S{n}", "datetime": f"2022-{n % 12 + 1:02d}-01T00:00:00Z", "cloud_cover": n % 101} for n in range(300)
    ]
    found = page({**REPORT, "scenes": scenes})
    assert len([1 for tag in found.all("circle") if "cx" in tag and "%" in (tag["cx"] or "")]) == 300
    assert "All 300 scenes" in found.text


def test_scenes_without_cloud_cover_make_a_line_and_no_chart() -> None:
    scenes = [{"id": "S1A", "datetime": "2023-04-03T05:00:00Z", "cloud_cover": None}]
    found = page({**REPORT, "scenes": scenes})
    assert "median cloud" not in found.text
    assert "cloud cover" not in found.text
    assert "clear" not in found.text
    assert [tag for tag in found.all("rect") if (tag.get("class") or "").startswith("mark")]


def test_marks_are_in_order_of_time_within_their_period() -> None:
    scenes = [
        {"id": "late", "datetime": "2021-09-25T00:00:00Z", "step": "after"},
        {"id": "early", "datetime": "2021-06-17T00:00:00Z", "step": "before"},
    ]
    line = timeline({"scenes": scenes, "period": {"before": "2021-06-01/2021-06-30", "after": "2021-09-01/2021-09-30"}})
    assert [mark.id for mark in line.marks] == ["early", "late"]
    for mark, period in zip(line.marks, line.periods, strict=True):
        assert mark.at is not None
        assert period.at < mark.at < period.at + period.width
        assert mark.colour == period.colour
    assert line.marks[0].colour != line.marks[1].colour


@pytest.mark.parametrize(
    "dates", [["0001-01-01", "9999-12-31"], ["2021-06-17"], ["2015-07-01", "2026-01-01"], ["2021-12-31", "2022-01-01"]]
)
def test_ticks_are_few_whatever_the_length(dates: list[str]) -> None:
    line = timeline({"scenes": [{"id": day, "datetime": day} for day in dates]})
    assert 1 <= len(line.ticks) <= 9
    assert all(0 <= mark.at <= 100 for mark in line.marks if mark.at is not None)
