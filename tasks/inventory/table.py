"""The table of a Collection's Items in a product, read whatever stands in its place, and written whole."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.publish.geoparquet import read_items, write_items

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilewright.tasks.storage.storage import Storage


TABLE = "items.parquet"


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


def write_table(storage: Storage, items: Sequence[Mapping[str, Any]]) -> bytes:
    """Write the table of these Items in place of the existing one, whole; returns its bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / TABLE
        write_items(path, items)
        content = path.read_bytes()
    storage.write(TABLE, content)
    return content
