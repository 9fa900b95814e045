"""The days of each step of a model's time axis, decided from metadata before any pixel is read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.catalogs.scene import Scene
    from tilewright.models.spec.inputs import DatesSpec


class Period(Protocol):
    """A named span of time, both ends included."""

    @property
    def name(self) -> str:
        """The period's name in the job."""

    @property
    def start(self) -> datetime:
        """The first moment."""

    @property
    def end(self) -> datetime:
        """The last moment."""


class DatesError(ValueError):
    """A job's periods that do not fit the dates of the card."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPlan:
    """One position on a model's time axis: its label, its span (both ends included) and the solar days of its scenes.

    `days` are ISO dates, ascending; a step without days is filled as missing.
    """

    label: str
    start: datetime
    end: datetime
    days: tuple[str, ...]

    @property
    def middle(self) -> date:
        """The day in the middle of the step's days, or of its span if it has none; the same in every block."""
        ends = (
            (self.days[0], self.days[-1]) if self.days else (self.start.date().isoformat(), self.end.date().isoformat())
        )
        first, last = (date.fromisoformat(day) for day in ends)
        return first + (last - first) / 2


_EVERY = re.compile(r"^(?:(\d+)\s*)?(d|day|days|w|week|weeks|m|ms|month|months|y|ys|year|years)$", re.IGNORECASE)

MONTHLY = frozenset({"month", "m", "ms", "1 month"})
"""Values of `every` whose steps are labelled by their month, not by their first day."""


def plan_steps(scenes: Sequence[Scene], dates: DatesSpec, periods: Sequence[Period]) -> tuple[StepPlan, ...]:
    """The steps of an input in temporal order, with the solar days of each.

    composite: one step over all periods. pair: the periods `before` and `after`, or the job's two periods. series: one
    step per period if the job has several, else the period cut into parts of `every` (month: calendar months) or into
    `steps` equal parts. each: one step per day that has a scene, or per day of the `steps` clearest if the card has
    `steps`. static: one step of all scenes, whatever the period.

    Raises DatesError if the periods do not fit the card's dates.
    """
    makers = {"composite": _composite, "pair": _pair, "series": _series, "each": _each, "static": _static}
    if dates.kind not in makers:
        raise DatesError(f"dates.kind {dates.kind!r} is not known: give one of {', '.join(makers)}")
    if not periods and dates.kind != "static":
        raise DatesError("the job names no period")
    return makers[dates.kind](scenes, dates, sorted(periods, key=lambda period: period.start))


def days_by_cloud(scenes: Sequence[Scene]) -> tuple[str, ...]:
    """The scenes' solar days, the least cloudy first, unknown cover last, the earlier of equal days first.

    A day's cover is the mean over its `scenes`. Pass all scenes of the plan, not those of a block.
    """
    covers: dict[str, list[float]] = {}
    for scene in scenes:
        known = covers.setdefault(scene.solar_day, [])
        if scene.cloud_cover is not None:
            known.append(scene.cloud_cover)
    mean = {day: sum(known) / len(known) if known else float("inf") for day, known in covers.items()}
    return tuple(sorted(mean, key=lambda day: (mean[day], day)))


def _composite(scenes: Sequence[Scene], dates: DatesSpec, periods: Sequence[Period]) -> tuple[StepPlan, ...]:
    del dates
    days = {scene.solar_day for period in periods for scene in _scenes_within(scenes, period.start, period.end)}
    end = max(period.end for period in periods)
    label = periods[0].name if len(periods) == 1 else "composite"
    return (StepPlan(label=label, start=periods[0].start, end=end, days=tuple(sorted(days))),)


def _pair(scenes: Sequence[Scene], dates: DatesSpec, periods: Sequence[Period]) -> tuple[StepPlan, ...]:
    del dates
    if len(periods) != 2:
        raise DatesError(
            f"the model compares two dates, the job has {len(periods)} period(s): give period.before and period.after"
        )
    named = {period.name: period for period in periods}
    before, after = (named[name] for name in ("before", "after")) if set(named) == {"before", "after"} else periods
    return tuple(_step(scenes, period.name, period.start, period.end) for period in (before, after))


