"""The columns of a file of places that a job names: the user's key, and the period of each row."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, time
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.models.fields import did_you_mean

if TYPE_CHECKING:
    from tilewright.tasks.tables.vector_file import GeometryTable

ReadPeriod = Callable[[str], Any]
"""The period of a text as jobs write them; raises ValueError for a text that is none."""

MOST_PERIODS = 10_000
"""Different periods of the rows of one table."""


class PlacesError(ValueError):
    """Places that are refused; the message names the key or the file, and what to do."""


def check_column(table: GeometryTable, key: str, column: str) -> None:
    """Check that a file has the column that a key of the job names. Raises PlacesError."""
    names = table.columns.column_names
    if column not in names:
        hint = did_you_mean(column, names)
        listed = ", ".join(names[:20]) or "none"
        raise PlacesError(f"places.{key}: {table.name} has no column {column[:80]!r}{hint}. It has: {listed[:300]}.")


def check_key(table: GeometryTable, column: str) -> None:
    """Check that a column tells every row from the others. Raises PlacesError naming two rows that it does not."""
    check_column(table, "id", column)
    seen: dict[Any, int] = {}
    for number, value in enumerate(table.columns[column].to_pylist(), start=1):
        if value is None or _is_nan(value):
            raise PlacesError(f"places.id: row {number} of {table.name} has no {column!r}: give each row its own.")
        known = str(value) if isinstance(value, (list, dict)) else value
        if known in seen:
            raise PlacesError(
                f"places.id: rows {seen[known]} and {number} of {table.name} both have {column} {str(value)[:80]!r}: "
                "give each row its own, or leave places.id out."
            )
        seen[known] = number


def row_periods(table: GeometryTable, column: str, read: ReadPeriod) -> tuple[tuple[Any, ...], np.ndarray]:
    """The different periods of the rows, and the number among them of each row's, (row,) int64; -1: the job's.

    Raises PlacesError naming the row whose text is no period.
    """
    check_column(table, "period", column)
    numbers: dict[str, int] = {}
    periods: list[Any] = []
    of_row = np.full(len(table.geometries), -1, dtype=np.int64)
    for row, value in enumerate(table.columns[column].to_pylist()):
        text = _text(value)
        if not text:
            continue
        if text not in numbers:
            if len(periods) == MOST_PERIODS:
                raise PlacesError(
                    f"places.period: {table.name} has over {MOST_PERIODS:,} different periods: round them, e.g. to "
                    "months, or cut the table into several."
                )
            try:
                periods.append(read(text))
            except ValueError as error:
                raise PlacesError(f"places.period: row {row + 1} of {table.name}: {error}.") from error
            numbers[text] = len(periods) - 1
        of_row[row] = numbers[text]
    return tuple(periods), of_row


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _text(value: object) -> str:
    """A cell as jobs write a period; empty for none. A moment at midnight is its day."""
    if value is None or _is_nan(value):
        return ""
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time.min else value.isoformat()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
