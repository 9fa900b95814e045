"""`items.parquet`: the Items of a Collection as one stac-geoparquet table, for searches that read no single Item."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.parquet import pyarrow

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path


NULLABLE = {"datetime", "geometry", "proj:code"}
"""Fields of an Item in which null has a meaning; any other null comes from the table's union of columns."""


EXCLUDED_PROPERTY = "processing:expression"


def write_items(path: Path, items: Iterable[Mapping[str, Any]]) -> None:
    """Write the Items as a stac-geoparquet file in the order of (date, id), atomically.

    The table is for searching, so `processing:expression`, whose structure differs between jobs, is left out.

    Raises:
        CatalogError: there is no Item; a table without rows has no columns.
    """
    # The import takes a third of a second, which only publication needs.
    from stac_geoparquet.arrow import parse_stac_items_to_arrow, to_parquet  # noqa: PLC0415

    ordered = sorted((_searchable(item) for item in items), key=_sort_key)
    if not ordered:
        raise CatalogError(f"{path.name}: no item to write; a table of items needs at least one")
    part = path.with_name(f".{path.name}.part")
    try:
        to_parquet(parse_stac_items_to_arrow(ordered), part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read_items(path: Path) -> list[dict[str, Any]]:
    """The Items of a stac-geoparquet file, without the nulls that stem from other Items' fields.

    Raises:
        CatalogError: the file is not a table of Items.
    """
    pa = pyarrow()
    from stac_geoparquet.arrow import stac_table_to_items  # noqa: PLC0415

    try:
        return [_without_nulls(item) for item in stac_table_to_items(pa.parquet.read_table(path))]
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise CatalogError(f"{path.name} is not a stac-geoparquet table: {error}") from error


def add_items(path: Path, items: Sequence[Mapping[str, Any]], *, without: re.Pattern[str] | None = None) -> None:
    """Write the Items into the table at `path`, replacing those with the same ids; a missing file is created.

    Existing Items whose complete id matches `without` are removed.

    Raises:
        CatalogError: the existing file is not a table of Items.
    """
    existing = read_items(path) if path.exists() else []
    added = {item["id"] for item in items}
    kept = [
        item
        for item in existing
        if item["id"] not in added and not (without is not None and without.fullmatch(item["id"]))
    ]
    write_items(path, [*kept, *items])


def _searchable(item: Mapping[str, Any]) -> dict[str, Any]:
    """The Item without fields that a column cannot hold: the settings, and empty mappings."""
    properties = {key: value for key, value in item["properties"].items() if key != EXCLUDED_PROPERTY}
    return {**_without_empties(dict(item)), "properties": _without_empties(properties), "assets": dict(item["assets"])}


def _without_empties(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_empties(inner) for key, inner in value.items() if inner != {}}
    return [_without_empties(entry) for entry in value] if isinstance(value, list) else value


def _sort_key(item: Mapping[str, Any]) -> tuple[str, str]:
    properties = item["properties"]
    return properties.get("datetime") or properties["start_datetime"], item["id"]


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None or k in NULLABLE}
    return [_without_nulls(entry) for entry in value] if isinstance(value, list) else value
