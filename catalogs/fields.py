"""Typed values of the fields of a provider's item, where a wrong type counts as missing; JSON with no key twice."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Any

DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{8}")

MOMENT = re.compile(
    rf"({DATE.pattern})(?:(?:T|_|\s+)([0-9]{{2}})(?::?([0-9]{{2}})(?::?([0-9]{{2}})(?:[.,]([0-9]+))?)?)?\s*"
    r"(Z|UTC|[+-][0-9]{2}(?::?[0-9]{2})?)?)?",
    re.IGNORECASE,
)
"""A date, and after T or a blank a time, in the extended or basic form of ISO 8601."""

FIRST_YEAR, LAST_YEAR = 1900, 2199
"""Years that dates of scenes and periods may have; others stand for none or are misprints. Dates in nanoseconds, as
tables hold them, end in 2262."""

NAMED_NUMBERS = {"nan": math.nan, "inf": math.inf, "+inf": math.inf, "-inf": -math.inf}


# Controls (C0, C1, DEL), marks that turn or hide text (bidirectional, zero width), line separators, lone surrogates.
UNSEEN = re.compile(
    r"[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    r"\U000e0000-\U000e007f]"
)


class TwiceError(ValueError):
    """A mapping that has one key twice: one of its values would be lost without a word."""


def visible(text: str) -> str:
    r"""The text with every character that moves the cursor, turns the text or cannot be seen written as its escape."""
    return UNSEEN.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def text(value: object) -> str | None:
    """The value as a non-empty string, or None."""
    if isinstance(value, str):
        return value.strip() or None
    return None


def number(value: object) -> float | None:
    """The value as a float, or None; "nan", "inf" and "-inf" are numbers as the raster extension writes them.

    A whole number that no float holds is None.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and (named := NAMED_NUMBERS.get(value.strip().lower())) is not None:
        return named
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def integer(value: object) -> int | None:
    """The value as an int, or None if it is not a whole number."""
    parsed = number(value)
    return int(parsed) if parsed is not None and math.isfinite(parsed) and parsed == int(parsed) else None


def mapping(value: object) -> Mapping[str, Any]:
    """The value as a mapping, empty if it is not one."""
    return value if isinstance(value, Mapping) else {}


def listing(value: object) -> Sequence[Any]:
    """The value as a sequence, empty if it is not a list or tuple."""
    return value if isinstance(value, list | tuple) else ()


def instant(value: object) -> datetime | None:
    """The value as an aware UTC datetime, or None; a time without a zone is UTC, as STAC defines it.

    A date alone is its midnight. Second 60 is the last microsecond of its minute: a leap second belongs to its own day.
    Digits beyond microseconds are cut off. Source: RFC 3339, 5.6 and 5.7.
    """
    try:
        if isinstance(value, datetime):
            parsed: datetime | None = value
        elif isinstance(value, date):
            parsed = datetime.combine(value, time.min)
        else:
            parsed = _moment(value.strip()) if isinstance(value, str) else None
        if parsed is None:
            return None
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def last_instant(value: object) -> datetime | None:
    """The last moment that the value names as an aware UTC datetime, or None: a date alone is its whole day."""
    moment = instant(value)
    alone = DATE.fullmatch(value.strip()) if isinstance(value, str) else not isinstance(value, datetime)
    return moment + timedelta(days=1, microseconds=-1) if moment is not None and alone else moment


def stated_span(properties: Mapping[str, Any]) -> tuple[datetime, datetime | None] | None:
    """(`datetime`, None) or (`start_datetime`, `end_datetime`) of an item's properties; None if neither can be read.

    An item with a `datetime` is that moment, whatever interval it states beside. Without an end, and if both ends are
    equal, the start is the moment.
    """
    moment = instant(properties.get("datetime"))
    if moment is not None:
        return moment, None
    start, end = instant(properties.get("start_datetime")), last_instant(properties.get("end_datetime"))
    if start is None:
        return None
    return start, None if end == start else end


def _moment(written: str) -> datetime | None:
    """The moment of a text, with its zone if it has one. Raises ValueError for one that the calendar lacks."""
    found = MOMENT.fullmatch(written)
    if found is None:
        return None
    day, hour, minute, second, fraction, zone = found.groups()
    midnight = datetime.combine(date.fromisoformat(day), time.min)
    if second == "60":
        second, fraction = "59", "999999"
    fields = (int(hour or 0), int(minute or 0), int(second or 0), int((fraction or "")[:6].ljust(6, "0")))
    past_midnight = fields == (24, 0, 0, 0)
    clock = time() if past_midnight else time(*fields)
    moment = datetime.combine(midnight, clock) + timedelta(days=past_midnight)
    return moment.replace(tzinfo=_zone(zone))


def _zone(written: str | None) -> timezone:
    if written is None or written.upper() in {"Z", "UTC"}:
        return UTC
    hours, minutes = int(written[1:3]), int(written[-2:]) if len(written) > 3 else 0
    return timezone((1 if written[0] == "+" else -1) * timedelta(hours=hours, minutes=minutes))


def first(*values: Any) -> Any:
    """The first value that is not None, or None."""
    return next((value for value in values if value is not None), None)


def load_json(content: bytes | str) -> Any:
    """The value of a JSON text. Raises ValueError for a text that is none, and TwiceError where it has a key twice."""
    try:
        return json.loads(content, object_pairs_hook=_once)
    except TwiceError as error:
        text = content if isinstance(content, str) else content.decode(errors="replace")
        written = rf"{re.escape(json.dumps(error.args[0], ensure_ascii=False))}\s*:"
        lines = [text.count("\n", 0, found.start()) + 1 for found in re.finditer(written, text)]
        # The same key may stand in other objects too: then the lines of these two are not known.
        raise TwiceError(twice(error.args[0], lines if len(lines) == 2 else [])) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The pairs of an object as a mapping. Raises TwiceError, with the key alone, where two have one key."""
    plain: dict[str, Any] = {}
    for key, value in pairs:
        if key in plain:
            raise TwiceError(key)
        plain[key] = value
    return plain


def twice(key: str, lines: list[int]) -> str:
    """The words on a key that one mapping has twice, in these lines; none where they are not known."""
    places = f", in lines {lines[0]} and {lines[1]}" if len({*lines}) == 2 else f", in line {lines[0]}" if lines else ""
    return f"{key[:80]} is written twice{places}: keep one of them"
