"""Which labels are of the dates of a product: by a column of dates, and the product's periods."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tilewright.tasks.audit.evaluate.label_dates import date_column, label_days, within
from tilewright.tasks.report.fields import named_periods
from tilewright.tasks.report.format import plural

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date
    from typing import Any

    from tilewright.tasks.audit.evaluate.label_file import LabelTable


def periods_of(report: Mapping[str, Any]) -> list[tuple[date, date]]:
    """The first and the last day of each period of a product, by its report."""
    return [(start.date(), end.date()) for _, start, end in named_periods(report, "period")]


def rows_of_dates(columns: Any, column: str, report: Mapping[str, Any], *, name: str) -> np.ndarray:
    """The rows of labels, numbers from 0, whose date lies in a period of a product; a month must do so as a whole.

    Raises LabelError for what is no date.
    """
    periods = periods_of(report)
    inside = [within(days, periods) for days in label_days(columns, column, name=name)]
    return np.flatnonzero(np.array(inside, dtype=bool))


def period_notes(report: Mapping[str, Any], table: LabelTable) -> list[str]:
    """What is said of labels that are dated outside the product's periods: they are compared like the others.

    A column that is called like one of dates, but holds others, says nothing.
    """
    column, periods = date_column(table.columns), periods_of(report)
    if column is None or not periods:
        return []
    try:
        days = label_days(table.columns, column, name=table.name)
    except ValueError:
        return []
    dated = [each for each in days if each is not None]
    n = sum(not within(each, periods) for each in dated)
    if not n:
        return []
    told = f"{plural(n, 'label')} of {table.name} dated outside the product's period"
    return [f"{told} ({column!r}): compared like the others, as of what does not change."]
