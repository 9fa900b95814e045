"""The scenes of a product on a line of time: where each mark stands, its cloud cover, the step it fed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from tilewright.tasks.colours import CLASS_COLOURS
from tilewright.tasks.report.fields import rows, spans, text, texts
from tilewright.tasks.report.format import day, moment, number

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tilewright.tasks.report.fields import Fields


_SINGLE = timedelta(days=12)  # room on both sides of a line that would have no length

_LONGEST_NAME = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneMark:
    """One scene: what its row in the table says and where its mark stands (percent of the line, percent of cloud)."""

    id: str
    date: str
    at: float | None
    cloud: float | None
    state: str
    state_reason: str
    collection: str
    platform: str
    steps: tuple[str, ...]
    used: float | None
    colour: str

    @property
    def idle(self) -> bool:
        """True for a scene that is known to have fed no block."""
        return self.used == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisTick:
    """A date on the line, or a stretch of it when `width` (percent) is not zero."""

    label: str
    at: float
    width: float = 0.0
    colour: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Marks, date ticks and periods; `clouded` where any scene knows its cloud cover: the line is then a chart."""

    marks: tuple[SceneMark, ...]
    ticks: tuple[AxisTick, ...]
    periods: tuple[AxisTick, ...]
    steps: tuple[tuple[str, str], ...]
    clouded: bool


def timeline(report: Fields) -> Timeline:
    """The line for `scenes`, `steps` and `period` of a report; without any date it has no ticks."""
    scenes = rows(report, "scenes")
    named = spans({"steps": _with_days(report)}, "steps") or spans(report, "period")
    labels = dict.fromkeys([label for label, _, _ in named if label] + [s for scene in scenes for s in _steps(scene)])
    colours = {label: CLASS_COLOURS[place % 7] for place, label in enumerate(labels)}
    dates = [at for scene in scenes if (at := moment(scene.get("datetime")))]
    line = _TimelineRow.around([*dates, *(end for _, start, stop in named for end in (start, stop))])
    marks = tuple(sorted((_mark(scene, line, colours) for scene in scenes), key=lambda mark: (mark.at or 0, mark.id)))
    return Timeline(
        marks=marks,
        ticks=tuple(line.ticks()) if line else (),
        periods=tuple(_period(label, start, stop, line, colours) for label, start, stop in named) if line else (),
        steps=tuple(colours.items()) if len(colours) > 1 else (),
        clouded=any(mark.cloud is not None for mark in marks),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _TimelineRow:
    start: datetime
    stop: datetime

    @classmethod
    def around(cls, dates: list[datetime]) -> _TimelineRow | None:
        if not dates:
            return None
        first, last = min(dates), max(dates)
        # Dates at the very ends of the calendar leave no room beside them.
        first, last = max(first, datetime(1900, 1, 1, tzinfo=UTC)), min(last, datetime(2200, 1, 1, tzinfo=UTC))
        room = max((last - first) * 0.04, timedelta(hours=12)) if last > first else _SINGLE
        return cls(start=first - room, stop=last + room)

    def at(self, date: datetime) -> float:
        return round(min(max((date - self.start) / (self.stop - self.start), 0), 1) * 100, 3)

    def ticks(self) -> Iterable[AxisTick]:
        months = (self.stop - self.start).days / 30.4
        if months < 2.5:
            days = next(n for n in (1, 2, 5, 7, 14) if (self.stop - self.start).days / n <= 6)
            date = self.start.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
            while date < self.stop:
                yield AxisTick(label=day(date).rsplit("\u00a0", 1)[0], at=self.at(date))
                date += timedelta(days=days)
            return
        step = next((n for n in (1, 2, 3, 6, 12, 24, 60, 120) if months / n <= 7), 480)
        first = self.start.year * 12 + self.start.month  # the month after the start
        for month in range(first, first + int(months) + 2):
            date = datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC)
            if month % step == 0 and date < self.stop:
                yield AxisTick(label=f"{date:%Y}" if step >= 12 else f"{date:%b\u00a0%Y}", at=self.at(date))


def _with_days(report: Fields) -> list[Fields]:
    """The steps but for those known to have no day: nothing of theirs is on the line, and their span may be none."""
    return [step for step in rows(report, "steps") if "days" not in step or texts(step, "days")]


def _steps(scene: Fields) -> tuple[str, ...]:
    return tuple(step[:_LONGEST_NAME] for step in texts(scene, "step") or texts(scene, "steps"))


def _mark(scene: Fields, line: _TimelineRow | None, colours: dict[str, str]) -> SceneMark:
    at, steps = moment(scene.get("datetime")), _steps(scene)
    cloud = number(scene.get("cloud_cover"))
    return SceneMark(
        id=text(scene, "id") or "unnamed scene",
        date=text(scene, "datetime"),
        at=line.at(at) if line and at else None,
        cloud=None if cloud is None else min(max(cloud, 0.0), 100.0),
        state=text(scene, "state"),
        state_reason=text(scene, "state_reason"),
        collection=text(scene, "collection"),
        platform=text(scene, "platform"),
        steps=steps,
        used=number(scene.get("used_in_blocks")),
        colour=colours.get(steps[0], CLASS_COLOURS[0]) if steps else CLASS_COLOURS[0],
    )


def _period(label: str, start: datetime, stop: datetime, line: _TimelineRow, colours: dict[str, str]) -> AxisTick:
    # A period includes its last day.
    end = stop + timedelta(days=1) if stop.time() == datetime.min.time() else stop
    left = line.at(start)
    return AxisTick(
        label=label, at=left, width=round(line.at(end) - left, 3), colour=colours.get(label, CLASS_COLOURS[0])
    )
