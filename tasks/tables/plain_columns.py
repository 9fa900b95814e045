"""Columns of any types as those that every format knows, and what a format would turn into something else."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.catalogs.parquet import pyarrow
from tilewright.tasks.tables.vector_file import VectorFileError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FORMULA = re.compile(r"^[=+\-@\t\r]")
"""How a text begins that a spreadsheet computes instead of showing it. Source: OWASP, "CSV Injection"."""

CLASSES = b"tilewright:classes"
"""The key, in the metadata of a column of classes, of their names."""


def plain_columns(table: Any) -> Any:
    """The columns of a pyarrow table with types that every format knows: numbers, texts, dates, JSON for the rest.

    Beside a column of classes stand their names, as ``<column>_name``, but where the table has such a column itself.
    """
    pa = pyarrow()
    columns: dict[str, Any] = {}
    taken = {name.casefold() for name in table.column_names}
    for field in table.schema:
        columns[field.name] = _plain_column(table[field.name])
        names = _class_names(field)
        if names and f"{field.name}_name".casefold() not in taken:
            told = [names.get(str(value)) for value in table[field.name].to_pylist()]
            columns[f"{field.name}_name"] = pa.array(told, type=pa.string())
    return pa.table(columns) if columns else table


def with_class_names(table: Any, column: str, names: Mapping[int, str]) -> Any:
    """The table with the names of the classes that are the values of a column, kept beside it in the schema."""
    place = table.schema.get_field_index(column)
    told = json.dumps({str(value): name for value, name in names.items()}, ensure_ascii=False)
    return table.cast(table.schema.set(place, table.schema.field(place).with_metadata({CLASSES: told})))


def _class_names(field: Any) -> dict[str, str]:
    """The names of classes that a field keeps, by their values as texts; empty where it keeps none."""
    content = (field.metadata or {}).get(CLASSES)
    if content is None:
        return {}
    try:
        names = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return {key: name for key, name in names.items() if isinstance(name, str)} if isinstance(names, dict) else {}


def plain_schema(schema: Any) -> Any:
    """The schema of `plain_columns` of a table with that schema."""
    return plain_columns(schema.empty_table()).schema


def gdal_columns(table: Any, *, finite: bool) -> Any:
    """Plain columns as GDAL keeps them: it has no unsigned numbers of 64 bits, which become texts of all their digits.

    ``finite``: what is no number becomes null, for formats that cannot say it.
    """
    pa = pyarrow()
    compute = pa.compute
    table = plain_columns(table)
    for place, field in enumerate(table.schema):
        column = table[field.name]
        if pa.types.is_uint64(field.type):
            table = table.set_column(place, field.name, column.cast(pa.string()))
        elif finite and pa.types.is_floating(field.type):
            held = compute.if_else(compute.is_finite(column), column, pa.scalar(None, type=field.type))
            table = table.set_column(place, field.name, held)
    return table


def harmless_columns(table: Any) -> Any:
    """Plain columns for a spreadsheet: a text or a name that it would compute has an apostrophe before it."""
    pa = pyarrow()
    table = plain_columns(table)
    for place, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            shown = [None if text is None else harmless(text) for text in table[field.name].to_pylist()]
            table = table.set_column(place, field.name, pa.array(shown, type=pa.string()))
    return table.rename_columns([harmless(name) for name in table.column_names])


def harmless(text: str) -> str:
    """A text with an apostrophe before it if a spreadsheet would compute it; a number stays one."""
    return f"'{text}" if FORMULA.match(text) and not _is_number(text) else text


def check_column_names(name: str, columns: Sequence[str], *, taken: Sequence[str] = (), fold: bool = False) -> None:
    """Check that a table's columns differ from each other and from those ``taken``, with ``fold`` not by case alone.

    Raises VectorFileError.
    """
    seen = {each.casefold() if fold else each: each for each in taken}
    for column in columns:
        key = column.casefold() if fold else column
        if key in seen:
            raise VectorFileError(
                f"{name} has a column {column!r} beside {seen[key]!r}, which this format cannot tell from it: take "
                "another format, or rename it."
            )
        seen[key] = column


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _plain_column(column: Any) -> Any:
    pa = pyarrow()
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _plain_column(column.cast(kind.value_type))
    if pa.types.is_float16(kind):
        return column.cast(pa.float32())
    known = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_date, pa.types.is_timestamp)
    if any(test(kind) for test in known) or pa.types.is_string(kind):
        return column
    if pa.types.is_large_string(kind) or pa.types.is_null(kind):
        return column.cast(pa.string())
    texts = [None if value is None else _text(value) for value in column.to_pylist()]
    return pa.array(texts, type=pa.string())


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value.hex() if isinstance(value, bytes) else value, default=str, ensure_ascii=False)
