"""The open store of a product: whole blocks, which wait beside the ledger, and the arrays that are cut out of them."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import zarr

from tilewright.tasks.grid.blocks import block_at
from tilewright.tasks.grid.cells import block_range
from tilewright.tasks.inventory.listing import folders_below
from tilewright.tasks.storage.errors import FencedError, StorageError
from tilewright.tasks.zarr.declare import BLOCKS, STORE
from tilewright.tasks.zarr.declared import chunk_key, empty_pixels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.storage.storage import Storage


T = TypeVar("T")


class ChangedStoreError(RuntimeError):
    """Blocks, chunks or files of a product that are not what was written: another try makes them anew."""

    def __init__(self, found: str) -> None:
        super().__init__(
            f"{found}: another program or the storage changed it, and nothing is published. Keep other programs from "
            "writing there, and run the same job again, which makes it anew."
        )
        self.found = found


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductStore:
    """The open store: per layer, ``waiting`` holds whole blocks and ``published`` the product's own array.

    ``box`` is the extent of the first, ``extent`` of the second, in absolute pixels; ``block`` is the side of a shard.
    A pixel of a block that waits is read there, any other from the product's array. ``standing`` collects the (row,
    col) of blocks that were found whole in the product's arrays.
    """

    storage: Storage
    group: zarr.Group
    waiting: Mapping[str, zarr.Array[Any]]
    published: Mapping[str, zarr.Array[Any]]
    box: PixelBox
    extent: PixelBox
    block: int
    standing: set[tuple[int, int]] = field(default_factory=set, repr=False, compare=False)
    _places: dict[str, set[tuple[int, int]]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def write_block(self, inner: PixelBox, arrays: Mapping[str, np.ndarray]) -> None:
        """Write one block of every layer in ``arrays``; each array (height, width, ...) is exactly one shard.

        A partial write would read, merge and replace the shard, so that two writers would silently lose pixels. A block
        of nodata is an object too: it replaces what the product's array holds.

        Raises StorageError, which names the layer and the storage; ValueError for a write that is not a whole shard.
        """
        for name, array in arrays.items():
            target = self.waiting[name]
            rows, cols = self._shard_slices(inner, array, target)
            write_shard(self.storage, target, (rows, cols), array, folder=f"{BLOCKS}/{name}")
            if name in self._places:
                self._places[name].add((rows.start // self.block, cols.start // self.block))

    def erase_block(self, inner: PixelBox) -> None:
        """Set one block to nodata in every layer."""
        for name, layer in self.waiting.items():
            self.write_block(inner, {name: empty_pixels(layer, inner)})

    def read_box(self, name: str, box: PixelBox) -> np.ndarray:
        """One layer inside ``box``, (height, width), stored dtype, vectors along a third axis; nodata outside.

        Raises StorageError if storage refuses, ChangedStoreError if stored bytes are corrupt.
        """
        layer, absent = self.published[name], list(self._absent(name, box))
        if len(absent) == self._n_touched(box):
            pixels, absent = empty_pixels(layer, box), [box]
        else:
            pixels = self._read(name, self.waiting[name], box.slices_in(self.box))
        for piece in absent:
            inside = piece.intersect(box).intersect(self.extent)
            if not inside.empty:
                pixels[inside.slices_in(box)] = self._read(name, layer, inside.slices_in(self.extent))
        return pixels

    def published_box(self, name: str, box: PixelBox) -> np.ndarray:
        """One layer of the product's own array inside ``box``, as ``read_box`` gives it, without blocks that wait.

        Where a block waits it is nodata: what the array holds there is not read.
        """
        layer = self.published[name]
        pixels = empty_pixels(layer, box)
        for piece in self._absent(name, box):
            inside = piece.intersect(box).intersect(self.extent)
            if not inside.empty:
                pixels[inside.slices_in(box)] = self._read(name, layer, inside.slices_in(self.extent))
        return pixels

    def waits_at(self, name: str, row: int, col: int) -> bool:
        """True if the block at an absolute place waits to be cut out."""
        top, left = self.box.row_start // self.block, self.box.col_start // self.block
        return (row - top, col - left) in self.places(name)

    def waits_in(self, name: str, box: PixelBox) -> bool:
        """True if a block that touches ``box`` waits to be cut out."""
        return len(list(self._absent(name, box))) < self._n_touched(box)

    def block_checksum(self, inner: PixelBox, names: Sequence[str]) -> dict[str, str]:
        """The checksum of one block per layer, read back from storage; raises as ``read_box`` does."""
        return {name: array_sha256(self.read_box(name, inner)) for name in names}

    def places(self, name: str) -> set[tuple[int, int]]:
        """(row, col) of the blocks of a layer that wait, counted from the first of ``box``; listed once."""
        if name not in self.waiting:
            return set()
        if name not in self._places:
            folder = f"{BLOCKS}/{name}/c"
            keys = (key.removeprefix(f"{folder}/").split("/") for key in self.storage.keys(folder))
            # An upload that broke off leaves a file with another ending.
            chunks = (key for key in keys if len(key) > 1 and "".join(key).isdigit())
            self._places[name] = {(int(key[0]), int(key[1])) for key in chunks}
        return self._places[name]

    def expect(self, places: Iterable[tuple[int, int]]) -> None:
        """Take the blocks at absolute places for waiting: they do by the time that they are read."""
        top, left = self.box.row_start // self.block, self.box.col_start // self.block
        coming = {(row - top, col - left) for row, col in places}
        for name in self.waiting:
            self.places(name).update(coming)

    def _absent(self, name: str, box: PixelBox) -> Iterator[PixelBox]:
        """The boxes of the blocks that touch ``box`` and do not wait."""
        rows, cols = block_range(box, block=self.block)
        for row in rows:
            for col in cols:
                if not self.waits_at(name, row, col):
                    yield block_at(row=row, col=col, block=self.block, halo=0).inner

    def _n_touched(self, box: PixelBox) -> int:
        rows, cols = block_range(box, block=self.block)
        return len(rows) * len(cols)

    def _read(self, name: str, array: zarr.Array[Any], window: tuple[slice, slice]) -> np.ndarray:
        return read_stored(self.storage, f"layer {name}", lambda: np.asarray(array[window]))

    def _shard_slices(self, inner: PixelBox, array: np.ndarray, target: zarr.Array[Any]) -> tuple[slice, slice]:
        rows, cols = inner.slices_in(self.box)
        shard = target.shards or target.chunks
        whole = (
            inner.shape == (self.block, self.block) == tuple(shard[:2])
            and tuple(shard) == array.shape
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


def open_store(
    storage: Storage, *, box: PixelBox, extent: PixelBox, block: int, read_only: bool = False
) -> ProductStore:
    """The open store, to write blocks or to read; ``box`` holds the whole blocks, ``extent`` the product.

    Raises StorageError if storage refuses, ChangedStoreError for metadata that cannot be read.
    """
    mode: Literal["r", "r+"] = "r" if read_only else "r+"

    def open_layers() -> ProductStore:
        group = zarr.open_group(storage.zarr(STORE, read_only=read_only), mode=mode, use_consolidated=False)
        published = _open_layers(storage, group, mode)
        try:
            blocks = zarr.open_group(storage.zarr(BLOCKS, read_only=read_only), mode=mode, use_consolidated=False)
        except FileNotFoundError:
            # The product is published.
            waiting = {}
        else:
            waiting = {name: array.with_config({"write_empty_chunks": True}) for name, array in blocks.arrays()}
        if not waiting.keys() <= published.keys():
            raise ChangedStoreError(
                f"{STORE} of {storage.uri} lacks {', '.join(sorted(waiting.keys() - published.keys()))}"
            )
        return ProductStore(
            storage=storage,
            group=group,
            waiting=waiting,
            published=published,
            box=box,
            extent=extent,
            block=block,
        )

    return read_stored(storage, "the store", open_layers)


def _open_layers(storage: Storage, group: zarr.Group, mode: Literal["r", "r+"]) -> dict[str, zarr.Array[Any]]:
    """The layers of the store by name, without coordinates and those of others that cannot be opened.

    Arrays are opened once: each access to a group's member reads its metadata from storage.
    """
    layers = {}
    for name in folders_below(storage, STORE):
        with suppress(ValueError, LookupError, TypeError, FileNotFoundError):
            member = zarr.open_array(group.store, path=name, mode=mode, zarr_format=group.metadata.zarr_format)
            layers.update({name: member} if member.ndim in {2, 3} else {})
    return layers


def read_stored(storage: Storage, name: str, read: Callable[[], T]) -> T:
    """What ``read`` returns, of a part of the store called ``name``.

    Raises StorageError if storage refuses, ChangedStoreError if what is stored cannot be read: it was damaged since.
    """
    try:
        return storage.call_with_retries(f"read {name} of", read)
    except StorageError:
        raise
    except (ValueError, RuntimeError, LookupError, TypeError, FileNotFoundError, AssertionError) as error:
        # Zarr and its codecs raise whatever the damage leads them to.
        raise ChangedStoreError(f"{name} of {storage.uri} cannot be read ({type(error).__name__})") from error


def write_shard(
    storage: Storage, target: zarr.Array[Any], window: tuple[slice, slice], pixels: np.ndarray, *, folder: str
) -> None:
    """Write one whole shard of the array in ``folder``; an existing one is replaced, also if it is damaged.

    Raises StorageError, which names the layer.
    """
    shard = target.shards or target.chunks
    place = window[0].start // shard[0], window[1].start // shard[1]
    key = f"{folder}/{chunk_key(target, place)}"
    write = partial(target.__setitem__, window, pixels)
    operation = f"write layer {folder.rpartition('/')[2]} to"
    try:
        storage.call_with_retries(operation, write)
    except (StorageError, FencedError):
        raise
    except (ValueError, RuntimeError):
        # Zarr 3.1 reads a shard before it replaces all of it, and refuses one that is damaged.
        storage.delete([key])
        storage.call_with_retries(operation, write)


def remove_waiting(storage: Storage) -> None:
    """Remove the blocks that wait, once all of them are cut into the product's arrays."""
    storage.delete_below(BLOCKS)


