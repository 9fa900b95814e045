"""A table of a product as a file: as it was uploaded, and its record, by which later runs keep it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tilewright.tasks.cog.write import file_multihash
from tilewright.tasks.storage.documents import read_object
from tilewright.tasks.storage.storage import STATE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from tilewright.tasks.storage.storage import Storage

RECORDS = f"{STATE_FOLDER}/tables"

MEDIA_TYPE = "application/vnd.apache.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadedTable:
    """A table as it was uploaded: the name of its file, bytes, SHA-256 as a multihash in hex, and rows.

    ``key``: the digest of all that determines it; ``etag`` its tag in a bucket. ``recorded``: a later run may keep it.
    """

    name: str
    size: int
    checksum: str
    n_rows: int
    key: str
    etag: str | None
    recorded: bool


def table_asset(table: str, layers: Collection[str]) -> str:
    """The key of a table among the assets of an Item: its name, and more where a layer of the product has that."""
    return f"{table}_polygons" if table in layers else table


def uploaded_table(storage: Storage, path: Path, *, key: str, n_rows: int) -> UploadedTable:
    """The table of a local file, moved into storage under its name."""
    size, checksum, name = path.stat().st_size, file_multihash(path), path.name
    storage.move_file(name, path)
    return UploadedTable(
        name=name, size=size, checksum=checksum, n_rows=n_rows, key=key, etag=storage.etag(name), recorded=False
    )


def write_table_record(storage: Storage, table: UploadedTable) -> None:
    """Record an uploaded table, so that later runs keep it."""
    plain = {name: getattr(table, name) for name in ("key", "etag", "size", "checksum", "n_rows")}
    storage.write_json(_record_key(table.name), plain)


def read_table_record(storage: Storage, name: str, key: str) -> UploadedTable | None:
    """The recorded table with that key; None if there is none, or it has changed since its upload."""
    plain = read_object(storage, _record_key(name))
    if plain is None or plain.get("key") != key:
        return None
    try:
        known = UploadedTable(
            name=name,
            size=_count(plain["size"]),
            checksum=str(plain["checksum"]),
            n_rows=_count(plain["n_rows"]),
            key=key,
            etag=plain["etag"] if isinstance(plain["etag"], str) else None,
            recorded=True,
        )
    except (KeyError, TypeError):
        return None
    return known if is_table_unchanged(storage, known) else None


def is_table_unchanged(storage: Storage, table: UploadedTable, *, tag: str | None = None) -> bool:
    """True if a table is in storage as it was uploaded; ``tag`` is that of an object in a bucket, if a listing told."""
    if storage.folder is None:
        return table.etag is not None and (tag or storage.etag(table.name)) == table.etag
    path = storage.folder / table.name
    return path.is_file() and path.stat().st_size == table.size and file_multihash(path) == table.checksum


def _record_key(name: str) -> str:
    return f"{RECORDS}/{name}.json"


def _count(value: object) -> int:
    """The value itself. Raises TypeError for what is no count."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError("a count is no whole number")
    return value
