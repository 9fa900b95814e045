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

FIBOA: Mapping[str, tuple[str, Kind]] = {"area": ("Area", "hectares"), "perimeter": ("Perimeter", "length")}
"""The same of columns of fiboa."""

LAST: Mapping[str, tuple[str, Kind]] = {"observed": ("Observed", "number")}
"""Columns that are listed after all others, however many there are."""

SQUARE_METRES = "_m2"
"""How the name of a column ends that holds areas."""

PASSED = ("id", "value", "geometry", "bbox", "determination_datetime", "determination_method")
"""Columns that are shown otherwise, or not at all."""

_STORED: Mapping[Kind, Kind] = {
    "area": "number", "hectares": "number", "length": "number", "number": "number", "flag": "flag", "class": "text",
}  # fmt: skip
"""What a column holds whose cells are shown as a kind."""

MAX_COLUMNS, LONGEST_TITLE, LONGEST_TEXT = 7, 30, 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: its name in the table, its title on the page, and how its cells are shown."""

    name: str
    title: str
    kind: Kind


def listed_columns(schema: Any) -> tuple[Column, ...]:
    """The columns of a table's schema that are listed: those that are known, then others of plain types."""
    # A table of others may have columns of these names that hold something else.
    kinds = {field.name: _kind(field.type) for field in schema}
    told = {**KNOWN, **(FIBOA if is_fiboa(schema) else {})}
    titles = {name: shown for name, shown in told.items() if _STORED[shown[1]] == kinds.get(name)}
    known = [Column(name=name, title=title, kind=kind) for name, (title, kind) in titles.items()]
    last = [
        Column(name=name, title=title, kind=kind) for name, (title, kind) in LAST.items() if kinds.get(name) == kind
    ]
    taken = {*titles, *PASSED, *(column.name for column in last)}
    others = [_other(name, kind) for name, kind in kinds.items() if name not in taken and kind is not None]
    return (*(*known, *others)[: MAX_COLUMNS - len(last)], *last)


def _other(name: str, kind: Kind) -> Column:
    if kind == "number" and name.endswith(SQUARE_METRES):
        return Column(name=name, title=f"{_title(name.removesuffix(SQUARE_METRES))} area", kind="area")
    return Column(name=name, title=_title(name), kind=kind)


def _title(name: str) -> str:
    return name.replace("_", " ")[:LONGEST_TITLE]


def is_number(schema: Any, name: str) -> bool:
    """True for a column of a pyarrow schema that is there and holds numbers."""
    return name in schema.names and _kind(schema.field(name).type) == "number"


def is_fiboa(schema: Any) -> bool:
    """True for the pyarrow schema of a table in the words of fiboa, whose ``area`` is in hectares."""
    return b"fiboa" in (schema.metadata or {})


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
