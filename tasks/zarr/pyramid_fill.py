"""Filling the smaller levels of a layer: three levels from one read, in units that a restart does not repeat."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.tasks.storage.ledger import json_digest
from tilewright.tasks.storage.storage import STATE_FOLDER
from tilewright.tasks.zarr.downsample import halve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import ThreadPoolExecutor

    import zarr

    from tilewright.tasks.storage.storage import Storage


DEPTH = 3
"""Levels made from one read. A unit is one block of the third level, which is 8 x 8 blocks of the full layer."""

FORMAT = 1
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
        cls,
        storage: Storage,
        name: str,
        *,
        checksums: Mapping[tuple[int, int], str] | None,
        first: tuple[int, int],
        created: bool,
    ) -> FilledUnits:
        """The units of a layer, from the ``checksums`` of its blocks by absolute (row, col); ``first`` is the store's.

        No filled unit is known if ``checksums`` is None or an array was ``created``.
        """
        key = f"{STATE_FOLDER}/pyramid/{name}.json"
        known = storage.read_json(key) if checksums is not None and not created else None
        units: dict[str, dict[str, str]] = {}
        for (row, col), checksum in sorted((checksums or {}).items()):
            unit = f"{(row - first[0]) >> DEPTH}_{(col - first[1]) >> DEPTH}"
            units.setdefault(unit, {})[f"{row}_{col}"] = checksum
        wanted = {unit: json_digest({"format": FORMAT, "blocks": blocks}) for unit, blocks in units.items()}
        return cls(storage=storage, key=key, known=known if isinstance(known, dict) else {}, wanted=wanted)

    def is_filled(self, unit: str) -> bool:
        """True if a unit has been filled from the same blocks."""
        return unit in self.wanted and self.known.get(unit) == self.wanted[unit]

    def record(self, unit: str) -> None:
        """Record a unit as filled."""
        if unit in self.wanted:
            with self._lock:
                self.known[unit] = self.wanted[unit]
                self.storage.write_json(self.key, self.known)


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

    def fill(self, unit: tuple[int, int], pool: ThreadPoolExecutor) -> None:
        """Fill one unit in every level: each shard of the first from one read, the others from arrays in memory."""
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
    storage: Storage,
    levels: Sequence[zarr.Array[Any]],
    *,
    kind: str,
    block: int,
    filled: FilledUnits,
    pool: ThreadPoolExecutor,
) -> None:
    """Fill all ``levels`` after the first, each half of the one before, in shards of ``block`` pixels a side.

    Raises StorageError, which names the layer.
    """
    # With an odd block every second shard starts between two pixels of the next level: one level per read then.
    depth = DEPTH if block % 2 == 0 else 1
    for start in range(0, len(levels) - 1, depth):
        group = _LevelGroup(storage=storage, levels=levels[start : start + depth + 1], kind=kind, block=block)
        for row, col in group.units():
            # Only units of the first three levels are recorded: their blocks in the full layer are known.
            name = f"{row}_{col}" if start == 0 and group.depth == DEPTH else ""
            if not filled.is_filled(name):
                group.fill((row, col), pool)
                filled.record(name)
