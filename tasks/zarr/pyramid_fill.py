"""Filling the levels of a layer: three smaller ones from one read, in units that a restart does not repeat."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.tasks.grid.blocks import block_at, block_range
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.storage.ledger import json_digest
from tilewright.tasks.storage.storage import STATE_FOLDER
from tilewright.tasks.zarr.cut import cut_shards
from tilewright.tasks.zarr.downsample import halve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import ThreadPoolExecutor

    import zarr

    from tilewright.tasks.storage.storage import Storage
    from tilewright.tasks.zarr.store import ProductStore


DEPTH = 3
"""Levels made from one read. A unit is one shard of the third level, which is 8 x 8 shards of the full layer."""

FORMAT = 2
"""Raised when the way levels are made changes, so that no existing one is kept."""


@dataclass(slots=True, kw_only=True)
class FilledUnits:
    """The digests of the blocks behind a layer's units: ``known`` of filled units, ``wanted`` of the blocks now."""

    storage: Storage
    key: str
    known: dict[str, str]
    wanted: dict[str, str]
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def read(
        cls, store: ProductStore, name: str, *, checksums: Mapping[tuple[int, int], str] | None, created: bool
    ) -> FilledUnits:
        """The units of a layer, from the ``checksums`` of its blocks by absolute (row, col).

        No filled unit is known if ``checksums`` is None or an array was ``created``.
        """
        key = f"{STATE_FOLDER}/pyramid/{name}.json"
        known = store.storage.read_json(key) if checksums is not None and not created else None
        units: dict[str, dict[str, str]] = {}
        for (row, col), checksum in sorted((checksums or {}).items()):
            for unit in _units_of(store, row, col):
                units.setdefault(unit, {})[f"{row}_{col}"] = checksum
        wanted = {unit: json_digest({"format": FORMAT, "blocks": blocks}) for unit, blocks in units.items()}
        known = known if isinstance(known, dict) else {}
        return cls(storage=store.storage, key=key, known=known, wanted=wanted)

    def is_filled(self, unit: str) -> bool:
        """True if a unit has been filled from the same blocks."""
        return unit in self.wanted and self.known.get(unit) == self.wanted[unit]

    def record(self, unit: str) -> None:
        """Record a unit as filled."""
        if unit in self.wanted:
            with self._lock:
                self.known[unit] = self.wanted[unit]
                self.storage.write_json(self.key, self.known)


def _units_of(store: ProductStore, row: int, col: int) -> list[str]:
    """The names of the units that a block touches: up to four, since units begin at the product's first pixel."""
    block, extent = store.block, store.extent
    inside = block_at(row=row, col=col, block=block, halo=0).inner.intersect(extent)
    if inside.empty:
        return []
    rows, cols = block_range(inside.shift(-extent.row_start, -extent.col_start), block=block << DEPTH)
    return [f"{unit_row}_{unit_col}" for unit_row in rows for unit_col in cols]


@dataclass(frozen=True, slots=True, kw_only=True)
class _LevelGroup:
    """A level and the up to three smaller ones that are made from one read of it."""

    storage: Storage
    levels: Sequence[zarr.Array[Any]]
    kind: str
    block: int

    @property
    def depth(self) -> int:
        """The number of levels that are made."""
        return len(self.levels) - 1

    def units(self) -> list[tuple[int, int]]:
        """(row, col) of every unit: one shard of the last level, or part of one at the edge."""
        height, width = self.levels[-1].shape
        return [(row, col) for row in range(-(-height // self.block)) for col in range(-(-width // self.block))]

    def box(self, unit: tuple[int, int]) -> PixelBox:
        """The pixels of a unit in the group's first level."""
        side, (height, width) = self.block << self.depth, self.levels[0].shape
        whole = block_at(row=unit[0], col=unit[1], block=side, halo=0).inner
        return whole.intersect(PixelBox.at(0, 0, shape=(height, width)))

    def fill(self, unit: tuple[int, int], pool: ThreadPoolExecutor) -> None:
        """Fill one unit in every level: each shard of the first from one read, the others from arrays in memory."""
        if self.depth == 0:
            return
        first, side = self.levels[1], self.block << (self.depth - 1)
        top, left = unit[0] * side, unit[1] * side
        bottom, right = min(top + side, first.shape[0]), min(left + side, first.shape[1])
        places = [(row, col) for row in range(top, bottom, self.block) for col in range(left, right, self.block)]
        pieces = pool.map(self._write_shard, places)
        if self.depth == 1:
            list(pieces)
            return
        shape = tuple(-(-length // 2) for length in (bottom - top, right - left))
        smaller = np.empty(shape, dtype=first.dtype)
        for (row, col), piece in zip(places, pieces, strict=True):
            at = ((row - top) // 2, (col - left) // 2)
            smaller[at[0] : at[0] + piece.shape[0], at[1] : at[1] + piece.shape[1]] = piece
        self._write(2, (top // 2, left // 2), smaller)
        if self.depth == DEPTH:
            self._write(3, (top // 4, left // 4), self._half(smaller))

    def _write_shard(self, place: tuple[int, int]) -> np.ndarray:
        """Write one shard of the first level and return it at half the resolution, if the group needs that."""
        window = tuple(slice(2 * start, 2 * (start + self.block)) for start in place)
        source = self.levels[0]
        pixels = self.storage.call_with_retries(f"read layer {source.name} of", lambda: np.asarray(source[window]))
        shard = self._half(pixels)
        self._write(1, place, shard)
        return self._half(shard) if self.depth > 1 else shard

    def _half(self, pixels: np.ndarray) -> np.ndarray:
        fill: Any = self.levels[0].fill_value
        return halve(pixels, kind=self.kind, nodata=fill)

    def _write(self, number: int, place: tuple[int, int], pixels: np.ndarray) -> None:
        target = self.levels[number]
        at = tuple(slice(start, start + size) for start, size in zip(place, pixels.shape, strict=True))
        self.storage.call_with_retries(
            f"write a smaller level of {target.name} to", partial(target.__setitem__, at, pixels)
        )


def write_levels(
    store: ProductStore,
    levels: Sequence[zarr.Array[Any]],
    *,
    name: str,
    kind: str,
    filled: FilledUnits,
    pool: ThreadPoolExecutor,
) -> None:
    """Cut the full level of the layer ``name`` out of its blocks, and fill all others, each half of the one before.

    ``levels`` are the arrays, the full one first.

    Raises StorageError, which names the layer.
    """
    # With an odd block every second shard starts between two pixels of the next level: one level per read then.
    depth = DEPTH if store.block % 2 == 0 else 1
    for start in range(0, max(len(levels) - 1, 1), depth):
        group = _LevelGroup(
            storage=store.storage, levels=levels[start : start + depth + 1], kind=kind, block=store.block
        )
        for row, col in group.units():
            # Only units of the first three levels are recorded: their blocks in the full layer are known.
            unit = f"{row}_{col}" if start == 0 and group.depth == DEPTH else ""
            cut = start == 0 and cut_shards(
                store, name, group.box((row, col)), pool=pool, compare=filled.is_filled(unit)
            )
            if cut or not filled.is_filled(unit):
                group.fill((row, col), pool)
                filled.record(unit)
