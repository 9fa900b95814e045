"""Typed values of the fields of a provider's item; a value of the wrong type counts as missing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

NAMED_NUMBERS = {"nan": math.nan, "inf": math.inf, "+inf": math.inf, "-inf": -math.inf}


def text(value: object) -> str | None:
    """The value as a non-empty string, or None."""
    if isinstance(value, str):
        return value.strip() or None
    return None


def number(value: object) -> float | None:
    """The value as a float, or None; "nan", "inf" and "-inf" are numbers as the raster extension writes them."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, str):
        named = NAMED_NUMBERS.get(value.strip().lower())
        if named is not None:
            return named
        try:
            return float(value)
        except ValueError:
            return None
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
    """The value as an aware UTC datetime, or None; a time without a zone is UTC, as STAC defines it."""
    if isinstance(value, datetime):
        parsed = value
    elif isinstance(value, str):
        try:
            parsed = datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    else:
        return None
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


def first(*values: Any) -> Any:
    """The first value that is not None, or None."""
    return next((value for value in values if value is not None), None)
