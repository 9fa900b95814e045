"""The periods of a job, from the texts that a person writes."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    field_serializer,
    field_validator,
    model_validator,
)

from tilewright.catalogs.fields import FIRST_YEAR, LAST_YEAR
from tilewright.flows.job.span import LEAST, Span, is_length, later, read_span

NAME = re.compile(r"^[A-Za-z0-9._-]{1,128}\Z")

RESERVED_PERIOD = "period"

OPEN = ".."

OPEN_START = datetime(FIRST_YEAR, 1, 1, tzinfo=UTC)
"""Stands for an open start: before any satellite. It is no clock's, so that a job means the same on every day."""

OPEN_END = datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC) - LEAST
"""Stands for an open end."""

FORMS = (
    "write 2021-06-01/2021-06-30 (both ends included), a day 2021-06-17, a week 2021-W22, a month 2021-06, a quarter "
    "2021-Q2, a year 2021, a length 2021-06-01/P1M, or .. for an open end: 2021-06-01/.."
)

START_KEYS = frozenset({"start", "starting", "from", "first", "begin", "beginning", "since", "min", "minimum", "lower"})

END_KEYS = frozenset({"end", "ending", "to", "last", "until", "till", "through", "stop", "max", "maximum", "upper"})
"""Keys by which people mean the two ends of one period; as names they would make two."""


class JobPeriod(BaseModel):
    """A named span of time in UTC, both ends included; the name is ``period`` if there is only one.

    An open end is OPEN_START or OPEN_END here and ``..`` in JSON.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    start: datetime
    end: datetime

    @property
    def text(self) -> str:
        """The period as a person would write it: ``2021-06-01/2021-06-30``, ``2021-06-01/..``."""
        return f"{_shown(self.start, time.min)}/{_shown(self.end, time.max)}"

    @property
    def known_ends(self) -> tuple[datetime | None, datetime | None]:
        """(start, end) with None for an open end, as searches take them."""
        return None if self.start == OPEN_START else self.start, None if self.end == OPEN_END else self.end

    @property
    def is_open(self) -> bool:
        """True if an end is open."""
        return None in self.known_ends

    @field_validator("start", mode="before")
    @classmethod
    def _read_start(cls, value: Any) -> Any:
        if isinstance(value, datetime):
            return value if value.tzinfo else value.replace(tzinfo=UTC)
        return OPEN_START if value == OPEN else read_span(str(value)).start if _is_text(value) else value

    @field_validator("end", mode="before")
    @classmethod
    def _read_end(cls, value: Any) -> Any:
        if isinstance(value, datetime):
            return value if value.tzinfo else value.replace(tzinfo=UTC)
        return OPEN_END if value == OPEN else read_span(str(value)).last if _is_text(value) else value

    @field_serializer("start", "end", mode="wrap", when_used="json")
    def _written(self, moment: datetime, write: SerializerFunctionWrapHandler) -> str:
        return OPEN if moment in {OPEN_START, OPEN_END} else str(write(moment))

    @model_validator(mode="after")
    def _in_order(self) -> JobPeriod:
        if not OPEN_START <= self.start <= self.end <= OPEN_END:
            raise ValueError(f"{self.text} ends before it starts, or leaves the years {FIRST_YEAR} to {LAST_YEAR}")
        return self


def checked_name(name: str) -> str:
    """The name itself. Raises ValueError for one that cannot be a file name."""
    if not NAME.match(name) or set(name) == {"."}:
        raise ValueError("letters, digits, dot, dash and underscore only, 128 at most")
    return name


def as_periods(value: object) -> object:
    """The periods of a text, a list of texts, or a mapping of names to texts; periods and their JSON as they are.

    Raises ValueError, with the forms that a period may have, for anything else.
    """
    if _is_text(value):
        return [read_period(str(value))]
    if isinstance(value, dict) and value:
        if _are_ends(value):
            raise ValueError(f"{' and '.join(map(str, value))} would be two periods of these names: {FORMS}")
        return [_period(str(name), str(text)) for name, text in value.items()]
    if isinstance(value, (list, tuple)) and value:
        if all(_is_text(entry) for entry in value):
            return [_period(f"period-{number}", str(entry)) for number, entry in enumerate(value, start=1)]
        if all(isinstance(entry, (dict, JobPeriod)) for entry in value):
            return value
    raise ValueError(f"{value!r} is not a period: {FORMS}")


def read_period(text: str) -> JobPeriod:
    """The period of a text, under the name of one that stands alone. Raises ValueError for a text that is none."""
    return _period(RESERVED_PERIOD, text)


def _are_ends(named: dict[Any, Any]) -> bool:
    """True for two keys of which one is a word for a start, the other for an end: ``start_date`` and ``end_date``."""
    plain = {re.sub(r"(?<![\W_])[\W_]*(date|time|day){1,3}$", "", str(key).strip().lower()[:40]) for key in named}
    return len(named) == 2 and bool(plain & START_KEYS) and bool(plain & END_KEYS)


def _is_text(value: object) -> bool:
    """True for a text, and for a number or date, as which YAML reads ``2021``, ``20210601`` and ``2021-06-01``."""
    return isinstance(value, (str, date, int)) and not isinstance(value, bool)


def _period(name: str, text: str) -> JobPeriod:
    try:
        start, end = _ends(text)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is not a period: {FORMS}") from error
    if end < start:
        raise ValueError(f"{text!r} ends before it starts: write the earlier date first")
    return JobPeriod(name=checked_name(name), start=start, end=end)


def _ends(text: str) -> tuple[datetime, datetime]:
    """(first, last) moment of a period as written.

    Raises ValueError or OverflowError for a text that is none.
    """
    if text.count("/") == 0:
        span = read_span(text)
        return span.start, span.last
    first, last = (part.strip() for part in text.split("/"))
    if is_length(first):
        stop = read_span(last)
        return _measured(Span(start=later(stop.stop, first, sign=-1), stop=stop.stop), stop.last)
    start = OPEN_START if first in {"", OPEN} else read_span(first).start
    if is_length(last) and first not in {"", OPEN}:
        span = Span(start=start, stop=later(start, last))
        return _measured(span, span.last)
    return start, OPEN_END if last in {"", OPEN} else read_span(last).last


def _measured(span: Span, last: datetime) -> tuple[datetime, datetime]:
    """The ends of a span that a length has made. Raises ValueError for a length of nothing or beyond the calendar."""
    if not OPEN_START <= span.start < span.stop <= OPEN_END:
        raise ValueError("a length of nothing, or beyond the calendar")
    return span.start, last


def _shown(moment: datetime, edge: time) -> str:
    """The date of a moment at the ``edge`` of its day, else the moment; ``..`` for an open end."""
    if moment in {OPEN_START, OPEN_END}:
        return OPEN
    return moment.date().isoformat() if moment.time() == edge else moment.isoformat().replace("+00:00", "Z")
