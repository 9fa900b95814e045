"""The dates of labels: of a column of days, moments or months."""

from __future__ import annotations

import calendar
import re
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from tilewright.tasks.audit.evaluate.label_file import LabelError

if TYPE_CHECKING:
    from collections.abc import Sequence

DATES = ("date", "datetime", "time", "acquired", "observed_at", "year_month")
"""Columns that tell when a label holds, the first there is."""

MONTH = re.compile(r"[0-9]{4}-[0-9]{2}")


def date_column(columns: Any) -> str | None:
    """The name of the column of dates of a pyarrow table, None for none."""
    return next((each for each in DATES if each in columns.column_names), None)


def label_days(columns: Any, column: str, *, name: str) -> list[tuple[date, date] | None]:
    """The first and the last day (UTC) that each row's date means: a month means all its days. None for no date.

    ``name`` is that of the file. Raises LabelError for what is no date.
    """
    return [_days(value, name, column) for value in columns[column].to_pylist()]


def _days(value: object, name: str, column: str) -> tuple[date, date] | None:
    told = "" if value is None else str(value).strip()
    if not told or told == "NaT":
        return None
    if isinstance(value, date) and not isinstance(value, datetime):
        return value, value
    try:
        if MONTH.fullmatch(told):
            first = date.fromisoformat(f"{told}-01")
            return first, first.replace(day=calendar.monthrange(first.year, first.month)[1])
        at = value if isinstance(value, datetime) else datetime.fromisoformat(told)
    except ValueError as error:
        raise LabelError(
            f"The column {column!r} of {name} holds {told[:40]!r}: give dates as 2024-06-30, or months as 2024-06."
        ) from error
    day = (at.astimezone(UTC) if at.tzinfo else at).date()
    return day, day


def within(days: tuple[date, date] | None, periods: Sequence[tuple[date, date]]) -> bool:
    """True if all days of a label lie in one of the periods, whose ends are included."""
    return days is not None and any(first <= days[0] and days[1] <= last for first, last in periods)
