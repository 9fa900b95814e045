"""The passes of each step of a model's time axis, decided from metadata before any pixel is read."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

from tilewright.catalogs.passes import Pass, group_passes

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

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
    """One position on a model's time axis: its label, its span (both ends included) and its passes, ordered by time.

    `passes` holds the ids of each pass's scenes, `days` each pass's solar day (ISO), `ranks` its place, from 0, when
    the least cloudy comes first. A step without passes is filled as missing. `found`: the first and the last day of the
    passes found, where not all of them are kept; None: those of `days`.
    """

    label: str
    start: datetime
    end: datetime
    passes: tuple[tuple[str, ...], ...] = ()
    days: tuple[str, ...] = ()
    ranks: tuple[int, ...] = ()
    found: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        assert len(self.passes) == len(self.days) == len(self.ranks), "each pass of a step has a day and a rank"

    @property
    def scenes(self) -> frozenset[str]:
        """The ids of all scenes of the step."""
        return frozenset(scene for members in self.passes for scene in members)

    @property
    def centre(self) -> date:
        """The day in the middle of the step's span, whatever was found in it: the same for every area."""
        first, last = self.start.date(), self.end.date()
        return first + (last - first) / 2

    @property
    def middle(self) -> date:
        """The day in the middle of the step's days, or of its span if it has none; the same in every block.

        It depends on the area, as the days of a step are those with scenes over it.
        """
        days = self.found or sorted(self.days)
        if not days:
            return self.centre
        first, last = (date.fromisoformat(day) for day in (days[0], days[-1]))
        return first + (last - first) / 2


_EVERY = re.compile(r"^(?:(\d+)\s*)?(d|day|days|w|week|weeks|m|ms|month|months|y|ys|year|years)\Z", re.IGNORECASE)

MONTHLY = frozenset({"month", "m", "ms", "1 month"})
"""Values of `every` whose steps are labelled by their month, not by their first day."""


def plan_steps(
    scenes: Sequence[Scene], dates: DatesSpec, periods: Sequence[Period], *, touching: Collection[str] | None = None
) -> tuple[StepPlan, ...]:
    """The steps of an input in temporal order, with the passes of each; a scene is in each step whose span it meets.

    composite: one step over all periods. pair: the periods `before` and `after`, or the job's two periods. series: one
    step per period if the job has several, else the period cut into parts of `every` (month: calendar months) or into
    `steps` equal parts. each: one step per pass over the area, or per pass of the `steps` clearest if the card has
    `steps`. static: one step of all scenes, whatever the period.

    `touching` holds the ids of the scenes on the area itself, None: all. Only they make steps of kind each, and only
    they rank passes by cloud: the others serve the windows that reach beyond the area.

    Raises DatesError if the periods do not fit the card's dates.
    """
    makers = {"composite": _composite, "pair": _pair, "series": _series, "each": _each, "static": _static}
    if dates.kind not in makers:
        raise DatesError(f"dates.kind {dates.kind!r} is not known: give one of {', '.join(makers)}")
    if not periods and dates.kind != "static":
        raise DatesError("the job names no period")
    on_area = frozenset(scene.id for scene in scenes) if touching is None else frozenset(touching)
    cut = _Cut(scenes=tuple(scenes), on_area=on_area, dates=dates)
    return makers[dates.kind](cut, sorted(periods, key=lambda period: period.start))


def clearest_passes(step: StepPlan, most: int) -> StepPlan:
    """The step with its `most` least cloudy passes alone."""
    return kept_passes(step, [number for number, rank in enumerate(step.ranks) if rank < most])


