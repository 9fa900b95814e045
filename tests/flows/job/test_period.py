"""Periods as people write them; each right value is read off a calendar, not computed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import yaml

from tilewright.flows.job.job import Job, JobError, make_job
from tilewright.flows.job.period import OPEN_END, OPEN_START, JobPeriod

GOOD = {"area": [13.1, 48.2, 13.2, 48.3], "source": "s", "model": "m"}
FIRST, LAST = "1900-01-01T00:00:00", "2199-12-31T23:59:59.999999"


def read(tmp_path, written: str) -> Job:
    """The job whose period is written so in YAML."""
    return make_job({**GOOD, "period": yaml.safe_load(f"p: {written}")["p"]}, base=tmp_path)


@pytest.mark.parametrize(
    ("written", "start", "end"),
    [
        # Days, weeks, months, quarters, years, as YAML has them: text, numbers, dates.
        ("2020-02-29", "2020-02-29T00:00:00", "2020-02-29T23:59:59.999999"),
        ("20200229", "2020-02-29T00:00:00", "2020-02-29T23:59:59.999999"),
        ("'20191230/20200105'", "2019-12-30T00:00:00", "2020-01-05T23:59:59.999999"),
        ("2020-02", "2020-02-01T00:00:00", "2020-02-29T23:59:59.999999"),
        ("1999", "1999-01-01T00:00:00", "1999-12-31T23:59:59.999999"),
        ("2019/2020-02", "2019-01-01T00:00:00", "2020-02-29T23:59:59.999999"),
        ("2020-W01", "2019-12-30T00:00:00", "2020-01-05T23:59:59.999999"),
        ("2020W537", "2021-01-03T00:00:00", "2021-01-03T23:59:59.999999"),
        ("2020-W53/2021-W01", "2020-12-28T00:00:00", "2021-01-10T23:59:59.999999"),
        ("2020-Q1", "2020-01-01T00:00:00", "2020-03-31T23:59:59.999999"),
        ("2019q4/2020-Q2", "2019-10-01T00:00:00", "2020-06-30T23:59:59.999999"),
        ("2020-060", "2020-02-29T00:00:00", "2020-02-29T23:59:59.999999"),
        ("2021060", "2021-03-01T00:00:00", "2021-03-01T23:59:59.999999"),
        # Less than a day.
        ("2020-02-29T23", "2020-02-29T23:00:00", "2020-02-29T23:59:59.999999"),
        ("'2020-02-29 09:30'", "2020-02-29T09:30:00", "2020-02-29T09:30:59.999999"),
        ("2020-02-29T00:30+02:00/2020-03-01", "2020-02-28T22:30:00", "2020-03-01T23:59:59.999999"),
        ("20200229T093000z", "2020-02-29T09:30:00", "2020-02-29T09:30:00"),
        ("'2020-02-29T09:30:00.1234567Z'", "2020-02-29T09:30:00.123456", "2020-02-29T09:30:00.123456"),
        ("2020-02-29 12:00:00+02:00", "2020-02-29T10:00:00", "2020-02-29T10:00:00"),
        ("2020-02-01/2020-02-29T24:00", "2020-02-01T00:00:00", "2020-03-01T00:00:00"),
        # Open ends.
        ("2020-02-29/..", "2020-02-29T00:00:00", LAST),
        ("2020-02/", "2020-02-01T00:00:00", LAST),
        ("../2020-02", FIRST, "2020-02-29T23:59:59.999999"),
        ("/2020-W01", FIRST, "2020-01-05T23:59:59.999999"),
        ("/", FIRST, LAST),
        ("' .. / .. '", FIRST, LAST),
        # Lengths.
        ("2020-02-01/P1M", "2020-02-01T00:00:00", "2020-02-29T23:59:59.999999"),
        ("P1M/2020-02-29", "2020-02-01T00:00:00", "2020-02-29T23:59:59.999999"),
        ("P10D/2020-03-05", "2020-02-25T00:00:00", "2020-03-05T23:59:59.999999"),
        ("2020-12/P3M", "2020-12-01T00:00:00", "2021-02-28T23:59:59.999999"),
        ("2020-02-24/P2W", "2020-02-24T00:00:00", "2020-03-08T23:59:59.999999"),
        ("2019-02-15/P1Y14D", "2019-02-15T00:00:00", "2020-02-28T23:59:59.999999"),
        ("2020-02-28T18/PT36H", "2020-02-28T18:00:00", "2020-03-01T05:59:59.999999"),
        ("P1D/2020-03-01T06:00:00Z", "2020-02-29T06:00:00", "2020-03-01T06:00:00"),
        ("2020-01-31/P1M", "2020-01-31T00:00:00", "2020-02-28T23:59:59.999999"),
    ],
)
def test_a_period_is_the_span_that_its_text_names(tmp_path, written, start, end):
    (period,) = read(tmp_path, written).period
    assert period.start == datetime.fromisoformat(start).replace(tzinfo=UTC)
    assert period.end == datetime.fromisoformat(end).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "written",
    [
        *("06/2021", "1.6.2021", "2021/06/30", "2021-06-01/2021/06/30", "202106", "2021-6-1", "2021-13", "2021-00"),
        *("2021-06-01 to 2021-06-30", "2021-Q5", "2021-Q0", "2021-W54", "2019-W53", "2021-366", "2021-000", "21-06-01"),
        *("2021-06T12", "2021T12", "2021-06-01T25", "2021-06-01T10:61", "2021-06-01T1", "12:30", "2021.06", "yes", "~"),
        *(
            "now",
            "..",
            "P1M",
            "P1M/P1D",
            "../P1M",
            "P1M/..",
            "2021/P0D",
            "2021/P",
            "2021/PT",
            "2021/-P1D",
            "2021/P1.5D",
        ),
        *("P999Y/2021", "2021/P99999Y", "0021", "3021", "[]", "{}", "[[2021]]", "{before: ~}", "'2021-06-01/30'"),
        *("{start: 2021-06-01, end: 2021-06-30}", "{from: 2021, to: 2022}", "{before: {start: 2021}}", "[2021, ~]"),
        *("{start: 2021-06-01, stop: 2021-06-30}", "{Start: 2021, End: 2022}", "{from: 2021-06, until: 2021-08}"),
        *("{start_date: 2021-06-01, end_date: 2021-06-30}", "{start_datetime: 2021, end_datetime: 2022}"),
        *("{min: 2021, max: 2022}", "{startDate: 2021-06, endDate: 2021-07}", "{begin: 2021, to: 2022}"),
        *("'２０２１'", "2021-06-01--2021-06-30", "2021-06-01Z", "R3/2021/P1M"),
    ],
)
def test_anything_else_is_refused_with_the_forms_there_are(tmp_path, written):
    with pytest.raises(
        JobError, match=r"period.*2021-06-01/2021-06-30 \(both ends included\).*2021-W22.*2021-06-01/\.\."
    ):
        read(tmp_path, written)


@pytest.mark.parametrize(
    "written", ["2021-06-30/2021-06-29", "2021-07/2021-Q2", "2022/2021", "2021-06-30T12/2021-06-29"]
)
def test_a_reversed_period_is_refused(tmp_path, written):
    with pytest.raises(JobError, match="ends before it starts: write the earlier date first"):
        read(tmp_path, written)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("2022-06", "2021-06"),
        ("2021-06", "2021-06"),
        ("2021-06", "2021-W26"),
        ("2021-06-01/..", "2021-09"),
        ("2021-06", "../2021-09"),
        ("2021-06-01/2021-09-30", "2021-07"),
    ],
)
def test_before_that_does_not_end_before_after_is_refused(tmp_path, before, after):
    with pytest.raises(JobError, match="reversed, overlap or are the same period"):
        make_job({**GOOD, "period": {"after": after, "before": before}}, base=tmp_path)
    make_job({**GOOD, "period": {"after": "2021-07-01/..", "before": "../2021-06"}}, base=tmp_path)


@pytest.mark.parametrize("keys", [("start", "late"), ("spring", "end"), ("today", "monday"), ("max", "moritz")])
def test_one_word_for_an_end_is_a_name_like_any_other(tmp_path, keys):
    found = read(tmp_path, f"{{{keys[0]}: 2021-06, {keys[1]}: 2021-08}}").period
    assert [(period.name, period.start.month) for period in found] == [(keys[0], 6), (keys[1], 8)]


def test_a_list_names_several_periods(tmp_path):
    periods = read(tmp_path, "[2021-06-01, 2022, 2023-06/..]").period
    assert [(p.name, p.text) for p in periods] == [
        ("period-1", "2021-06-01/2021-06-01"),
        ("period-2", "2022-01-01/2022-12-31"),
        ("period-3", "2023-06-01/.."),
    ]


@pytest.mark.parametrize(
    "written", ["2021-06-01/..", "../2021-06", "/", "2021-06-30T12", "2021-Q2", "2021-06-01T10:00:00.5Z"]
)
def test_the_request_of_a_job_gives_the_same_periods_again(tmp_path, written):
    job = read(tmp_path, written)
    plain = job.request()["period"]
    assert plain == read(tmp_path, written).request()["period"]
    assert make_job({**GOOD, "period": plain}, base=tmp_path).period == job.period


def test_an_open_end_is_written_as_one_and_no_clock_is_read(tmp_path):
    (period,) = read(tmp_path, "2021-06-01/..").period
    assert period.model_dump(mode="json") == {"name": "period", "start": "2021-06-01T00:00:00Z", "end": ".."}
    assert period.known_ends == (datetime(2021, 6, 1, tzinfo=UTC), None)
    assert read(tmp_path, "/").period[0].known_ends == (None, None)
    assert (OPEN_START.year, OPEN_END.year) == (1900, 2199)


def test_dates_of_a_period_given_by_its_fields_are_whole_days():
    period = JobPeriod.model_validate({"name": "x", "start": "2021-06-01", "end": "2021-06-30"})
    assert period.end == datetime(2021, 6, 30, 23, 59, 59, 999999, tzinfo=UTC)
    with pytest.raises(ValueError, match="ends before it starts"):
        JobPeriod.model_validate({"name": "x", "start": "2021-06-02", "end": "2021-06-01"})
