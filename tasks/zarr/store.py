"""The Zarr store of a product: first its whole metadata is declared, then it is filled by whole shards."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import zarr
from zarr.codecs import ZstdCodec
from zarr.errors import ZarrUserWarning

from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.zarr.georeference import Georeference, declare_grid, with_dimension_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.storage.storage import Storage


STORE = "data.zarr"

INNER_CHUNK = 512
"""Side in pixels of a chunk, the smallest piece that can be read alone; about the size of a viewer's requests."""

ZSTD_LEVEL = 1
"""Measured: level 1 writes 563 Mpx of classes per core-second, and higher levels save little space."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLayer:
    """A layer as it is stored; ``nodata`` is also the fill value, which Zarr returns for unwritten chunks."""

    name: str
    dtype: str
    nodata: float
    unit: str = "1"
    description: str = ""
    attributes: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductStore:
    """The open store: ``box`` is its extent in absolute pixels, ``block`` the side of a shard in pixels."""

    storage: Storage
    group: zarr.Group
    layers: Mapping[str, zarr.Array[Any]]
    box: PixelBox
    block: int

    def write_block(self, inner: PixelBox, arrays: Mapping[str, np.ndarray]) -> None:
        """Write one block of every layer in ``arrays``; each array (height, width) is exactly one shard.

        A partial write would read, merge and replace the shard, so that two writers would silently lose pixels. A layer
        that is nodata everywhere has no object; an existing one is removed.

        Raises StorageError, which names the layer and the storage; ValueError for a write that is not a whole shard.
        """
        for name, array in arrays.items():
            target = self.layers[name]
            rows, cols = self._shard_slices(inner, array, target)
            self.storage.call_with_retries(f"write layer {name} to", partial(target.__setitem__, (rows, cols), array))

    def erase_block(self, inner: PixelBox) -> None:
        """Set one block to nodata in every layer."""
        shape = inner.shape
        for name, layer in self.layers.items():
            self.write_block(inner, {name: np.full(shape, layer.fill_value, dtype=layer.dtype)})

    def read_box(self, name: str, box: PixelBox) -> np.ndarray:
        """One layer inside ``box``, shape (height, width), stored dtype.

        Raises StorageError if storage refuses, and the codecs' errors if stored bytes are corrupt.
        """
        array, window = self.layers[name], box.slices_in(self.box)
        return np.asarray(self.storage.call_with_retries(f"read layer {name} of", lambda: array[window]))

    def block_checksum(self, inner: PixelBox, names: Sequence[str]) -> dict[str, str]:
        """The checksum of one block per layer, read back from storage; raises as ``read_box`` does."""
        return {name: array_sha256(self.read_box(name, inner)) for name in names}

    def _shard_slices(self, inner: PixelBox, array: np.ndarray, target: zarr.Array[Any]) -> tuple[slice, slice]:
        rows, cols = inner.slices_in(self.box)
        shard = target.shards or target.chunks
        whole = (
            inner.shape == (self.block, self.block) == tuple(shard) == array.shape
            and rows.start % self.block == 0
            and cols.start % self.block == 0
            and rows.start >= 0
            and cols.start >= 0
            and rows.stop <= target.shape[0]
            and cols.stop <= target.shape[1]
        )
        if not whole:
            raise ValueError(
                f"A write of {array.shape} at {inner} is not one whole shard of {shard}: other writers' pixels would "
                "be lost. Write exactly one block."
            )
        if array.dtype != target.dtype:
            raise ValueError(f"Layer {target.name} stores {target.dtype}, not {array.dtype}.")
        return rows, cols


def declare_store(
    storage: Storage,
    *,
    grid: Grid,
    box: PixelBox,
    block: int,
    layers: Sequence[StoredLayer],
    attributes: Mapping[str, Any],
    zarr_format: Literal[2, 3] = 3,
) -> None:
    """Write the metadata of the whole store: layers, coordinates and CRS, no pixel; repeated calls are harmless."""

    def declare() -> None:
        store = storage.zarr(STORE)
        group = zarr.open_group(store, mode="a", zarr_format=zarr_format)
        declare_grid(group, Georeference.of(grid, box))
        group.update_attributes(dict(attributes))
        for layer in layers:
            if layer.name not in group:
                _declare_layer(group, layer, box=box, block=block, zarr_format=zarr_format)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ZarrUserWarning)
            zarr.consolidate_metadata(store, zarr_format=zarr_format)

    storage.call_with_retries("declare the store in", declare)


def open_store(storage: Storage, *, box: PixelBox, block: int, read_only: bool = False) -> ProductStore:
    """The open store, to write blocks or to read."""
    store = storage.zarr(STORE, read_only=read_only)
    mode: Literal["r", "r+"] = "r" if read_only else "r+"

    def open_layers() -> ProductStore:
        group = zarr.open_group(store, mode=mode, use_consolidated=False)
        # Arrays are opened once: each access to a group's member reads its metadata from storage.
        layers = {name: array for name, array in group.arrays() if array.ndim == 2}
        return ProductStore(storage=storage, group=group, layers=layers, box=box, block=block)

    return storage.call_with_retries("open the store in", open_layers)


def array_sha256(array: np.ndarray) -> str:
    """The SHA-256 in hex of the array's bytes in row-major order."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def array_layout(block: int, *, zarr_format: int) -> dict[str, Any]:
    """The chunks, shards and compression of a layer's array, as arguments of ``create_array``.

    A shard is one block with chunks for viewing. Zarr format 2 has no shards: its chunks are whole blocks.
    """
    if zarr_format == 2:
        return {"chunks": (block, block), "compressors": "auto"}
    inner = INNER_CHUNK if block % INNER_CHUNK == 0 else block
    return {
        "chunks": (inner, inner),
        "shards": (block, block),
        "compressors": ZstdCodec(level=ZSTD_LEVEL),
        "dimension_names": ("y", "x"),
    }


