"""A job template for many products: each ``{name}`` in it is filled per period or per row of a table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

Every = Literal["none", "day", "month", "year"]

PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


class TemplateError(ValueError):
    """A template that cannot be filled."""


def fill(template: Mapping[str, Any], values: Mapping[str, str]) -> dict[str, Any]:
    """The template with every ``{name}`` in its texts replaced; geometries and numbers stay.

    Raises TemplateError where a name has no value.
    """
    filled: dict[str, Any] = _fill(template, values)
    return filled


def periods_at(now: datetime, *, every: Every, overlap: timedelta) -> list[tuple[str, str]]:
    """(label, period) of every period that may still get scenes at ``now``: those that end after ``now - overlap``.

    ``2026-11`` is ``2026-11-01/2026-11-30``. Empty for "none": the job has its own period.
    """
    if every == "none":
        return []
    day, last = (now - overlap).astimezone(UTC).date(), now.astimezone(UTC).date()
    found = []
    while day <= last:
        start, following = _span(day, every)
        label = start.isoformat()[: {"day": 10, "month": 7}.get(every, 4)]
        found.append((label, f"{start.isoformat()}/{(following - timedelta(days=1)).isoformat()}"))
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
