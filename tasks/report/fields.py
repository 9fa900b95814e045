"""Values of report.json, each checked for its type: any key may be missing or hold an unexpected value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tilewright.tasks.report.format import moment, number

if TYPE_CHECKING:
    from datetime import datetime


Fields = Mapping[str, object]


def mapping(fields: Fields, key: str) -> Fields:
    """The mapping under `key`; empty if the value is missing or no mapping."""
    value = fields.get(key)
    return value if isinstance(value, Mapping) else {}


def rows(fields: Fields, key: str) -> list[Fields]:
    """The mappings in the list under `key`; an entry that is plain text becomes {"reason": text}."""
    value = fields.get(key)
    if not isinstance(value, Sequence) or isinstance(value, str):
        return []
    entries = [entry if isinstance(entry, Mapping) else {"reason": str(entry)} for entry in value if entry is not None]
    return [entry for entry in entries if entry]


def text(fields: Fields, key: str) -> str:
    """The text or number under `key` as stripped text; empty if the value is missing or of another type."""
    value = fields.get(key)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return str(value).strip()


def texts(fields: Fields, key: str) -> tuple[str, ...]:
    """The texts in the list under `key`; a single text counts as a list of one."""
    value = fields.get(key)
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, Sequence):
        return ()
    return tuple(str(entry) for entry in value if isinstance(entry, str | int | float))


def numbers(fields: Fields, key: str, n: int) -> tuple[float, ...]:
    """Exactly `n` finite numbers from the list under `key`; empty if the list holds anything else."""
    value = fields.get(key)
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != n:
        return ()
    entries = [number(entry) for entry in value]
    return tuple(entry for entry in entries if entry is not None) if None not in entries else ()


def named_periods(fields: Fields, key: str) -> list[tuple[str, datetime, datetime]]:
    """(label, start, end) of each period under `key`, in the order of the report; the label may be empty.

    Accepts "a/b", [a, b], {"before": "a/b"} and [{"label", "start", "end"}]; an invalid period is left out.
    """
    value = fields.get(key)
    labelled: list[tuple[str, object]] = []
    if isinstance(value, Mapping):
        labelled = [(str(label), entry) for label, entry in value.items()]
    elif isinstance(value, Sequence) and not isinstance(value, str) and value and isinstance(value[0], Mapping):
        entries = [entry for entry in value if isinstance(entry, Mapping)]
        labelled = [(text(entry, "label"), [entry.get("start"), entry.get("end")]) for entry in entries]
    else:
        labelled = [("", value)]
    periods = [(label, _period(entry)) for label, entry in labelled]
    return [(label, period[0], period[1]) for label, period in periods if period]


def _period(value: object) -> tuple[datetime, datetime] | None:
    pair = value.split("/") if isinstance(value, str) else value
    if not isinstance(pair, Sequence) or len(pair) != 2:
        return None
    start, end = moment(pair[0]), moment(pair[1])
    return (start, end) if start and end and start <= end else None
