"""The table of a Collection's Items in a product, read whatever stands in its place, and made whole."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.publish.geoparquet import read_items, write_items
from tilewright.tasks.inventory.record import TABLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def read_rows(content: bytes) -> list[dict[str, Any]] | None:
    """The Items of a table; None for bytes that are no table of Items."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / TABLE
        path.write_bytes(content)
        try:
            rows = read_items(path)
        except Exception:
            # Readers of Parquet raise whatever the damage leads them to.
            return None
    return rows if all(isinstance(row.get("id"), str) and isinstance(row.get("assets"), dict) for row in rows) else None


def table_with(items: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]] = ()) -> bytes:
    """The table of these Items. Of ``others``, which anybody may have written, those without which there is one."""
    if not others:
        return table_bytes(items)
    try:
        return table_bytes((*others, *items))
    except Exception:
        # Writers of Parquet raise whatever the values lead them to.
        content = table_bytes(items)
    kept: list[Mapping[str, Any]] = []
    for other in others:
        with suppress(Exception):
            content = table_bytes((*kept, other, *items))
            kept.append(other)
    return content


def table_bytes(items: Sequence[Mapping[str, Any]]) -> bytes:
    """The table of these Items. Raises whatever their values lead the writer to."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / TABLE
        write_items(path, items)
        return path.read_bytes()
