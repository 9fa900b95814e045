"""The steps of the report: which days each took, and how much of the area they really saw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tilewright.tasks.report import format as words
from tilewright.tasks.report.fields import rows, text, texts
from tilewright.tasks.report.format import number

if TYPE_CHECKING:
    from tilewright.tasks.report.fields import Fields


_LONGEST_NAME = 40

_MOST_DAYS = 31
"""Days listed by name; of more, the first ones and how many others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRow:
    """One step of the inputs that saw alike: its days as text, percent of the area seen, observations per pixel."""

    label: str
    inputs: str
    n_days: int
    days: str
    observed: float | None
    mean: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTable:
    """The rows in the report's order; `several` where inputs differ and must be told apart."""

    rows: tuple[StepRow, ...]
    several: bool


def step_table(report: Fields) -> StepTable:
    """The table for `steps` of a report; a step that says nothing of its inputs has no row."""
    made = [row for step in rows(report, "steps") for row in _rows(step)]
    return StepTable(rows=tuple(made), several=len({row.inputs for row in made}) > 1)


def _rows(step: Fields) -> list[StepRow]:
    alike: dict[tuple[tuple[str, ...], float | None, float | None], list[str]] = {}
    for entry in rows(step, "inputs"):
        seen = (texts(entry, "days"), number(entry.get("observed_percent")), number(entry.get("mean_observations")))
        alike.setdefault(seen, []).append(text(entry, "name")[:_LONGEST_NAME])
    return [
        StepRow(
            label=text(step, "label")[:_LONGEST_NAME],
            inputs=", ".join(names),
            n_days=len(days),
            days=_listed(days),
            observed=None if observed is None else min(max(observed, 0.0), 100.0),
            mean=mean,
        )
        for (days, observed, mean), names in alike.items()
    ]


def _listed(days: tuple[str, ...]) -> str:
    shown = ", ".join(words.day(day) for day in days[:_MOST_DAYS])
    return f"{shown} and {words.count(len(days) - _MOST_DAYS)} more" if len(days) > _MOST_DAYS else shown
