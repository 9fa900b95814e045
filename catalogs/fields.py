"""Fields of a foreign item as typed values; what has the wrong shape counts as missing."""

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


def whole(value: object) -> int | None:
    """The value as an int, or None where it is not a whole number."""
    found = number(value)
    return int(found) if found is not None and math.isfinite(found) and found == int(found) else None


def mapping(value: object) -> Mapping[str, Any]:
    """The value as a mapping, empty where it is none."""
    return value if isinstance(value, Mapping) else {}


def listing(value: object) -> Sequence[Any]:
    """The value as a sequence, empty where it is none."""
    return value if isinstance(value, list | tuple) else ()


def moment(value: object) -> datetime | None:
    """The value as an aware UTC datetime, or None; a time without a zone is UTC, as STAC has it."""
    if isinstance(value, datetime):
        found = value
    elif isinstance(value, str):
        try:
            found = datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    else:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def first(*values: Any) -> Any:
    """The first value that is not None, or None."""
    return next((value for value in values if value is not None), None)
