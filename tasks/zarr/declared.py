"""Declarations of a store, made in memory and written by content: what is there already is compared, never assumed.

A step that was cut off leaves a group without its arrays, an array without its metadata, or an axis without its
numbers. Whoever only asks whether a name exists takes such a half for the whole.
"""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.errors import ZarrUserWarning
from zarr.storage import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.storage.storage import Storage


THREADS = 8
"""Objects that are compared at a time: they hide the latency of a bucket."""

METADATA = {3: ("zarr.json",), 2: (".zgroup", ".zarray", ".zattrs", ".zmetadata")}
"""Names of metadata documents by Zarr format."""


class Declaration:
    """A store in memory, declared as any other by ``group``, whose objects are then put where they belong."""

    def __init__(self, zarr_format: Literal[2, 3], documents: Mapping[str, bytes] | None = None) -> None:
        self.zarr_format = zarr_format
        buffer = default_buffer_prototype().buffer
        self._objects = {key: buffer.from_bytes(content) for key, content in (documents or {}).items()}
        self._store = MemoryStore(self._objects)
        self.group = zarr.open_group(self._store, mode="a", zarr_format=zarr_format, use_consolidated=False)

    def consolidate(self) -> None:
        """Gather the metadata of the whole tree in its root."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ZarrUserWarning)
            zarr.consolidate_metadata(self._store, zarr_format=self.zarr_format)

    def objects(self) -> dict[str, bytes]:
        """Every object by key: metadata and coordinates."""
        return {key: value.to_bytes() for key, value in self._objects.items()}


def put_objects(storage: Storage, prefix: str, objects: Mapping[str, bytes]) -> list[str]:
    """Write the objects that are missing below ``prefix`` or hold something else; returns their keys there, sorted.

    Raises StorageError if storage refuses.
    """

    def put(key: str) -> bool:
        wanted = objects[key]
        if storage.read(f"{prefix}/{key}") == wanted:
            return False
        storage.write(f"{prefix}/{key}", wanted)
        return True

    # Groups come before what is in them, and the root last: readers find a store by it.
    inner = sorted((key for key in objects if "/" in key), key=lambda key: (key.count("/"), key))
    root = sorted(key for key in objects if "/" not in key)
    with ThreadPoolExecutor(THREADS) as pool:
        written = [key for key, was in zip(inner, pool.map(put, inner), strict=True) if was]
    return sorted([*written, *(key for key in root if put(key))])


def read_documents(storage: Storage, prefix: str, folders: Iterable[str], *, zarr_format: int) -> dict[str, bytes]:
    """The metadata documents of these folders (of groups and arrays; "" is the root) below ``prefix``, by key."""
    keys = [f"{folder}/{name}".lstrip("/") for folder in folders for name in METADATA[zarr_format]]
    with ThreadPoolExecutor(THREADS) as pool:
        contents = pool.map(lambda key: storage.read(f"{prefix}/{key}"), keys)
        return {key: content for key, content in zip(keys, contents, strict=True) if content is not None}


def metadata_of(objects: Mapping[str, bytes], folder: str) -> dict[str, bytes]:
    """The metadata documents of one folder among objects."""
    names = {f"{folder}/{name}".lstrip("/") for names in METADATA.values() for name in names}
    return {key: content for key, content in objects.items() if key in names}


def shape_of(plain: Mapping[str, Any] | None) -> tuple[int, ...] | None:
    """The shape in an array's metadata document; None for anything else."""
    shape = None if plain is None else plain.get("shape")
    whole = isinstance(shape, list) and all(isinstance(side, int) for side in shape)
    return tuple(shape) if whole else None  # type: ignore[arg-type]


def fill_of(array: zarr.Array[Any]) -> Any:
    """What an array returns where nothing is written: its fill value, 0 where it has none."""
    return array.dtype.type(0) if array.metadata.fill_value is None else array.fill_value


def empty_pixels(array: zarr.Array[Any], box: PixelBox) -> np.ndarray:
    """Nodata of a layer's array inside a box, (height, width, ...) as it is stored."""
    return np.full((*box.shape, *array.shape[2:]), fill_of(array), dtype=array.dtype)


def chunk_key(array: zarr.Array[Any], place: tuple[int, int]) -> str:
    """The key of the object at (row, col) of a layer's array, in its folder; vectors lie in one object whole."""
    return str(array.metadata.encode_chunk_key((*place, *(0 for _ in array.shape[2:]))))
