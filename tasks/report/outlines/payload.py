"""What the page's script draws: tables with their shapes and colours, and which layer's classes a table has."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tilewright.tasks.colours import class_colours

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilewright.tasks.report.outlines.table import ListedRow, Shape, TableOutlines


MOST_CLASSES = 256
"""Values of a table above which they are no classes, but numbers in a table of others."""

UNCLASSED = "#882255"
"""Colour of shapes of no class, such as zones: one of the defaults that comes late, so that few classes have it too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableView:
    """A table on the page: its title, and the colour ("#rrggbb") of each class value among its shapes and rows."""

    table: TableOutlines
    title: str
    colours: Mapping[int | None, str]

    def colour(self, row: ListedRow | Shape) -> str:
        """The colour of a row."""
        return self.colours[row.value]


def table_view(table: TableOutlines, layers: Mapping[str, Mapping[str, str]]) -> TableView:
    """The view of a table; `layers` are the class layers by name, each with the colour of a class by its value as text.

    A table has the colours of the layer that it names, or whose name its own begins with, or else default ones.
    """
    of_layer = layers.get(table.layer or layer_of(table.name, [*layers]), {})
    found = {shape.value for shape in table.shapes} | {row.value for row in table.listed}
    values = sorted(found, key=lambda value: (value is None, value or 0))
    if len(values) > MOST_CLASSES:
        return TableView(table=table, title=_title(table), colours=dict.fromkeys(values, UNCLASSED))
    colours = class_colours([UNCLASSED if value is None else of_layer.get(str(value)) for value in values])
    return TableView(table=table, title=_title(table), colours=dict(zip(values, colours, strict=True)))


def _title(table: TableOutlines) -> str:
    return table.name.replace("_", " ")


def layer_of(table: str, layers: Sequence[str]) -> str:
    """The layer whose shapes a table holds, by its name: the longest that it begins with; empty if there is none."""
    found = [layer for layer in layers if table == layer or table.startswith(f"{layer}_")]
    return max(found, key=len, default="")


def payload(views: Sequence[TableView]) -> list[dict[str, Any]]:
    """The tables as JSON values for the script; of a shape its number, kind, area, path and box."""
    return [_table(view) for view in views]


def _table(view: TableView) -> dict[str, Any]:
    # Names and colours repeat in thousands of shapes: they are written once.
    kinds = list(dict.fromkeys((shape.value, shape.name) for shape in view.table.shapes))
    numbers = {kind: number for number, kind in enumerate(kinds)}
    return {
        "title": view.title,
        "size": view.table.size,
        "kinds": [[view.colours[value][1:], name] for value, name in kinds],
        "shapes": [
            [
                shape.number,
                numbers[shape.value, shape.name],
                None if math.isnan(shape.area) else round(shape.area),
                shape.path,
                *shape.box,
            ]
            for shape in view.table.shapes
        ],
    }
