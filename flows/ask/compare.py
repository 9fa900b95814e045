"""Two finished products compared, on a disk or in buckets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tilewright.flows.environment import storage_options
from tilewright.tasks.storage.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tilewright.tasks.storage.storage import Storage


def compare_outputs(a: str, b: str, *, to: str | None = None) -> dict[str, Any]:
    """The comparison of two finished products by their folders or URIs; its files are written ``to`` a place, if any.

    Raises StoreError, CompareError for what cannot be compared, StorageError or ChangedStoreError where reading or
    writing fails.
    """
    # A slow import: pictures, tables and the page come with it.
    from tilewright.tasks.compare.files import compare_products

    place = None if to is None else _storage(to)
    return compare_products(_storage(a), _storage(b), (a, b), place)


def _storage(uri: str) -> Storage:
    return open_storage(uri, options=storage_options(uri))


def comparison_lines(document: Mapping[str, Any], to: str | None) -> Iterator[str]:
    """The lines for a person: the two products, the sentences, and where the page is."""
    for letter in ("a", "b"):
        told = document[letter]
        facts = ", ".join(each for each in (told["model"], told["period"]) if each)
        yield f"{letter.upper()}: {told['name']}{f' ({facts})' if facts else ''}"
    yield from document["summary"]
    if to is not None:
        yield f"  page     {to.rstrip('/')}/comparison.html"
        yield f"  figures  {to.rstrip('/')}/comparison.json"
        yield f"  places   {to.rstrip('/')}/{document['table']}"