def _declare_layer(
    group: zarr.Group, layer: StoredLayer, *, box: PixelBox, block: int, zarr_format: Literal[2, 3]
) -> None:
    fill = np.array(layer.nodata, dtype=layer.dtype)
    attributes = {
        "grid_mapping": "spatial_ref",
        "long_name": layer.description or layer.name,
        "units": layer.unit,
        **dict(layer.attributes),
    }
    if np.issubdtype(fill.dtype, np.integer):
        attributes["_FillValue"] = int(layer.nodata)
    group.create_array(
        layer.name,
        shape=box.shape,
        dtype=layer.dtype,
        fill_value=fill.item(),
        attributes=with_dimension_names(attributes, ("y", "x"), zarr_format),
        **array_layout(block, zarr_format=zarr_format),
    )


@dataclass(slots=True, kw_only=True)
class LayerRows:
    """The rows of one layer inside ``box`` (absolute pixels), read from top to bottom; one strip is in memory."""

    store: ProductStore
    name: str
    box: PixelBox
    _start: int = 0
    _strip_rows: np.ndarray | None = field(default=None)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows ``start`` to ``stop`` of the box, (stop - start, width) in the stored dtype.

        Raises StorageError if storage refuses, and the codecs' errors if stored bytes are corrupt.
        """
        pieces: list[np.ndarray] = []
        while start < stop:
            strip, first = self._strip(start)
            end = min(stop, first + strip.shape[0])
            pieces.append(strip[start - first : end - first])
            start = end
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _strip(self, row: int) -> tuple[np.ndarray, int]:
        """The strip of chunks that holds a row of the box, cut to the box, and the strip's first row in the box."""
        if self._strip_rows is None or not self._start <= row < self._start + self._strip_rows.shape[0]:
            layer: Any = self.store.layers[self.name]
            height, offset = layer.chunks[0], self.box.row_start - self.store.box.row_start
            first = max((row + offset) // height * height - offset, 0)
            stop = min(((row + offset) // height + 1) * height - offset, self.box.shape[0])
            self._strip_rows = None
            self._strip_rows = self.store.read_box(
                self.name,
                PixelBox(
                    row_start=self.box.row_start + first,
                    row_stop=self.box.row_start + stop,
                    col_start=self.box.col_start,
                    col_stop=self.box.col_stop,
                ),
            )
            self._start = first
        return self._strip_rows, self._start
