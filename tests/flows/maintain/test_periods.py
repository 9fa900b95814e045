"""Products of periods and of rows: which periods a watch looks at, and boxes in the columns of a table."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

import pytest

from tests.support.danube import WATER
from tests.support.paths import ROOT
from tilewright.flows.job.job import make_job
from tilewright.flows.job.template import TemplateError, periods_at
from tilewright.flows.maintain import watch
from tilewright.flows.maintain.backfill import BackfillError, backfill_jobs, read_table
from tilewright.flows.maintain.watch import WatchError, watch_once, watched_jobs

NOW = datetime(2026, 3, 3, tzinfo=UTC)

TEN = timedelta(days=10)


def slots(every, *within):
    found = periods_at(NOW, every=every, overlap=TEN, within=tuple(map(date.fromisoformat, within)) or None)
    return [(slot.label, slot.period, slot.closed) for slot in found]


def test_the_months_are_those_of_the_jobs_own_period_as_far_as_they_have_begun():
    assert slots("month", "2025-12-15", "2026-12-31") == [
        ("2025-12", "2025-12-15/2025-12-31", True),
        ("2026-01", "2026-01-01/2026-01-31", True),
        ("2026-02", "2026-02-01/2026-02-28", False),
        ("2026-03", "2026-03-01/2026-03-31", False),
    ]
    assert slots("month", "2021-06-01", "2021-06-30") == [("2021-06", "2021-06-01/2021-06-30", True)]
    assert slots("year", "2024-07-01", "2099-12-31")[0] == ("2024", "2024-07-01/2024-12-31", True)
    assert slots("month", "2027-01-01", "2027-12-31") == []
    assert slots("month") == [
        ("2026-02", "2026-02-01/2026-02-28", False),
        ("2026-03", "2026-03-01/2026-03-31", False),
    ]
    with pytest.raises(TemplateError, match="more than 1,000 products"):
        slots("day", "2020-01-01", "2026-01-01")


def job(tmp_path, **more):
    return {**WATER, "name": "w-{period}", "output": str(tmp_path / "{period}"), "source": "earth-search", **more}


@pytest.mark.parametrize(
    ("period", "labels"),
    [
        ("2026-01-20/..", ["2026-01", "2026-02", "2026-03"]),
        ("2025-12/2026-01", ["2025-12", "2026-01"]),
        ("{period}", ["2026-02", "2026-03"]),
        (None, ["2026-02", "2026-03"]),
    ],
)
def test_a_template_with_a_period_is_divided_and_one_without_gets_the_present_ones(tmp_path, period, labels):
    plain = job(tmp_path, period=period)
    if period is None:
        del plain["period"]
    found = watched_jobs(plain, base=tmp_path, now=NOW, every="month", overlap=TEN)
    assert [each.name for each, _ in found] == [f"w-{label}" for label in labels]


@pytest.mark.parametrize(
    ("period", "words"),
    [
        ("../2026-01-01", "has no first day"),
        (["2026-01", "2026-02"], "divides one period"),
        ({"before": "2025", "after": "2026"}, "divides one period"),
        ("soon", "divides one period"),
    ],
)
def test_what_cannot_be_divided_is_refused(tmp_path, period, words):
    with pytest.raises(WatchError, match=words):
        watched_jobs(job(tmp_path, period=period), base=tmp_path, now=NOW, every="month", overlap=TEN)


def test_a_month_that_is_over_and_made_is_not_searched_again(tmp_path, monkeypatch):
    searched = []

    def update(job, **_):
        searched.append(job.name)
        return watch.WatchResult(name=job.name, output=job.output_uri, state="empty")

    monkeypatch.setattr(watch, "_update_product", update)
    monkeypatch.setattr(watch, "_is_finished", lambda job: job.name in {"w-2026-01", "w-2026-03"})
    results = watch_once(job(tmp_path, period="2025-12/.."), base=tmp_path, now=NOW, every="month", overlap=TEN)
    assert searched == ["w-2025-12", "w-2026-02", "w-2026-03"]
    assert [result.state for result in results] == ["empty", "unchanged", "empty", "empty"]


@pytest.mark.parametrize(
    "table",
    [
        "name,west,south,east,north\na,13.1,48.2,13.2,48.3\n",
        "name,minx,miny,maxx,maxy\na,13.1,48.2,13.2,48.3\n",
        'name,area\na,"13.1,48.2,13.2,48.3"\n',
        "name, area\na, 13.1 48.2 13.2 48.3\n",
    ],
)
def test_a_box_stands_in_four_columns_or_in_one(tmp_path, table):
    (tmp_path / "t.csv").write_text(table)
    (plain,) = backfill_jobs({"period": "2021-06", "source": "s", "model": "m"}, read_table(tmp_path / "t.csv"))
    assert make_job(plain, base=tmp_path).area.bbox == (13.1, 48.2, 13.2, 48.3)
    assert plain["area"] == [13.1, 48.2, 13.2, 48.3]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("name,area\na,13.1,48.2,13.2,48.3\n", "more values than the table has columns: put an area with commas"),
        ("name,west,south\na,1,2\n", "has west, south: a box has west,south,east,north"),
        ("name,west,south,east,north,area\na,1,2,3,4,33UUP\n", "and no area"),
    ],
)
def test_half_a_box_is_refused_in_one_sentence(tmp_path, table, words):
    (tmp_path / "t.csv").write_text(table)
    with pytest.raises(BackfillError, match=words):
        read_table(tmp_path / "t.csv")


def test_the_table_of_the_readme_is_one(tmp_path):
    text = (ROOT / "flows" / "README.md").read_text()
    (table,) = re.findall(r"```csv\n(.*?)```", text, re.DOTALL)
    (tmp_path / "t.csv").write_text(table)
    template = {"source": "earth-search", "model": "ndwi-water", "output": "out/{name}"}
    jobs = [make_job(plain, base=tmp_path) for plain in backfill_jobs(template, read_table(tmp_path / "t.csv"))]
    assert len(jobs) == 3
    assert len({job.output_uri for job in jobs}) == 3
