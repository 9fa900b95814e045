"""report.json read with suspicion: any key may be missing or hold something else than it should."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tilewright.tasks.report.format import moment, number

if TYPE_CHECKING:
    from datetime import datetime


Fields = Mapping[str, object]


def part(fields: Fields, key: str) -> Fields:
    """The mapping under `key`; empty when it is missing or no mapping."""
    value = fields.get(key)
    return value if isinstance(value, Mapping) else {}


def rows(fields: Fields, key: str) -> list[Fields]:
    """The mappings in the list under `key`; a plain text in it becomes {"reason": text}."""
    value = fields.get(key)
    if not isinstance(value, Sequence) or isinstance(value, str):
        return []
    kept = [entry if isinstance(entry, Mapping) else {"reason": str(entry)} for entry in value if entry is not None]
    return [entry for entry in kept if entry]


def text(fields: Fields, key: str) -> str:
    """The text or number under `key`, stripped; empty when it is missing or anything else."""
    value = fields.get(key)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return str(value).strip()


def texts(fields: Fields, key: str) -> tuple[str, ...]:
    """The texts in the list under `key`, or the one text that stands there."""
    value = fields.get(key)
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, Sequence):
        return ()
    return tuple(str(entry) for entry in value if isinstance(entry, str | int | float))


def numbers(fields: Fields, key: str, n: int) -> tuple[float, ...]:
    """Exactly `n` finite numbers from the list under `key`; empty when it holds anything else."""
    value = fields.get(key)
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != n:
        return ()
    kept = [number(entry) for entry in value]
    return tuple(entry for entry in kept if entry is not None) if None not in kept else ()


def spans(fields: Fields, key: str) -> list[tuple[str, datetime, datetime]]:
    """Named periods under `key`, in the order given.

    Written as "a/b", [a, b], {"before": "a/b"} or [{"label", "start", "end"}]; what cannot be read is left out.
    """
    value = fields.get(key)
    found: list[tuple[str, object]] = []
    if isinstance(value, Mapping):
        found = [(str(label), entry) for label, entry in value.items()]
    elif isinstance(value, Sequence) and not isinstance(value, str) and value and isinstance(value[0], Mapping):
        entries = [entry for entry in value if isinstance(entry, Mapping)]
        found = [(text(entry, "label"), [entry.get("start"), entry.get("end")]) for entry in entries]
    else:
        found = [("", value)]
    read = [(label, _ends(entry)) for label, entry in found]
    return [(label, ends[0], ends[1]) for label, ends in read if ends]


def _ends(value: object) -> tuple[datetime, datetime] | None:
    pair = value.split("/") if isinstance(value, str) else value
    if not isinstance(pair, Sequence) or len(pair) != 2:
        return None
    start, end = moment(pair[0]), moment(pair[1])
    return (start, end) if start and end and start <= end else None