def kept_passes(step: StepPlan, kept: Sequence[int]) -> StepPlan:
    """The step with the passes of these numbers alone."""
    return replace(
        step,
        passes=tuple(step.passes[number] for number in kept),
        days=tuple(step.days[number] for number in kept),
        ranks=tuple(step.ranks[number] for number in kept),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cut:
    """The scenes that are cut into steps as the card's dates say; `on_area`: the ids of those on the area itself."""

    scenes: tuple[Scene, ...]
    on_area: frozenset[str]
    dates: DatesSpec

    def step(self, label: str, start: datetime, end: datetime) -> StepPlan:
        """The step of all scenes within a span."""
        return self.step_of(label, start, end, group_passes(self.within([(start, end)])))

    def within(self, spans: Sequence[tuple[datetime, datetime]]) -> list[Scene]:
        """The scenes that meet one of the spans, each once."""
        return [scene for scene in self.scenes if any(scene.within(start, end) for start, end in spans)]

    def step_of(self, label: str, start: datetime, end: datetime, passes: Sequence[Pass]) -> StepPlan:
        """The step of these passes."""
        by_cloud = self.least_cloudy_first(passes)
        return StepPlan(
            label=label,
            start=start,
            end=end,
            passes=tuple(one.ids for one in passes),
            days=tuple(one.day for one in passes),
            ranks=tuple(by_cloud.index(one) for one in passes),
        )

    def least_cloudy_first(self, passes: Sequence[Pass]) -> list[Pass]:
        """The passes by the mean cloud cover of their scenes on the area; unknown cover last, the earlier of equal ones
        first, and after them those that have no scene on the area.
        """
        keys = [(not any(scene in self.on_area for scene in one.ids), self._cover(one)) for one in passes]
        return [passes[number] for number in sorted(range(len(passes)), key=lambda number: (*keys[number], number))]

    def _cover(self, one: Pass) -> float:
        members = [scene for scene in one.scenes if scene.id in self.on_area]
        cover = Pass(tuple(members)).cloud_cover if members else None
        return math.inf if cover is None else cover


def _spans(periods: Sequence[Period]) -> list[tuple[datetime, datetime]]:
    return [(period.start, period.end) for period in periods]


def _composite(cut: _Cut, periods: Sequence[Period]) -> tuple[StepPlan, ...]:
    end = max(period.end for period in periods)
    label = periods[0].name if len(periods) == 1 else "composite"
    return (cut.step_of(label, periods[0].start, end, group_passes(cut.within(_spans(periods)))),)


def _pair(cut: _Cut, periods: Sequence[Period]) -> tuple[StepPlan, ...]:
    if len(periods) != 2:
        raise DatesError(
            f"the model compares two dates, the job has {len(periods)}: give period.before and period.after"
        )
    named = {period.name: period for period in periods}
    before, after = (named[name] for name in ("before", "after")) if set(named) == {"before", "after"} else periods
    return tuple(cut.step(period.name, period.start, period.end) for period in (before, after))


def _series(cut: _Cut, periods: Sequence[Period]) -> tuple[StepPlan, ...]:
    dates = cut.dates
    if len(periods) > 1:
        return _named_series(cut, periods)
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
        cut.step(start.strftime("%Y-%m") if monthly else start.date().isoformat(), start, end) for start, end in spans
    )


def _named_series(cut: _Cut, periods: Sequence[Period]) -> tuple[StepPlan, ...]:
    if cut.dates.steps is not None and len(periods) != cut.dates.steps:
        raise DatesError(f"the model takes {cut.dates.steps} steps, the job names {len(periods)} periods: name as many")
    return tuple(cut.step(period.name, period.start, period.end) for period in periods)


def _each(cut: _Cut, periods: Sequence[Period]) -> tuple[StepPlan, ...]:
    n_steps = cut.dates.steps
    found = group_passes(cut.within(_spans(periods)))
    passes = [one for one in found if any(scene in cut.on_area for scene in one.ids)]
    kept = passes if n_steps is None else cut.least_cloudy_first(passes)[:n_steps]
    kept = sorted(kept, key=passes.index)
    per_day = Counter(one.day for one in kept)
    steps = [cut.step_of(_pass_label(one, with_time=per_day[one.day] > 1), *_day(one.day), [one]) for one in kept]
    end = max(period.end for period in periods)
    missing = (n_steps or 0) - len(steps)
    empty = [StepPlan(label=f"none{number + 1}", start=end, end=end) for number in range(max(missing, 0))]
    return tuple(steps + empty)


def _pass_label(one: Pass, *, with_time: bool) -> str:
    """The day of a pass, with its time in UTC where the day has several."""
    return f"{one.day}-{one.moment:%H%M%S}" if with_time else one.day


def _static(cut: _Cut, periods: Sequence[Period]) -> tuple[StepPlan, ...]:
    del periods
    passes = group_passes(cut.scenes)
    if not passes:
        never = datetime(1970, 1, 1, tzinfo=UTC)
        return (StepPlan(label="static", start=never, end=never),)
    days = sorted(one.day for one in passes)
    return (cut.step_of("static", _day(days[0])[0], _day(days[-1])[1], passes),)


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
