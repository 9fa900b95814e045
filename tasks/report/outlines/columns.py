"""The columns of a table that the page lists, and how each is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tilewright.catalogs.parquet import pyarrow

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal["area", "hectares", "length", "number", "text", "flag", "class"]

KNOWN: Mapping[str, tuple[str, Kind]] = {
    "name": ("Class", "class"),
    "score": ("Score", "number"),
    "area_m2": ("Area", "area"),
    "perimeter_m": ("Perimeter", "length"),
    "touches_edge": ("At the edge", "flag"),
}
"""Titles and kinds of columns that tables of this project have, in the order in which they are listed."""

PASSED = ("id", "value", "geometry", "bbox")
"""Columns that are shown otherwise, or not at all."""

MAX_COLUMNS, LONGEST_TITLE, LONGEST_TEXT = 7, 30, 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: its name in the table, its title on the page, and how its cells are shown."""

    name: str
    title: str
    kind: Kind


def listed_columns(schema: Any) -> tuple[Column, ...]:
    """The columns of a table's schema that are listed: those that are known, then others of plain types."""
    known = [Column(name=name, title=title, kind=kind) for name, (title, kind) in KNOWN.items() if name in schema.names]
    others = [
        Column(name=field.name, title=field.name.replace("_", " ")[:LONGEST_TITLE], kind=kind)
        for field in schema
        if field.name not in KNOWN and field.name not in PASSED and (kind := _kind(field.type)) is not None
    ]
    return (*known, *others)[:MAX_COLUMNS]


def _kind(kind: Any) -> Kind | None:
    types = pyarrow().types
    if types.is_boolean(kind):
        return "flag"
    if types.is_integer(kind) or types.is_floating(kind):
        return "number"
    return "text" if types.is_string(kind) or types.is_large_string(kind) else None


def cell(value: object) -> object:
    """A value as the page shows it: a long text cut."""
    return value[:LONGEST_TEXT] if isinstance(value, str) else value
