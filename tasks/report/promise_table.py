"""What a run was foretold to take, beside what it took."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tilewright.tasks.report import format as words
from tilewright.tasks.report.fields import mapping, text
from tilewright.tasks.report.format import number

if TYPE_CHECKING:
    from collections.abc import Callable

    from tilewright.tasks.report.fields import Fields


_ROWS: tuple[tuple[str, str, Callable[[object], str]], ...] = (
    ("seconds", "Time", words.duration),
    ("bytes_read", "Read, compressed", words.size),
    ("bytes_stored", "Stored, without pages", words.size),
    ("peak_memory_mb", "Peak memory", words.megabytes),
)
"""Keys of `promised` and `measured`, their names and how their values are written."""

_MAX_BASIS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class PromiseRow:
    """An amount as it was foretold and as it was, as text; `ratio` of the second to the first, None for none."""

    name: str
    promised: str
    measured: str
    ratio: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PromiseTable:
    """The amounts of a run, none where nothing was foretold; `basis` says from what."""

    rows: tuple[PromiseRow, ...]
    basis: str


def promise_table(report: Fields) -> PromiseTable:
    """The table for `promised`, `measured` and `ratios` of a report."""
    promised, measured, ratios = (mapping(report, key) for key in ("promised", "measured", "ratios"))
    return PromiseTable(
        rows=tuple(
            PromiseRow(
                name=name,
                promised=write(promised.get(key)),
                measured=write(measured.get(key)),
                ratio=number(ratios.get(key)),
            )
            for key, name, write in _ROWS
            if number(promised.get(key)) is not None and number(measured.get(key)) is not None
        ),
        basis=text(promised, "basis")[:_MAX_BASIS],
    )
