"""The steps of the report: the days of each step, and the share of the area that they observed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tilewright.tasks.report import format as words
from tilewright.tasks.report.fields import rows, text, texts
from tilewright.tasks.report.format import number

if TYPE_CHECKING:
    from tilewright.tasks.report.fields import Fields


_MAX_NAME = 40

_MAX_DAYS = 31
"""Days listed by date; a longer list ends with the number of the days left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRow:
    """One step, for all inputs with the same days and coverage.

    `days` is text, `observed` percent of the area, `mean` observations per pixel; None if the report lacks them.
    """

    label: str
    inputs: str
    n_days: int
    days: str
    observed: float | None
    mean: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTable:
    """The rows in the report's order; `several` is True if the inputs differ, so that each row must name its own."""

    rows: tuple[StepRow, ...]
    several: bool


def step_table(report: Fields) -> StepTable:
    """The table for `steps` of a report; a step without inputs has no row."""
    table_rows = [row for step in rows(report, "steps") for row in _rows(step)]
    return StepTable(rows=tuple(table_rows), several=len({row.inputs for row in table_rows}) > 1)


def _rows(step: Fields) -> list[StepRow]:
    names_by_coverage: dict[tuple[tuple[str, ...], float | None, float | None], list[str]] = {}
    for entry in rows(step, "inputs"):
        coverage = (texts(entry, "days"), number(entry.get("observed_percent")), number(entry.get("mean_observations")))
        names_by_coverage.setdefault(coverage, []).append(text(entry, "name")[:_MAX_NAME])
    return [
        StepRow(
            label=text(step, "label")[:_MAX_NAME],
            inputs=", ".join(names),
            n_days=len(days),
            days=_day_list(days),
            observed=None if observed is None else min(max(observed, 0.0), 100.0),
            mean=mean,
        )
        for (days, observed, mean), names in names_by_coverage.items()
    ]


def _day_list(days: tuple[str, ...]) -> str:
    listed = ", ".join(words.day(day) for day in days[:_MAX_DAYS])
    return f"{listed} and {words.count(len(days) - _MAX_DAYS)} more" if len(days) > _MAX_DAYS else listed
