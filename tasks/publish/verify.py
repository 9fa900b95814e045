"""Finds what is not as it was written, before the Item that lists it is: by listings, without a request per chunk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tilewright.tasks.cog.cog_file import is_unchanged
from tilewright.tasks.cog.write import file_multihash
from tilewright.tasks.inventory.listing import list_top
from tilewright.tasks.publish.written import cog_spec
from tilewright.tasks.tables.table_file import is_table_unchanged
from tilewright.tasks.zarr.store import ChangedStoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilewright.tasks.inventory.listing import Listed
    from tilewright.tasks.publish.written import WrittenLayer, WrittenLayers
    from tilewright.tasks.storage.storage import Storage
    from tilewright.tasks.tables.table_file import UploadedTable


def check_published(
    storage: Storage, written: WrittenLayers, *, sizes: Mapping[str, int], documents: Mapping[str, bytes]
) -> None:
    """Check that all that an Item will list is in storage as it was written.

    Chunks by their sizes and tags, layers' files by their checksums (in a bucket by their tags), metadata and
    ``documents`` by their bytes, other files by their ``sizes`` in bytes.

    Raises ChangedStoreError where something is not, StorageError if storage refuses.
    """
    written.stored.check()
    there = list_top(storage)
    expected = {**sizes, **{name: len(content) for name, content in documents.items()}}
    wrong = {name for name, size in expected.items() if name not in there or there[name].size != size}
    wrong |= {name for name, content in documents.items() if name not in wrong and storage.read(name) != content}
    wrong |= set(_changed_cogs(storage, written, there))
    wrong |= {table.name for table in written.tables if not _is_table_whole(storage, table, there)}
    wrong |= {layer.href for layer in written.layers if layer.parts and not _is_vrt_whole(storage, layer, there)}
    if wrong:
        raise ChangedStoreError(f"{', '.join(sorted(wrong)[:3])} of {storage.uri} changed after it was written")


def check_written(storage: Storage, name: str, content: bytes) -> None:
    """Check that a document is what was written: a put that was answered as done may have made something else.

    Raises ChangedStoreError where it is not, StorageError if storage refuses.
    """
    if storage.read(name) != content:
        raise ChangedStoreError(f"{name} of {storage.uri} changed after it was written")


def _changed_cogs(storage: Storage, written: WrittenLayers, there: Mapping[str, Listed]) -> list[str]:
    """The names of COGs that are not as they were uploaded, or whose sidecar is not."""
    specs = {
        facts.path.name: layer.spec
        for layer in written.layers
        for facts in ([facts for _, facts in layer.parts] or [layer.facts])
    }
    changed = []
    for cog in written.cogs:
        name = cog.facts.path.name
        listed = there.get(name)
        if (
            listed is None
            or listed.size != cog.facts.size
            or not is_unchanged(storage, cog, cog_spec(specs[name]), tag=listed.tag if storage.remote else None)
        ):
            changed.append(name)
    return changed


def _is_table_whole(storage: Storage, table: UploadedTable, there: Mapping[str, Listed]) -> bool:
    listed = there.get(table.name)
    if listed is None or listed.size != table.size:
        return False
    return is_table_unchanged(storage, table, tag=listed.tag if storage.remote else None)


def _is_vrt_whole(storage: Storage, layer: WrittenLayer, there: Mapping[str, Listed]) -> bool:
    listed = there.get(layer.href)
    if listed is None or listed.size != layer.facts.size:
        return False
    return storage.folder is None or file_multihash(storage.folder / layer.href) == layer.facts.checksum
