"""A job template for many products: each ``{name}`` in it is filled per period or per row of a table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

Every = Literal["none", "day", "month", "year"]

MOST_SLOTS = 1000
"""Products of one template: 80 years of months."""

PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


class TemplateError(ValueError):
    """A template that cannot be filled."""


def fill(template: Mapping[str, Any], values: Mapping[str, str]) -> dict[str, Any]:
    """The template with every ``{name}`` in its texts replaced; geometries and numbers stay.

    Raises TemplateError where a name has no value.
    """
    filled: dict[str, Any] = _fill(template, values)
    return filled


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A period of a template that gets a product of its own: its label, the period as a job has it, and whether it is
    ``closed``, that is, over for so long that no more scenes of it are expected.
    """

    label: str
    period: str
    closed: bool = False


def periods_at(
    now: datetime, *, every: Every, overlap: timedelta, within: tuple[date, date] | None = None
) -> list[Slot]:
    """The periods of a job that has its own, from day to day (``within``), as far as they have begun at ``now``; of one
    without, those that may still get scenes: which end after ``now - overlap``.

    ``2026-11`` is ``2026-11-01/2026-11-30``, cut to the job's own period. Empty for "none".

    Raises TemplateError for more than MOST_SLOTS.
    """
    if every == "none":
        return []
    last = now.astimezone(UTC).date()
    since = (now - overlap).astimezone(UTC).date()
    day = since
    if within is not None:
        day, last = within[0], min(within[1], last)
    found: list[Slot] = []
    while day <= last:
        start, following = _span(day, every)
        label = start.isoformat()[: {"day": 10, "month": 7}.get(every, 4)]
        end = following - timedelta(days=1)
        if within is not None:
            start, end = max(start, within[0]), min(end, within[1])
        found.append(Slot(label=label, period=f"{start.isoformat()}/{end.isoformat()}", closed=end < since))
        if len(found) > MOST_SLOTS:
            raise TemplateError(f"every: {every} makes more than {MOST_SLOTS:,} products of this period: shorten it.")
        day = following
    return found


def _span(day: date, every: Every) -> tuple[date, date]:
    """(first day, first day of the next one) of the period a day is in."""
    if every == "day":
        return day, day + timedelta(days=1)
    if every == "month":
        first = day.replace(day=1)
        return first, (first + timedelta(days=31)).replace(day=1)
    return date(day.year, 1, 1), date(day.year + 1, 1, 1)


def _fill(value: Any, values: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _fill(inner, values) for key, inner in value.items()}
    if isinstance(value, list):
        return [_fill(inner, values) for inner in value]
    return PLACEHOLDER.sub(lambda found: _value(found.group(1), values), value) if isinstance(value, str) else value


def _value(name: str, values: Mapping[str, str]) -> str:
    if name not in values:
        raise TemplateError(f"The job holds {{{name}}}, which nothing fills; known here: {', '.join(sorted(values))}.")
    return values[name]
