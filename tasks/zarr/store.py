"""The Zarr store of a product: declared whole and empty first, then filled one whole shard at a time."""

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
from tilewright.tasks.zarr.georeference import Georeference, declare_grid, named

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.storage.storage import Storage


STORE = "data.zarr"

INNER_CHUNK = 512
"""Pixels per side of a piece that can be read alone, near what a viewer asks for at once."""

ZSTD_LEVEL = 1
"""FACTS: level 1 writes 563 Mpx per core-second of classes, and higher levels gain little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLayer:
    """A layer as it is stored; ``nodata`` is also what Zarr returns for what was never written."""

    name: str
    dtype: str
    nodata: float
    unit: str = "1"
    description: str = ""
    attributes: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductStore:
    """The open store: ``box`` is what it covers in absolute pixels, ``block`` the shard's side in pixels."""

    storage: Storage
    group: zarr.Group
    layers: Mapping[str, zarr.Array[Any]]
    box: PixelBox
    block: int

    def write_block(self, inner: PixelBox, arrays: Mapping[str, np.ndarray]) -> None:
        """Write one block of every layer given; each array (height, width) is exactly one shard.

        A write of less would read, merge and replace what another writer holds: Zarr loses pixels then without a word.
        A layer that is nodata everywhere leaves no object, and removes one that was there.

        Raises StorageError naming the layer and the place.
        """
        for name, array in arrays.items():
            target = self.layers[name]
            rows, cols = self._shard_slices(inner, array, target)
            self.storage.insist(f"write layer {name} to", partial(target.__setitem__, (rows, cols), array))

    def erase_block(self, inner: PixelBox) -> None:
        """Make one block nodata again in every layer."""
        shape = inner.shape
        for name, layer in self.layers.items():
            self.write_block(inner, {name: np.full(shape, layer.fill_value, dtype=layer.dtype)})

    def read_box(self, name: str, box: PixelBox) -> np.ndarray:
        """One layer inside ``box``, shape (height, width), stored dtype.

        Raises StorageError where storage refuses, and whatever the codecs raise where stored bytes are broken.
        """
        array, place = self.layers[name], box.slices_in(self.box)
        return np.asarray(self.storage.insist(f"read layer {name} of", lambda: array[place]))

    def block_checksum(self, inner: PixelBox, names: Sequence[str]) -> dict[str, str]:
        """The checksum of each layer's block as it reads back now; raises as ``read_box`` does."""
        return {name: checksum(self.read_box(name, inner)) for name in names}

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
    """Write the metadata of the whole store: every layer, coordinates and CRS, no pixel. Doing it twice is harmless."""

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

    storage.insist("declare the store in", declare)


def open_store(storage: Storage, *, box: PixelBox, block: int, read_only: bool = False) -> ProductStore:
    """The declared store, for writing blocks or for reading."""
    store = storage.zarr(STORE, read_only=read_only)
    mode: Literal["r", "r+"] = "r" if read_only else "r+"

    def opened() -> ProductStore:
        group = zarr.open_group(store, mode=mode, use_consolidated=False)
        # Opened once: each look at a group's member reads its metadata from storage anew.
        layers = {name: array for name, array in group.arrays() if array.ndim == 2}
        return ProductStore(storage=storage, group=group, layers=layers, box=box, block=block)

    return storage.insist("open the store in", opened)


def checksum(array: np.ndarray) -> str:
    """SHA-256 in hex over the array's bytes in row-major order."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def array_layout(block: int, *, zarr_format: int) -> dict[str, Any]:
    """How an array of blocks is cut and compressed: shards of one block with chunks fit for viewing, zstd.

    Zarr format 2 knows no shards: its chunks are whole blocks.
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
        attributes=named(attributes, ("y", "x"), zarr_format),
        **array_layout(block, zarr_format=zarr_format),
    )


@dataclass(slots=True, kw_only=True)
class LayerRows:
    """Rows of one layer inside ``box`` (absolute pixels), asked for from top to bottom; one strip is held."""

    store: ProductStore
    name: str
    box: PixelBox
    _start: int = 0
    _held: np.ndarray | None = field(default=None)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows ``start`` to ``stop`` of the box, (stop - start, width) in the stored dtype.

        Raises StorageError where storage refuses, and whatever the codecs raise where stored bytes are broken.
        """
        pieces: list[np.ndarray] = []
        while start < stop:
            strip, first = self._strip(start)
            end = min(stop, first + strip.shape[0])
            pieces.append(strip[start - first : end - first])
            start = end
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _strip(self, row: int) -> tuple[np.ndarray, int]:
        """The strip that holds a row of the box, cut to the box, and its first row there."""
        if self._held is None or not self._start <= row < self._start + self._held.shape[0]:
            layer: Any = self.store.layers[self.name]
            height, offset = layer.chunks[0], self.box.row_start - self.store.box.row_start
            first = max((row + offset) // height * height - offset, 0)
            stop = min(((row + offset) // height + 1) * height - offset, self.box.shape[0])
            self._held = None
            self._held = self.store.read_box(
                self.name,
                PixelBox(
                    row_start=self.box.row_start + first,
                    row_stop=self.box.row_start + stop,
                    col_start=self.box.col_start,
                    col_stop=self.box.col_stop,
                ),
            )
            self._start = first
        return self._held, self._start
