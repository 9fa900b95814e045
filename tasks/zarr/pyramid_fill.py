"""Filling the levels of a layer: three smaller ones from one read, in units that a restart does not repeat."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from zarr.core.buffer import default_buffer_prototype

from tilewright.tasks.grid.blocks import block_at
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.storage.errors import FencedError, StorageError
from tilewright.tasks.zarr.cut import LayerCut, cut_shards
from tilewright.tasks.zarr.declare import STORE
from tilewright.tasks.zarr.declared import chunk_key, fill_of
from tilewright.tasks.zarr.downsample import halve
from tilewright.tasks.zarr.store import read_stored
from tilewright.tasks.zarr.units import DEPTH

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import ThreadPoolExecutor

    import zarr

    from tilewright.tasks.inventory.listing import Listed
    from tilewright.tasks.storage.storage import Storage
    from tilewright.tasks.zarr.store import ProductStore
    from tilewright.tasks.zarr.units import FilledUnits


@dataclass(frozen=True, slots=True, kw_only=True)
class _LevelGroup:
    """A level and the up to three smaller ones that are made from one read of it.

    ``depth`` is the number of smaller levels of a unit, which a layer without them has none of.
    """

    storage: Storage
    levels: Sequence[zarr.Array[Any]]
    kind: str
    block: int
    depth: int

    def units(self) -> list[tuple[int, int]]:
        """(row, col) of every unit: one shard of the last level, or part of one at the edge."""
        height, width = self.levels[0].shape[:2]
        side = self.block << self.depth
        return [(row, col) for row in range(-(-height // side)) for col in range(-(-width // side))]

    def box(self, unit: tuple[int, int]) -> PixelBox:
        """The pixels of a unit in the group's first level."""
        side, (height, width) = self.block << self.depth, self.levels[0].shape[:2]
        whole = block_at(row=unit[0], col=unit[1], block=side, halo=0).inner
        return whole.intersect(PixelBox.at(0, 0, shape=(height, width)))

    def possible_keys(self, unit: tuple[int, int]) -> tuple[str, ...]:
        """The keys that the objects of a unit may have in every level."""
        return tuple(chain.from_iterable(self._possible(number, unit) for number in range(len(self.levels))))

    def _possible(self, number: int, unit: tuple[int, int]) -> list[str]:
        side = 1 << (self.depth - number)
        counts = [-(-length // self.block) for length in self.levels[number].shape[:2]]
        rows, cols = (range(at * side, min((at + 1) * side, n)) for at, n in zip(unit, counts, strict=True))
        return [self._key(number, (row, col)) for row in rows for col in cols]

    def _key(self, number: int, place: tuple[int, int]) -> str:
        array = self.levels[number]
        return f"{STORE}/{array.path}/{chunk_key(array, place)}"

    def existing_keys(self, number: int, start: tuple[int, int], pixels: np.ndarray) -> list[str]:
        """The keys of the objects behind ``pixels`` of a level from the pixel ``start`` on: those of nodata have none.

        Decided as Zarr decides which chunks it writes.
        """
        fill, buffer, side = fill_of(self.levels[number]), default_buffer_prototype().nd_buffer, self.block
        pieces = [
            ((start[0] + row) // side, (start[1] + col) // side, pixels[row : row + side, col : col + side])
            for row in range(0, pixels.shape[0], side)
            for col in range(0, pixels.shape[1], side)
        ]
        # A row of most chunks says it, and is looked at in a hundredth of the time.
        return [
            self._key(number, (row, col))
            for row, col, piece in pieces
            if not all(buffer.from_numpy_array(part).all_equal(fill) for part in (piece[:1], piece))
        ]

    def fill(self, unit: tuple[int, int], pool: ThreadPoolExecutor) -> set[str]:
        """Fill one unit in every level: each shard of the first from one read, the others from arrays in memory.

        Returns the keys of the unit's objects.
        """
        if len(self.levels) == 1:
            # Shard by shard, as vectors are large.
            found = pool.map(lambda part: self._read(part)[1], self._shards(self.box(unit)))
            return set(chain.from_iterable(found))
        first, side = self.levels[1], self.block << (self.depth - 1)
        top, left = unit[0] * side, unit[1] * side
        bottom, right = min(top + side, first.shape[0]), min(left + side, first.shape[1])
        places = [(row, col) for row in range(top, bottom, self.block) for col in range(left, right, self.block)]
        pieces = list(pool.map(self._write_shard, places))
        keys = set(chain.from_iterable(written for _, written in pieces))
        if self.depth == 1:
            return keys
        shape = tuple(-(-length // 2) for length in (bottom - top, right - left))
        smaller = np.empty(shape, dtype=first.dtype)
        for (row, col), (piece, _) in zip(places, pieces, strict=True):
            at = ((row - top) // 2, (col - left) // 2)
            smaller[at[0] : at[0] + piece.shape[0], at[1] : at[1] + piece.shape[1]] = piece
        keys |= self._write(2, (top // 2, left // 2), smaller)
        if self.depth == DEPTH:
            keys |= self._write(3, (top // 4, left // 4), self._half(smaller))
        return keys

    def _shards(self, box: PixelBox) -> list[PixelBox]:
        starts = [
            (row, col)
            for row in range(box.row_start, box.row_stop, self.block)
            for col in range(box.col_start, box.col_stop, self.block)
        ]
        return [PixelBox.at(*start, shape=(self.block, self.block)).intersect(box) for start in starts]

    def _write_shard(self, place: tuple[int, int]) -> tuple[np.ndarray, set[str]]:
        """Write one shard of the first level and return it at half the resolution, if the group needs that.

        The second are the keys of the objects that it was made of and became.
        """
        start, stop = ([2 * (each + more) for each in place] for more in (0, self.block))
        box = PixelBox(row_start=start[0], row_stop=stop[0], col_start=start[1], col_stop=stop[1])
        pixels, keys = self._read(box)
        shard = self._half(pixels)
        keys |= self._write(1, place, shard)
        return (self._half(shard) if self.depth > 1 else shard), keys

    def _read(self, box: PixelBox) -> tuple[np.ndarray, set[str]]:
        """The pixels of the group's first level in a box that begins at a shard, and the keys of their objects."""
        source = self.levels[0]
        window = slice(box.row_start, box.row_stop), slice(box.col_start, box.col_stop)
        pixels = read_stored(self.storage, f"layer {source.name}", lambda: np.asarray(source[window]))
        return pixels, set(self.existing_keys(0, (box.row_start, box.col_start), pixels))

    def _half(self, pixels: np.ndarray) -> np.ndarray:
        return halve(pixels, kind=self.kind, nodata=fill_of(self.levels[0]))

    def _write(self, number: int, place: tuple[int, int], pixels: np.ndarray) -> set[str]:
        target = self.levels[number]
        at = tuple(slice(start, start + size) for start, size in zip(place, pixels.shape, strict=True))
        operation, write = f"write a smaller level of {target.name} to", partial(target.__setitem__, at, pixels)
        try:
            self.storage.call_with_retries(operation, write)
        except (StorageError, FencedError):
            raise
        except (ValueError, RuntimeError):
            # Zarr 3.1 reads a shard before it replaces all of it, and refuses one that is damaged.
            self.storage.delete(self._keys_at(number, place, pixels.shape))
            self.storage.call_with_retries(operation, write)
        return set(self.existing_keys(number, place, pixels))

    def _keys_at(self, number: int, start: tuple[int, int], shape: tuple[int, ...]) -> list[str]:
        rows, cols = (
            range(first // self.block, -(-(first + n) // self.block)) for first, n in zip(start, shape, strict=True)
        )
        return [self._key(number, (row, col)) for row in rows for col in cols]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerLevels:
    """A layer whose levels are filled: their ``arrays``, the full one first, and the units that are ``filled``.

    A layer of vectors has the full one alone.
    """

    name: str
    kind: str
    arrays: Sequence[zarr.Array[Any]]
    filled: FilledUnits


def write_levels(
    store: ProductStore,
    layers: Sequence[LayerLevels],
    *,
    pool: ThreadPoolExecutor,
    there: Mapping[str, Listed],
    ready: Callable[[PixelBox], None],
) -> None:
    """Cut the full levels of layers out of their blocks, and fill all others, each half of the one before.

    ``there`` is what the store held before; ``ready`` as for ``cut_shards``.

    Raises StorageError, which names the layer; ChangedStoreError where a block is not what its checksum says.
    """
    # With an odd block every second shard starts between two pixels of the next level: one level per read then.
    depth, n_levels = DEPTH if store.block % 2 == 0 else 1, max(len(layer.arrays) for layer in layers)
    for start in range(0, max(n_levels - 1, 1), depth):
        span, deep = slice(start, start + depth + 1), min(depth, n_levels - 1 - start)
        layers = [layer for layer in layers if len(layer.arrays) > start]
        groups = [
            _LevelGroup(
                storage=store.storage, levels=layer.arrays[span], kind=layer.kind, block=store.block, depth=deep
            )
            for layer in layers
        ]
        # Only units of the first three levels are kept: their blocks in the full layer are known.
        kept = start == 0 and groups[0].depth == DEPTH
        for row, col in groups[0].units():
            unit = f"{row}_{col}" if kept else f"{start}/{row}_{col}"
            possible = [group.possible_keys((row, col)) for group in groups]
            known = [
                kept and layer.filled.is_filled(unit, keys, there) for layer, keys in zip(layers, possible, strict=True)
            ]
            cuts = [
                LayerCut(name=layer.name, compare=same, checksums=layer.filled.checksums, look=layer.filled.look)
                for layer, same in zip(layers, known, strict=True)
            ]
            cut = [False] * len(layers)
            if start == 0:
                cut = cut_shards(store, cuts, groups[0].box((row, col)), pool=pool, ready=ready)
            for layer, group, keys, same, new in zip(layers, groups, possible, known, cut, strict=True):
                if new or not same:
                    existing = group.fill((row, col), pool)
                    layer.filled.look(existing - layer.filled.seen.keys())
                    layer.filled.record(unit, keys, existing, kept=kept)
