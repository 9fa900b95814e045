"""The columns of a table that the page lists, and how each is shown."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from tilewright.catalogs.parquet import pyarrow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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

DIGITS, MOST_DIGITS = 3, 12
"""Digits of a column's numbers, and the most where more are needed to tell its numbers apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassColumn:
    """The columns by which a table tells the class of a row: that of its ``value``, and that of its ``name``, or in
    place of that the ``names`` by value. ``layer`` is the layer whose colours they have; empty: by the table's name.

    No columns are named for a table of others without classes: its columns are theirs, whatever they are called.
    """

    value: str = "value"
    name: str = "name"
    names: Mapping[int, str] = field(default_factory=dict)
    layer: str = ""


OWN, OF_OTHERS = ClassColumn(), ClassColumn(value="", name="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: its name in the table, its title on the page, and how its cells are shown."""

    name: str
    title: str
    kind: Kind
    digits: int = DIGITS


def listed_columns(schema: Any, classes: ClassColumn = OWN) -> tuple[Column, ...]:
    """The columns of a table's schema that are listed: those that are known, then others of plain types."""
    # A table of others may have columns of these names that hold something else.
    kinds = {field.name: _kind(field.type) for field in schema}
    told = {**KNOWN, **(FIBOA if is_fiboa(schema) else {})}
    if classes.name != "name":
        told.pop("name")
    titles = {name: shown for name, shown in told.items() if _STORED[shown[1]] == kinds.get(name)}
    if classes.names and kinds.get(classes.value) == "number":
        titles = {classes.value: (_title(classes.value).capitalize(), "class"), **titles}
    known = [Column(name=name, title=title, kind=kind) for name, (title, kind) in titles.items()]
    last = [
        Column(name=name, title=title, kind=kind) for name, (title, kind) in LAST.items() if kinds.get(name) == kind
    ]
    passed = {name for name in PASSED if name != "value" or classes.value == "value"}
    if classes is not OWN and kinds.get("id") == "text":
        # A number stands in front of each row, and a key that is a text nowhere else.
        passed.remove("id")
    taken = {*titles, *passed, *(column.name for column in last)}
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


def enough_digits(values: Iterable[object]) -> int:
    """The digits by which the numbers among values differ: three of the span between the least and the largest."""
    numbers = [float(each) for each in values if isinstance(each, int | float) and math.isfinite(each)]
    largest, span = max(map(abs, numbers), default=0.0), max(numbers, default=0.0) - min(numbers, default=0.0)
    if not (math.isfinite(span) and span > 0):
        return DIGITS
    return min(DIGITS + max(0, math.floor(math.log10(largest)) - math.floor(math.log10(span))), MOST_DIGITS)


def cell(value: object) -> object:
    """A value as the page shows it: of a text what is no letter made visible, a long one cut."""
    if not isinstance(value, str):
        return value
    text = value[:LONGEST_TEXT]
    shown = text if text.isprintable() else "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
    return shown[:LONGEST_TEXT]
