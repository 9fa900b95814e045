"""Figures as text: counts, areas, bytes, durations, dates. A missing figure is an en dash."""

from __future__ import annotations

import math
from datetime import UTC, datetime

ABSENT = "–"

_NARROW_SPACE = "\u202f"  # narrow no-break space: groups digits, and no language reads it as a decimal point or comma


def number(value: object) -> float | None:
    """The value as a finite float; None if it is not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def count(value: object) -> str:
    """A whole number in groups of three: "12 345"."""
    amount = number(value)
    return ABSENT if amount is None else f"{amount:,.0f}".replace(",", _NARROW_SPACE)


def figure(value: object, digits: int = 3) -> str:
    """Any number to so many significant digits, without those that are zeros at the end, and never less than whole:
    "0.0123", "1.2", "12 345".
    """
    amount = number(value)
    if amount is None:
        return ABSENT
    if abs(amount) >= 10**digits:
        return count(amount)
    if amount and abs(amount) < 1e-4:
        return f"{amount:.{digits - 1}e}"
    decimals = digits - 1 - math.floor(math.log10(abs(amount))) if amount else 0
    text = f"{amount:,.{max(decimals, 0)}f}".replace(",", _NARROW_SPACE)
    return text.rstrip("0").rstrip(".") if "." in text else text


def fixed(value: object, decimals: int) -> str:
    """A number with `decimals` decimals, for columns: "0.10"; "< 0.01" for a positive number that would round to 0."""
    amount = number(value)
    if amount is None:
        return ABSENT
    least = 10.0**-decimals
    if 0 < amount < least / 2:
        return f"<\u00a0{least:.{decimals}f}"
    return f"{amount:,.{decimals}f}".replace(",", _NARROW_SPACE)


def percent(value: object) -> str:
    """A percentage to one decimal; "< 0.1 %" for a positive one that would round to 0."""
    amount = number(value)
    if amount is None:
        return ABSENT
    return "<\u00a00.1\u00a0%" if 0 < amount < 0.05 else f"{amount:.1f}\u00a0%"


def share(value: object) -> str:
    """A fraction of one as a percentage without decimals: 0.64 -> "64 %"; below 1 % in the form of `percent`."""
    amount = number(value)
    if amount is None or 0 < amount < 0.01:
        return percent(None if amount is None else amount * 100)
    return f"{amount * 100:.0f}\u00a0%"


def size(value: object) -> str:
    """Bytes in decimal units: "1.2 MB"."""
    amount = number(value)
    if amount is None:
        return ABSENT
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(amount) < 1000 or unit == "TB":
            break
        amount /= 1000
    return f"{figure(amount)}\u00a0{unit}"


def megabytes(value: object) -> str:
    """A number of megabytes in the unit that fits: 2500 -> "2.5 GB"."""
    amount = number(value)
    return ABSENT if amount is None else size(amount * 1e6)


def area(value: object) -> str:
    """Square metres in the unit that fits: "900 m²", "4.56 ha", "1.23 km²"."""
    return _in_units(value, ((1e6, "km²"), (1e4, "ha"), (1, "m²")))


def distance(value: object) -> str:
    """Metres in the unit that fits: "640 m", "1.23 km"."""
    return _in_units(value, ((1e3, "km"), (1, "m")))


def _in_units(value: object, units: tuple[tuple[float, str], ...]) -> str:
    amount = number(value)
    if amount is None:
        return ABSENT
    # Three digits may round up into the next unit.
    size_, unit = next((each for each in units if abs(amount) >= each[0] * 0.9995), units[-1])
    return f"{figure(amount / size_)}\u00a0{unit}"


def duration(value: object) -> str:
    """Seconds as "0.42 s", "12.3 s", "4 min 05 s", "2 h 13 min"."""
    amount = number(value)
    if amount is None:
        return ABSENT
    if amount < 100:
        return f"{amount:.{2 if amount < 10 else 1}f}\u00a0s"
    whole = round(amount)
    if whole < 3600:
        return f"{whole // 60}\u00a0min\u00a0{whole % 60:02d}\u00a0s"
    return f"{whole // 3600}\u00a0h\u00a0{whole % 3600 // 60:02d}\u00a0min"


def moment(value: object) -> datetime | None:
    """The instant in an ISO 8601 text, as UTC; a text without a time zone is taken as UTC. None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        parsed = datetime.fromisoformat(value.strip())
    except ValueError:
        return None
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


def day(value: object) -> str:
    """The date of an instant: "17 Jun 2021"."""
    at = value if isinstance(value, datetime) else moment(value)
    return f"{at.day}\u00a0{at:%b\u00a0%Y}" if at else ABSENT


def instant(value: object) -> str:
    """Date and minute of an instant in UTC: "17 Jun 2021 10:05 UTC"."""
    at = moment(value)
    return f"{day(at)} {at:%H:%M}\u00a0UTC" if at else ABSENT


def part_of(n: int, total: object, one: str, *, singular: str, others: str) -> str:
    """A count of a total with the verb that the count asks for: "1 of 4 scenes is", "2 of 4 scenes are"."""
    return f"{n} of {plural(total, one)} {singular if n == 1 else others}"


def plural(value: object, one: str, many: str = "") -> str:
    """A count with its noun: "1 scene", "12 scenes"."""
    return f"{count(value)} {one if number(value) == 1 else many or one + 's'}"
