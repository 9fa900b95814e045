"""`items.parquet`: the Items of a Collection as one stac-geoparquet table, to be searched without reading each."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.errors import CatalogError

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path


NULLABLE = {"datetime", "geometry", "proj:code"}
"""Fields of an Item in which null says something; any other null is a hole that the table's columns tear."""


LEFT_OUT = "processing:expression"


def write_items(path: Path, items: Iterable[Mapping[str, Any]]) -> None:
    """A stac-geoparquet file at `path` with the Items in order of (date, id); there whole or not at all.

    The table is for searching: `processing:expression`, whose shape differs from job to job, stays in the Items alone.

    Raises CatalogError: no Item at all; a table without rows has no columns.
    """
    # A third of a second of import that only publication pays.
    from stac_geoparquet.arrow import parse_stac_items_to_arrow, to_parquet  # noqa: PLC0415

    ordered = sorted((_searchable(item) for item in items), key=_order)
    if not ordered:
        raise CatalogError(f"{path.name}: no item to write; a table of items needs at least one")
    part = path.with_name(f".{path.name}.part")
    try:
        to_parquet(parse_stac_items_to_arrow(ordered), part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read_items(path: Path) -> list[dict[str, Any]]:
    """The Items of a stac-geoparquet file, holes left by other Items' fields taken out.

    Raises CatalogError: the file is not a table of Items.
    """
    # The types of pyarrow are not usable yet.
    pa, pq = import_module("pyarrow"), import_module("pyarrow.parquet")
    from stac_geoparquet.arrow import stac_table_to_items  # noqa: PLC0415

    try:
        return [_without_holes(item) for item in stac_table_to_items(pq.read_table(path))]
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise CatalogError(f"{path.name} is not a stac-geoparquet table: {error}") from error


def add_items(path: Path, items: Sequence[Mapping[str, Any]], *, without: re.Pattern[str] | None = None) -> None:
    """`path` with the Items in it, in place of those of the same ids; the file is begun where there is none.

    Items already there whose whole id matches `without` are taken out.

    Raises CatalogError: what is there is not a table of Items.
    """
    known = read_items(path) if path.exists() else []
    added = {item["id"] for item in items}
    kept = [
        item
        for item in known
        if item["id"] not in added and not (without is not None and without.fullmatch(item["id"]))
    ]
    write_items(path, [*kept, *items])


def _searchable(item: Mapping[str, Any]) -> dict[str, Any]:
    """The Item without what no column can hold: a settings tree of its own, and mappings without a key."""
    properties = {key: value for key, value in item["properties"].items() if key != LEFT_OUT}
    return {**_without_empties(dict(item)), "properties": _without_empties(properties), "assets": dict(item["assets"])}


def _without_empties(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_empties(inner) for key, inner in value.items() if inner != {}}
    return [_without_empties(entry) for entry in value] if isinstance(value, list) else value


def _order(item: Mapping[str, Any]) -> tuple[str, str]:
    properties = item["properties"]
    return properties.get("datetime") or properties["start_datetime"], item["id"]


def _without_holes(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_holes(v) for k, v in value.items() if v is not None or k in NULLABLE}
    return [_without_holes(entry) for entry in value] if isinstance(value, list) else value
