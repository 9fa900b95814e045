"""Spans of time from texts: a year, quarter, month, week, day, hour, minute or moment, and lengths such as P1M."""

from __future__ import annotations

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from tilewright.catalogs.fields import FIRST_YEAR, LAST_YEAR, instant

LEAST = timedelta(microseconds=1)

_DATE = re.compile(
    r"(?P<year>[0-9]{4})(?:"
    r"-?Q(?P<quarter>[1-4])"
    r"|-?W(?P<week>[0-9]{2})(?:-?(?P<weekday>[1-7]))?"
    r"|-(?P<month>[0-9]{2})"
    r"|(?P<dash>-?)(?P<month_of_day>[0-9]{2})(?P=dash)(?P<day>[0-9]{2})"
    r"|-?(?P<ordinal>[0-9]{3})"
    r")?",
    re.IGNORECASE,
)

_TIME = re.compile(
    r"(?P<hour>[0-9]{2})(?::?(?P<minute>[0-9]{2})(?::?(?P<second>[0-9]{2}(?:[.,][0-9]+)?))?)?\s*"
    r"(?P<zone>Z|UTC|[+-][0-9]{2}(?::?[0-9]{2})?)?",
    re.IGNORECASE,
)

_LENGTH = re.compile(
    r"P(?:(?P<years>[0-9]+)Y)?(?:(?P<months>[0-9]+)M)?(?:(?P<weeks>[0-9]+)W)?(?:(?P<days>[0-9]+)D)?"
    r"(?:T(?=[0-9])(?:(?P<hours>[0-9]+)H)?(?:(?P<minutes>[0-9]+)M)?(?:(?P<seconds>[0-9]+)S)?)?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of time in UTC from ``start`` until just before ``stop``; both are equal for a single moment."""

    start: datetime
    stop: datetime

    @property
    def last(self) -> datetime:
        """The last moment of the span, to a microsecond."""
        return max(self.start, self.stop - LEAST)


def read_span(text: str) -> Span:
    """The whole span that a text names: ``2021-06`` is the month, ``2021-06-30T12`` the hour.

    With seconds it is that moment. A time without a zone is UTC. Source: ISO 8601-1:2019, 5.2 to 5.4; quarters are
    written as statistics have them.

    Raises ValueError for any other text and for a year before FIRST_YEAR or after LAST_YEAR.
    """
    written, _, clock = re.sub(r"[Tt\s]+", "T", text.strip(), count=1).partition("T")
    found = _DATE.fullmatch(written)
    if found is None:
        raise ValueError(f"{text!r} is no date")
    if not FIRST_YEAR <= int(found["year"]) <= LAST_YEAR:
        raise ValueError(f"the year {found['year']} is not in {FIRST_YEAR} to {LAST_YEAR}")
    start, stop = _days(found)
    if not clock:
        return Span(start=_midnight(start), stop=_midnight(stop))
    if stop - start != timedelta(days=1):
        raise ValueError(f"{text!r} has a time but no day")
    return _within_day(start, clock)


def later(moment: datetime, length: str, *, sign: int = 1) -> datetime:
    """The moment that lies a length such as ``P1M``, ``P10D`` or ``PT12H`` after (``sign`` -1: before) another.

    Years and months are calendar ones; a day that the month lacks becomes its last. Raises ValueError for a text that
    is no length and OverflowError beyond the calendar.
    """
    found = _LENGTH.fullmatch(length.strip())
    parts = {key: int(value) for key, value in (found.groupdict() if found else {}).items() if value}
    if not parts:
        raise ValueError(f"{length!r} is no length of time")
    years, months = divmod(moment.month - 1 + sign * (12 * parts.pop("years", 0) + parts.pop("months", 0)), 12)
    year, month = moment.year + years, months + 1
    moved = moment.replace(year=year, month=month, day=min(moment.day, monthrange(year, month)[1]))
    return moved + sign * timedelta(**parts)


def is_length(text: str) -> bool:
    """True for a text that opens as a length of time does."""
    return text.strip()[:1] in {"P", "p"}


def _days(found: re.Match[str]) -> tuple[date, date]:
    """(first day, first day after) of a date as written. Raises ValueError for one that the calendar lacks."""
    year = int(found["year"])
    if found["quarter"]:
        return _months(year, 3 * int(found["quarter"]) - 2, 3)
    if found["month"]:
        return _months(year, int(found["month"]), 1)
    if found["week"]:
        first = date.fromisocalendar(year, int(found["week"]), int(found["weekday"] or 1))
        return first, first + timedelta(days=1 if found["weekday"] else 7)
    if found["day"]:
        first = date(year, int(found["month_of_day"]), int(found["day"]))
    elif found["ordinal"]:
        first = date(year, 1, 1) + timedelta(days=int(found["ordinal"]) - 1)
        if first.year != year:
            raise ValueError(f"{year} has no day {found['ordinal']}")
    else:
        return _months(year, 1, 12)
    return first, first + timedelta(days=1)


def _months(year: int, month: int, n_months: int) -> tuple[date, date]:
    following = month - 1 + n_months
    return date(year, month, 1), date(year + following // 12, following % 12 + 1, 1)


def _within_day(day: date, clock: str) -> Span:
    """The hour, minute or moment of a day."""
    found = _TIME.fullmatch(clock)
    if found is None:
        raise ValueError(f"{clock!r} is no time of day")
    moment = instant(f"{day.isoformat()}T{found['hour']}:{found['minute'] or '00'}:{found['second'] or '00'}"
                     f"{found['zone'] or ''}")  # fmt: skip
    if moment is None:
        raise ValueError(f"{clock!r} is no time of day")
    # 24:00 is the end of its day, not a minute of the next.
    exact = bool(found["second"]) or found["hour"] == "24"
    whole = timedelta(0) if exact else timedelta(minutes=1) if found["minute"] else timedelta(hours=1)
    return Span(start=moment, stop=moment + whole)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, tzinfo=UTC)
