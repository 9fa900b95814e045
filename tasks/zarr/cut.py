"""Cuts the product's arrays out of the blocks that wait, shard by shard.

A shard begins at a multiple of the block's side from the product's first pixel, a block at one from the CRS origin. The
two agree only by chance, and shards that blocks share would lose pixels of one of two writers. One run therefore writes
them, each once its blocks are there. Where a product begins does not change a pixel, nor does when a run broke off.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.tasks.grid.blocks import block_at
from tilewright.tasks.grid.cells import block_range
from tilewright.tasks.zarr.declare import STORE
from tilewright.tasks.zarr.declared import chunk_key, empty_pixels
from tilewright.tasks.zarr.store import ChangedStoreError, array_sha256, write_shard

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from concurrent.futures import Future, ThreadPoolExecutor

    import zarr

    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.zarr.store import ProductStore


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCut:
    """One layer to cut: with ``compare``, shards that hold the same pixels are not written again.

    Every block is compared with its checksum in ``checksums``, by absolute (row, col), as it is read; None compares
    none. ``look`` is called with the keys of shards that were written.
    """

    name: str
    compare: bool
    checksums: Mapping[tuple[int, int], str] | None = None
    look: Callable[[Collection[str]], None] = lambda _keys: None


def cut_shards(
    store: ProductStore,
    cuts: Sequence[LayerCut],
    box: PixelBox,
    *,
    pool: ThreadPoolExecutor,
    ready: Callable[[PixelBox], None] = lambda _box: None,
) -> list[bool]:
    """Write the shards of layers' own arrays inside ``box``, counted from its first pixel; True where one was.

    Each shard is read from the up to four blocks it lies in and written whole, by nobody else: readers see the old or
    the new one. Only shards in which a block waits are written: the others are up to date. Neither are those of a layer
    to ``compare`` that hold the same pixels, as after a run that broke off while it cut. ``ready`` is called with each
    row of shards in absolute pixels, and returns once its blocks are there. A thread does a row of shards of a layer
    and holds four blocks and a shard, with ``compare`` two.

    Raises StorageError, which names the layer; ChangedStoreError for a block that is not what was recorded; what
    ``ready`` raises.
    """
    rows, cols = block_range(box, block=store.block)
    blocks = [WaitingBlocks(store=store, name=cut.name, checksums=cut.checksums) for cut in cuts]
    begun: list[list[Future[bool]]] = [[] for _ in cuts]
    try:
        for row in rows:
            line = [block_at(row=row, col=col, block=store.block, halo=0).inner.intersect(box) for col in cols]
            places = [shard.shift(store.extent.row_start, store.extent.col_start) for shard in line]
            ready(replace(places[0], col_stop=places[-1].col_stop))
            for cut, waiting, lines in zip(cuts, blocks, begun, strict=True):
                lines.append(pool.submit(_cut_line, waiting, line, cut))
        return [any([line.result() for line in lines]) for lines in begun]  # noqa: C419 -- all are awaited
    finally:
        for line_done in chain.from_iterable(begun):
            line_done.cancel()


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingBlocks:
    """The blocks of a layer that wait, read whole and compared with their ``checksums``; None compares none.

    A block is compared when it is read first. That nobody writes one until the product is finished, its caller checks
    by a listing (`tilewright.tasks.publish.layers.write_layers`).
    """

    store: ProductStore
    name: str
    checksums: Mapping[tuple[int, int], str] | None
    compared: set[tuple[int, int]] = field(default_factory=set)

    def pixels(self, box: PixelBox, held: dict[tuple[int, int], np.ndarray]) -> np.ndarray:
        """The layer inside ``box``; ``held`` are the waiting blocks of the box before, then those of this one."""
        store, pixels = self.store, self.store.published_box(self.name, box)
        rows, cols = block_range(box, block=store.block)
        touched = [(row, col) for row in rows for col in cols if store.waits_at(self.name, row, col)]
        blocks = {place: held[place] if place in held else self._read(place) for place in touched}
        held.clear()
        held.update(blocks)
        for (row, col), block in blocks.items():
            inner = block_at(row=row, col=col, block=store.block, halo=0).inner
            inside = inner.intersect(box)
            pixels[inside.slices_in(box)] = block[inside.slices_in(inner)]
        return pixels

    def _read(self, place: tuple[int, int]) -> np.ndarray:
        row, col = place
        inner = block_at(row=row, col=col, block=self.store.block, halo=0).inner
        block = self.store.read_box(self.name, inner)
        if self.checksums is None or place in self.compared:
            return block
        if not self._is_recorded(place, block):
            raise ChangedStoreError(
                f"block {row}_{col} of layer {self.name} in {self.store.storage.uri} is not what was recorded"
            )
        self.compared.add(place)
        return block

    def _is_recorded(self, place: tuple[int, int], block: np.ndarray) -> bool:
        """True for a block with its checksum; one without a checksum is not of the plan, and was set to nodata."""
        checksum = (self.checksums or {}).get(place)
        if checksum is None:
            fill = self.store.waiting[self.name].fill_value
            checksum = array_sha256(np.full(block.shape, fill, dtype=block.dtype))
        return array_sha256(block) == checksum


def _cut_line(blocks: WaitingBlocks, shards: list[PixelBox], cut: LayerCut) -> bool:
    """Write a row of shards; True if one was written."""
    store, held, written = blocks.store, dict[tuple[int, int], np.ndarray](), list[str]()
    target = store.published[blocks.name]
    for shard in shards:
        place = shard.shift(store.extent.row_start, store.extent.col_start)
        if not store.waits_in(blocks.name, place):
            held.clear()
            continue
        pixels = blocks.pixels(place, held)
        window = (slice(shard.row_start, shard.row_stop), slice(shard.col_start, shard.col_stop))
        if cut.compare and _holds(store, target, window, pixels):
            continue
        write_shard(store.storage, target, window, pixels, folder=f"{STORE}/{blocks.name}")
        key = chunk_key(target, (shard.row_start // store.block, shard.col_start // store.block))
        written.append(f"{STORE}/{blocks.name}/{key}")
    if written:
        cut.look(written)
    return bool(written)


def _holds(store: ProductStore, target: zarr.Array[Any], window: tuple[slice, slice], pixels: np.ndarray) -> bool:
    """True if the array holds the same bytes there; False also if they cannot be read, for any reason."""
    try:
        there = store.storage.call_with_retries("read a layer of", lambda: np.ascontiguousarray(target[window]))
    except Exception:
        return False
    return np.array_equal(there.view(np.uint8), np.ascontiguousarray(pixels).view(np.uint8))


def check_waiting(
    store: ProductStore,
    names: Collection[str],
    places: Collection[tuple[int, int]],
    standing: Collection[tuple[int, int]],
) -> None:
    """Check that no block at an absolute place was removed since it was written or verified, but the ``standing``.

    Raises ChangedStoreError.
    """
    gone = [
        (row, col)
        for row, col in places
        if (row, col) not in standing and not all(store.waits_at(name, row, col) for name in names)
    ]
    if gone:
        raise ChangedStoreError(f"block {gone[0][0]}_{gone[0][1]} of {store.storage.uri} is not there any more")


def erase_unknown(store: ProductStore, planned: Collection[tuple[int, int]]) -> None:
    """Set blocks that wait and are not planned to nodata: a run was killed between its shards and its entry."""
    top, left = store.box.row_start // store.block, store.box.col_start // store.block
    for name, layer in store.waiting.items():
        for row, col in sorted(store.places(name)):
            if (row + top, col + left) not in planned:
                inner = block_at(row=row + top, col=col + left, block=store.block, halo=0).inner
                store.write_block(inner, {name: empty_pixels(layer, inner)})