def array_sha256(array: np.ndarray) -> str:
    """The SHA-256 in hex of the array's bytes in row-major order."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


@dataclass(slots=True, kw_only=True)
class LayerRows:
    """The rows of one layer inside ``box`` (absolute pixels), read from top to bottom; one strip is in memory.

    ``ready`` is called with a strip's box before it is read, and returns once its blocks are there.
    """

    store: ProductStore
    name: str
    box: PixelBox
    ready: Callable[[PixelBox], None] = lambda _box: None
    _start: int = 0
    _strip_rows: np.ndarray | None = field(default=None)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows ``start`` to ``stop`` of the box, (stop - start, width) in the stored dtype.

        Raises StorageError if storage refuses, ChangedStoreError if stored bytes are corrupt.
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
            layer: Any = self.store.waiting.get(self.name, self.store.published[self.name])
            height, offset = layer.chunks[0], self.box.row_start - self.store.box.row_start
            first = max((row + offset) // height * height - offset, 0)
            stop = min(((row + offset) // height + 1) * height - offset, self.box.shape[0])
            rows = {"row_start": self.box.row_start + first, "row_stop": self.box.row_start + stop}
            strip = replace(self.box, **rows)
            self._strip_rows = None
            self.ready(strip)
            self._strip_rows = self.store.read_box(self.name, strip)
            self._start = first
        return self._strip_rows, self._start
