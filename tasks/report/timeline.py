"""What a product was made from: its scenes on a time axis, its steps with the share of the area that they observed,
and the values of its inputs beside those that the model was trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from tilewright.tasks.colours import CLASS_COLOURS
from tilewright.tasks.report import format as words
from tilewright.tasks.report.fields import mapping, named_periods, rows, text, texts
from tilewright.tasks.report.format import day, moment, number

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tilewright.tasks.report.fields import Fields


_SINGLE_DATE_PADDING = timedelta(days=12)  # on both sides of an axis that would have no length

_MAX_NAME = 40

_MAX_BANDS = 200

_AXIS = 5.0
"""Deviations from the expected mean to either end of a band's axis."""

_MAX_DAYS = 31
"""Days listed by date; a longer list ends with the number of the days left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneMark:
    """One scene: the cells of its table row, and its mark at `at` percent of the axis and `cloud` percent of cloud."""

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
        """True for a scene that no block used, as the report states."""
        return self.used == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisTick:
    """A date on the axis at `at` percent of its length, or a period if `width` (percent) is not zero."""

    label: str
    at: float
    width: float = 0.0
    colour: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Marks, date ticks and periods; `clouded` is True if any scene has a cloud cover: the axis is then a chart."""

    marks: tuple[SceneMark, ...]
    ticks: tuple[AxisTick, ...]
    periods: tuple[AxisTick, ...]
    steps: tuple[tuple[str, str], ...]
    clouded: bool


def timeline(report: Fields) -> Timeline:
    """The time axis for `scenes`, `steps` and `period` of a report; without any date it has no ticks."""
    scenes = rows(report, "scenes")
    # A step without days has no mark on the axis, and it may have no span.
    steps = [step for step in rows(report, "steps") if "days" not in step or texts(step, "days")]
    periods = named_periods({"steps": steps}, "steps") or named_periods(report, "period")
    labels = dict.fromkeys([label for label, _, _ in periods if label] + [s for scene in scenes for s in _steps(scene)])
    colours = {label: CLASS_COLOURS[index % 7] for index, label in enumerate(labels)}
    dates = [at for scene in scenes if (at := moment(scene.get("datetime")))]
    axis = _TimeAxis.around([*dates, *(end for _, start, stop in periods for end in (start, stop))])
    marks = tuple(sorted((_mark(scene, axis, colours) for scene in scenes), key=lambda mark: (mark.at or 0, mark.id)))
    return Timeline(
        marks=marks,
        ticks=tuple(axis.ticks()) if axis else (),
        periods=tuple(_period(label, start, stop, axis, colours) for label, start, stop in periods) if axis else (),
        steps=tuple(colours.items()) if len(colours) > 1 else (),
        clouded=any(mark.cloud is not None for mark in marks),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _TimeAxis:
    start: datetime
    stop: datetime

    @classmethod
    def around(cls, dates: list[datetime]) -> _TimeAxis | None:
        if not dates:
            return None
        first, last = min(dates), max(dates)
        # Python has no dates beyond the years 1 and 9999, so dates at those ends could not be padded.
        first, last = max(first, datetime(1900, 1, 1, tzinfo=UTC)), min(last, datetime(2200, 1, 1, tzinfo=UTC))
        padding = max((last - first) * 0.04, timedelta(hours=12)) if last > first else _SINGLE_DATE_PADDING
        return cls(start=first - padding, stop=last + padding)

    def position(self, date: datetime) -> float:
        """Percent of the axis, 0-100."""
        return round(min(max((date - self.start) / (self.stop - self.start), 0), 1) * 100, 3)

    def ticks(self) -> Iterable[AxisTick]:
        months = (self.stop - self.start).days / 30.4
        if months < 2.5:
            days = next(n for n in (1, 2, 5, 7, 14) if (self.stop - self.start).days / n <= 6)
            date = self.start.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
            while date < self.stop:
                yield AxisTick(label=day(date).rsplit("\u00a0", 1)[0], at=self.position(date))
                date += timedelta(days=days)
            return
        step = next((n for n in (1, 2, 3, 6, 12, 24, 60, 120) if months / n <= 7), 480)
        first = self.start.year * 12 + self.start.month  # the month after the start
        for month in range(first, first + int(months) + 2):
            date = datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC)
            if month % step == 0 and date < self.stop:
                yield AxisTick(label=f"{date:%Y}" if step >= 12 else f"{date:%b\u00a0%Y}", at=self.position(date))


