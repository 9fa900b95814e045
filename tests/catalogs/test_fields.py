"""Instants and intervals as providers write them."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from tilewright.catalogs.fields import TwiceError, instant, last_instant, load_json, stated_span


def utc(*fields: int) -> datetime:
    return datetime(*fields, tzinfo=UTC)  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    ("written", "right"),
    [
        ("2020-02-29T10:05:59Z", utc(2020, 2, 29, 10, 5, 59)),
        ("2020-02-29t10:05:59z", utc(2020, 2, 29, 10, 5, 59)),
        ("2020-02-29 10:05:59", utc(2020, 2, 29, 10, 5, 59)),
        ("  2020-02-29   10:05:59  z ", utc(2020, 2, 29, 10, 5, 59)),
        ("2020-02-29 10:05:59 UTC", utc(2020, 2, 29, 10, 5, 59)),
        ("2020-02-29 10:05:59 +0530", utc(2020, 2, 29, 4, 35, 59)),
        ("2020-02-29T23:30:00-03", utc(2020, 3, 1, 2, 30)),
        ("2020-02-29T23:30:00-00:30", utc(2020, 3, 1)),
        ("2020-02-29T10:05Z", utc(2020, 2, 29, 10, 5)),
        ("20200229T100559Z", utc(2020, 2, 29, 10, 5, 59)),
        ("2020-02-29T10:05:59,5Z", utc(2020, 2, 29, 10, 5, 59, 500000)),
        ("2020-02-29T10:05:59.1234567890123Z", utc(2020, 2, 29, 10, 5, 59, 123456)),
        ("2020-02-29T10:05:59.000001+00:00", utc(2020, 2, 29, 10, 5, 59, 1)),
        ("2016-12-31T23:59:60Z", utc(2016, 12, 31, 23, 59, 59, 999999)),
        ("2016-12-31T23:59:60.7z", utc(2016, 12, 31, 23, 59, 59, 999999)),
        ("2020-02-29T24:00:00Z", utc(2020, 3, 1)),
        ("2020-02-29", utc(2020, 2, 29)),
        (date(2020, 2, 29), utc(2020, 2, 29)),
        (datetime(2020, 2, 29, 1, tzinfo=timezone(timedelta(hours=2))), utc(2020, 2, 28, 23)),
        # No instants: beyond the calendar, or no single moment.
        *((text, None) for text in ("2021-02-29", "2020-02-29T25:00:00Z", "2020-02-29T10:60:00Z", "2020-02-29T24:01Z")),
        *((text, None) for text in ("0001-01-01T00:00:00+01:00", "last summer", "", "2020", "2020-02", "2020-W09")),
        *((value, None) for value in (None, 2020, 20200229, ["2020-02-29"], "2020-02-29T10:05:59+25:00")),
    ],
)
def test_an_instant_is_read_as_rfc_3339_and_its_neighbours_write_it(written: Any, right: datetime | None) -> None:
    assert instant(written) == right
    assert right is None or instant(written).tzinfo is UTC


@pytest.mark.parametrize(
    ("written", "right"),
    [
        ("2020-02-29", utc(2020, 2, 29, 23, 59, 59, 999999)),
        ("20200229", utc(2020, 2, 29, 23, 59, 59, 999999)),
        (date(2020, 2, 29), utc(2020, 2, 29, 23, 59, 59, 999999)),
        ("2020-02-29T00:00:00Z", utc(2020, 2, 29)),
        (utc(2020, 2, 29), utc(2020, 2, 29)),
        ("no", None),
    ],
)
def test_a_date_that_ends_something_is_its_whole_day(written: Any, right: datetime | None) -> None:
    assert last_instant(written) == right


@pytest.mark.parametrize(
    ("moment", "start", "end", "right"),
    [
        ("2020-02-29", "2020-01-01", "2020-12-31", (utc(2020, 2, 29), None)),
        (None, "2020-01-01", "2020-12-31", (utc(2020, 1, 1), utc(2020, 12, 31, 23, 59, 59, 999999))),
        ("unknown", "2020-01-01T06:00:00z", "2020-01-02T06:00:00z", (utc(2020, 1, 1, 6), utc(2020, 1, 2, 6))),
        (None, "2020-01-01T06:00:00Z", "2020-01-01T06:00:00Z", (utc(2020, 1, 1, 6), None)),
        (None, "2020-01-01", None, (utc(2020, 1, 1), None)),
        (None, None, "2020-01-01", None),
        (None, "soon", "2020-01-01", None),
    ],
)
def test_an_item_is_a_moment_or_an_interval(moment: Any, start: Any, end: Any, right: Any) -> None:
    assert stated_span({"datetime": moment, "start_datetime": start, "end_datetime": end}) == right


def test_a_key_twice_among_very_many_is_found_at_once():
    content = "{" + ",".join(f'"k{n}": {n}' for n in range(90_000)) + ', "k89999": 1}'
    began = time.process_time()
    with pytest.raises(TwiceError, match="k89999"):
        load_json(content)
    assert time.process_time() - began < 5
