"""The documents of a product, each of which may be damaged: what is not a whole document counts as none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tilewright.tasks.storage.bucket import many_at_once

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tilewright.tasks.storage.storage import Storage


def json_value(content: bytes | None) -> Any:
    """The JSON value in these bytes; None for no bytes, and for what is not JSON."""
    try:
        return json.loads(content) if content else None
    except (ValueError, RecursionError):
        return None


def json_object(content: bytes | None) -> dict[str, Any] | None:
    """The JSON object in these bytes; None for no bytes, for what is not JSON, and for JSON of another type."""
    plain = json_value(content)
    return plain if isinstance(plain, dict) else None


def read_object(storage: Storage, key: str) -> dict[str, Any] | None:
    """The JSON object stored under a key; None if there is none, or it is cut off, garbage or of another type.

    Raises StorageError if storage refuses: an object that cannot be read is not a damaged one.
    """
    return json_object(storage.read(key))


def read_many(storage: Storage, keys: Sequence[str]) -> Iterator[bytes | None]:
    """The bytes of many small objects in the order of their keys, None for what is not there.

    In a bucket many are asked for at a time; in a folder a file is read as it is, without the client of the store.

    Raises StorageError if storage refuses.
    """
    if storage.folder is None:
        yield from many_at_once(storage.read, keys)
        return
    for key in keys:
        try:
            yield storage.call_with_retries(f"read {key} in", (storage.folder / key).read_bytes)
        except FileNotFoundError:
            yield None