def _steps(scene: Fields) -> tuple[str, ...]:
    return tuple(step[:_MAX_NAME] for step in texts(scene, "step") or texts(scene, "steps"))


def _mark(scene: Fields, axis: _TimeAxis | None, colours: dict[str, str]) -> SceneMark:
    at, steps = moment(scene.get("datetime")), _steps(scene)
    cloud = number(scene.get("cloud_cover"))
    return SceneMark(
        id=text(scene, "id") or "unnamed scene",
        date=text(scene, "datetime"),
        at=axis.position(at) if axis and at else None,
        cloud=None if cloud is None else min(max(cloud, 0.0), 100.0),
        state=text(scene, "state"),
        state_reason=text(scene, "state_reason"),
        collection=text(scene, "collection"),
        platform=text(scene, "platform"),
        steps=steps,
        used=number(scene.get("used_in_blocks")),
        colour=colours.get(steps[0], CLASS_COLOURS[0]) if steps else CLASS_COLOURS[0],
    )


def _period(label: str, start: datetime, stop: datetime, axis: _TimeAxis, colours: dict[str, str]) -> AxisTick:
    # A period includes its last day.
    end = stop + timedelta(days=1) if stop.time() == datetime.min.time() else stop
    left = axis.position(start)
    return AxisTick(
        label=label, at=left, width=round(axis.position(end) - left, 3), colour=colours.get(label, CLASS_COLOURS[0])
    )


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


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftRow:
    """A band's values beside what the model was trained on, as text.

    ``bar`` is (start, length, mean) of the values' mean and deviation in percent of an axis on which the expected ones
    lie in the middle, two tenths long; None without a mean to compare with.
    """

    input: str
    band: str
    found: str
    expected: str
    apart: str
    bar: tuple[float, float, float] | None
    far: bool


def drift_table(report: Fields) -> tuple[DriftRow, ...]:
    """The rows for `drift` of a report, one for each band of which the card tells statistics."""
    bands = ((entry, band) for entry in rows(report, "drift") for band in rows(entry, "bands") if text(band, "band"))
    found = [_drift_row(entry, band) for entry, band in bands]
    return tuple(found[:_MAX_BANDS])


def _drift_row(entry: Fields, band: Fields) -> DriftRow:
    told = mapping(band, "expected")
    difference, ratio = number(band.get("difference")), number(band.get("ratio"))
    outside = number(band.get("outside_percent"))
    apart = [
        "" if difference is None else f"{words.fixed(difference, 2)} deviations",
        "" if outside is None else f"{words.percent(outside)} outside",
    ]
    span = ""
    if number(told.get("minimum")) is not None:
        span = f"{words.figure(told.get('minimum'))} to {words.figure(told.get('maximum'))}"
    mean = _mean_text(told) if number(told.get("mean")) is not None else ""
    return DriftRow(
        input=text(entry, "input")[:_MAX_NAME],
        band=text(band, "band")[:_MAX_NAME],
        found=_mean_text(band),
        expected=", ".join(filter(None, (mean, span))),
        apart=", ".join(filter(None, apart)),
        bar=None if difference is None or ratio is None else _drift_bar(difference, abs(ratio)),
        far=bool(text(band, "far")),
    )


def _mean_text(values: Fields) -> str:
    return f"{words.figure(values.get('mean'))} ± {words.figure(values.get('stddev'))}"


def _drift_bar(difference: float, ratio: float) -> tuple[float, float, float]:
    start, end, middle = (
        50 + 50 * max(-1.0, min(1.0, at / _AXIS)) for at in (difference - ratio, difference + ratio, difference)
    )
    return start, end - start, middle
