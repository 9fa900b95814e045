"""The periods of a job, from the texts that a person writes."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta

from pydantic import BaseModel, ConfigDict

NAME = re.compile(r"^[A-Za-z0-9._-]{1,128}$")

RESERVED_PERIOD = "period"


class JobPeriod(BaseModel):
    """A named span of time in UTC, both ends included; the name is ``period`` if there is only one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    start: datetime
    end: datetime

    @property
    def text(self) -> str:
        """The period as a person would write it: ``2021-06-01/2021-06-30``."""
        return f"{self.start.date().isoformat()}/{self.end.date().isoformat()}"


def checked_name(name: str) -> str:
    """The name itself. Raises ValueError for one that cannot be a file name."""
    if not NAME.match(name) or set(name) == {"."}:
        raise ValueError("letters, digits, dot, dash and underscore only, 128 at most")
    return name


def as_periods(value: object) -> object:
    """The periods of a text, a list of texts, or a mapping of names to texts; any other value as it is."""
    # YAML reads a year as a number.
    if isinstance(value, (str, date, int)):
        return [_period(RESERVED_PERIOD, str(value))]
    if isinstance(value, dict):
        return [_period(str(name), str(text)) for name, text in value.items()]
    if isinstance(value, list) and value and all(isinstance(entry, str) for entry in value):
        return [_period(f"period-{number}", entry) for number, entry in enumerate(value, start=1)]
    return value


def _period(name: str, text: str) -> JobPeriod:
    start_text, slash, end_text = text.strip().partition("/")
    try:
        start, _ = _instant(start_text)
        _, end = _instant(end_text if slash else start_text)
    except ValueError as error:
        raise ValueError(
            f"{text!r} is not a period: write 2021-06-01/2021-06-30 (both ends included), one day or one month 2021-06"
        ) from error
    if end < start:
        raise ValueError(f"{text!r} ends before it starts: write the earlier date first")
    return JobPeriod(name=checked_name(name), start=start, end=end)


def _instant(text: str) -> tuple[datetime, datetime]:
    """(first, last) moment of a day or month, or twice the moment itself, in UTC."""
    text = text.strip()
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        day = datetime.combine(date.fromisoformat(text), time.min, tzinfo=UTC)
        return day, day + timedelta(days=1) - timedelta(microseconds=1)
    if re.fullmatch(r"\d{4}-\d{2}", text):
        first = datetime.combine(date.fromisoformat(f"{text}-01"), time.min, tzinfo=UTC)
        return first, (first + timedelta(days=31)).replace(day=1) - timedelta(microseconds=1)
    moment = datetime.fromisoformat(text)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment, moment
