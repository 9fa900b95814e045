"""Cuts the product's arrays out of the blocks that wait, shard by shard.

A shard begins at a multiple of the block's side from the product's first pixel, a block at one from the CRS origin. The
two agree only by chance, and shards that blocks share would lose pixels of one of two writers. One run therefore writes
them, after the last block. Where a product begins does not change a pixel, nor does when a run broke off.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.tasks.grid.blocks import block_at, block_range
from tilewright.tasks.zarr.declare import STORE
from tilewright.tasks.zarr.store import write_shard

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    import zarr

    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.zarr.store import ProductStore


def cut_shards(store: ProductStore, name: str, box: PixelBox, *, pool: ThreadPoolExecutor, compare: bool) -> bool:
    """Write the shards of a layer's own array inside ``box``, counted from its first pixel; True if one was written.

    Each shard is read from the up to four blocks it lies in and written whole, by nobody else: readers see the old or
    the new one. Only shards in which a block waits are written: the others are up to date. With ``compare``, neither
    are those that hold the same pixels, as after a run that broke off while it cut. A thread holds one shard, with
    ``compare`` two.

    Raises StorageError, which names the layer.
    """
    rows, cols = block_range(box, block=store.block)
    shards = [
        block_at(row=row, col=col, block=store.block, halo=0).inner.intersect(box) for row in rows for col in cols
    ]
    return any(list(pool.map(partial(_cut_shard, store, name, compare=compare), shards)))


def _cut_shard(store: ProductStore, name: str, shard: PixelBox, *, compare: bool) -> bool:
    target, place = store.published[name], shard.shift(store.extent.row_start, store.extent.col_start)
    if not store.waits_in(name, place):
        return False
    pixels = store.read_box(name, place)
    window = (slice(shard.row_start, shard.row_stop), slice(shard.col_start, shard.col_stop))
    if compare and _holds(store, target, window, pixels):
        return False
    write_shard(store.storage, target, window, pixels, folder=f"{STORE}/{name}")
    return True


def _holds(store: ProductStore, target: zarr.Array[Any], window: tuple[slice, slice], pixels: np.ndarray) -> bool:
    """True if the array holds the same bytes there; False also if they cannot be read, for any reason."""
    try:
        there = store.storage.call_with_retries("read a layer of", lambda: np.ascontiguousarray(target[window]))
    except Exception:
        return False
    return np.array_equal(there.view(np.uint8), np.ascontiguousarray(pixels).view(np.uint8))