def _series(scenes: Sequence[Scene], dates: DatesSpec, periods: Sequence[Period]) -> tuple[StepPlan, ...]:
    if len(periods) > 1:
        return _named_series(scenes, dates, periods)
    period = periods[0]
    if dates.every:
        spans = _calendar_parts(period.start, period.end, dates.every)
    elif dates.steps:
        spans = _equal_parts(period.start, period.end, dates.steps)
    else:
        raise DatesError("dates of a series need steps or every")
    if dates.steps is not None and len(spans) != dates.steps:
        raise DatesError(
            f"the model takes {dates.steps} steps, one every {dates.every}, and the period "
            f"{period.start.date()}/{period.end.date()} holds {len(spans)}: change the period or name each step's"
        )
    monthly = dates.every is not None and dates.every.strip().lower() in MONTHLY
    return tuple(
        _step(scenes, start.strftime("%Y-%m") if monthly else start.date().isoformat(), start, end)
        for start, end in spans
    )


def _named_series(scenes: Sequence[Scene], dates: DatesSpec, periods: Sequence[Period]) -> tuple[StepPlan, ...]:
    if dates.steps is not None and len(periods) != dates.steps:
        raise DatesError(f"the model takes {dates.steps} steps, the job names {len(periods)} periods: name as many")
    return tuple(_step(scenes, period.name, period.start, period.end) for period in periods)


def _each(scenes: Sequence[Scene], dates: DatesSpec, periods: Sequence[Period]) -> tuple[StepPlan, ...]:
    chosen = [scene for period in periods for scene in _scenes_within(scenes, period.start, period.end)]
    days = days_by_cloud(chosen)
    if dates.steps is not None:
        days = days[: dates.steps]
    steps = [_step(chosen, day, *_day(day), days=(day,)) for day in sorted(days)]
    missing = (dates.steps or 0) - len(steps)
    end = max(period.end for period in periods)
    empty = [StepPlan(label=f"none{number + 1}", start=end, end=end, days=()) for number in range(max(missing, 0))]
    return tuple(steps + empty)


def _static(scenes: Sequence[Scene], dates: DatesSpec, periods: Sequence[Period]) -> tuple[StepPlan, ...]:
    del dates, periods
    days = tuple(sorted({scene.solar_day for scene in scenes}))
    if not days:
        never = datetime(1970, 1, 1, tzinfo=UTC)
        return (StepPlan(label="static", start=never, end=never, days=()),)
    return (StepPlan(label="static", start=_day(days[0])[0], end=_day(days[-1])[1], days=days),)


def _step(
    scenes: Sequence[Scene], label: str, start: datetime, end: datetime, *, days: tuple[str, ...] | None = None
) -> StepPlan:
    found = tuple(sorted({scene.solar_day for scene in _scenes_within(scenes, start, end)})) if days is None else days
    return StepPlan(label=label, start=start, end=end, days=found)


def _scenes_within(scenes: Sequence[Scene], start: datetime, end: datetime) -> list[Scene]:
    return [scene for scene in scenes if start <= scene.datetime <= end]


def _day(day: str) -> tuple[datetime, datetime]:
    start = datetime.combine(date.fromisoformat(day), datetime.min.time(), tzinfo=UTC)
    return start, start + timedelta(days=1, microseconds=-1)


def _equal_parts(start: datetime, end: datetime, n_parts: int) -> list[tuple[datetime, datetime]]:
    """Spans of equal length that cover the period; each ends a microsecond before the start of the next."""
    length = (end - start + timedelta(microseconds=1)) / n_parts
    edges = [start + length * number for number in range(n_parts)] + [end + timedelta(microseconds=1)]
    return _spans_between(edges)


def _calendar_parts(start: datetime, end: datetime, every: str) -> list[tuple[datetime, datetime]]:
    """The period cut into parts of `every`; months and years are calendar ones, the last part may be shorter."""
    found = _EVERY.match(every.strip())
    if found is None or found.group(1) == "0":
        raise DatesError(f"dates.every is {every!r}: give e.g. month, week, 10D or 2 months")
    count, unit = int(found.group(1) or 1), found.group(2)[0].lower()
    edges = [start]
    while edges[-1] <= end:
        if unit in "my":
            edges.append(_month_start_after(edges[-1], count * (12 if unit == "y" else 1)))
        else:
            edges.append(edges[-1] + timedelta(days=count * (7 if unit == "w" else 1)))
    return _spans_between([*edges[:-1], end + timedelta(microseconds=1)])


def _month_start_after(moment: datetime, months: int) -> datetime:
    """Midnight of the first day of the month that is `months` after that of `moment`."""
    number = moment.year * 12 + moment.month - 1 + months
    return moment.replace(year=number // 12, month=number % 12 + 1, day=1, hour=0, minute=0, second=0, microsecond=0)


def _spans_between(edges: Sequence[datetime]) -> list[tuple[datetime, datetime]]:
    last = timedelta(microseconds=1)
    return [(start, stop - last) for start, stop in pairwise(edges)]
