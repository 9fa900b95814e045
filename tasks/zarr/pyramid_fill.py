"""One layer's smaller levels filled, three at a time from one reading, in units that a restart need not do again."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.tasks.storage.ledger import digest
from tilewright.tasks.storage.storage import HOME
from tilewright.tasks.zarr.downsample import halve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import ThreadPoolExecutor

    import zarr

    from tilewright.tasks.storage.storage import Storage


DEPTH = 3
"""Levels made from one reading. A unit is as many pixels of the third as one block: 8 x 8 blocks of the first."""

FORMAT = 1
"""Raised when levels are made otherwise than before, so that none is kept."""


@dataclass(slots=True, kw_only=True)
class FilledUnits:
    """What the units of a layer were made of: ``known`` by an earlier run, ``wanted`` now; empty: nothing is kept."""

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
        prints: Mapping[tuple[int, int], str] | None,
        first: tuple[int, int],
        fresh: bool,
    ) -> FilledUnits:
        """A layer's stamps; ``prints`` are checksums of its blocks by absolute place, ``first`` the store's first."""
        key = f"{HOME}/pyramid/{name}.json"
        stands = prints is not None and not fresh
        known = storage.read_json(key) if stands else None
        units: dict[str, dict[str, str]] = {}
        for (row, col), print_ in sorted((prints or {}).items()):
            unit = f"{(row - first[0]) >> DEPTH}_{(col - first[1]) >> DEPTH}"
            units.setdefault(unit, {})[f"{row}_{col}"] = print_
        wanted = {unit: digest({"format": FORMAT, "blocks": blocks}) for unit, blocks in units.items()}
        return cls(storage=storage, key=key, known=known if isinstance(known, dict) else {}, wanted=wanted)

    def stands(self, unit: str) -> bool:
        """True where a unit is there already, made of the same blocks."""
        return unit in self.wanted and self.known.get(unit) == self.wanted[unit]

    def done(self, unit: str) -> None:
        """Remember a unit."""
        if unit in self.wanted:
            with self._lock:
                self.known[unit] = self.wanted[unit]
                self.storage.write_json(self.key, self.known)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """A level and the up to three below it that are made from it at once."""

    storage: Storage
    levels: Sequence[zarr.Array[Any]]
    kind: str
    block: int

    @property
    def depth(self) -> int:
        """How many levels are made."""
        return len(self.levels) - 1

    def units(self) -> list[tuple[int, int]]:
        """(row, col) of every unit: one shard of the last level, or part of one at the rim."""
        height, width = self.levels[-1].shape
        return [(row, col) for row in range(-(-height // self.block)) for col in range(-(-width // self.block))]

    def fill(self, unit: tuple[int, int], pool: ThreadPoolExecutor) -> None:
        """Fill one unit in every level: each shard of the first from one reading, the others from what is at hand."""
        first, side = self.levels[1], self.block << (self.depth - 1)
        top, left = unit[0] * side, unit[1] * side
        bottom, right = min(top + side, first.shape[0]), min(left + side, first.shape[1])
        places = [(row, col) for row in range(top, bottom, self.block) for col in range(left, right, self.block)]
        pieces = pool.map(self._shard, places)
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

    def _shard(self, place: tuple[int, int]) -> np.ndarray:
        """One shard of the first level, written; what comes back is its half."""
        wide = tuple(slice(2 * start, 2 * (start + self.block)) for start in place)
        source = self.levels[0]
        pixels = self.storage.insist(f"read layer {source.name} of", lambda: np.asarray(source[wide]))
        made = self._half(pixels)
        self._write(1, place, made)
        return self._half(made) if self.depth > 1 else made

    def _half(self, pixels: np.ndarray) -> np.ndarray:
        fill: Any = self.levels[0].fill_value
        return halve(pixels, kind=self.kind, nodata=fill)

    def _write(self, number: int, place: tuple[int, int], pixels: np.ndarray) -> None:
        target = self.levels[number]
        at = tuple(slice(start, start + size) for start, size in zip(place, pixels.shape, strict=True))
        self.storage.insist(f"write a smaller level of {target.name} to", partial(target.__setitem__, at, pixels))


def write_levels(
    storage: Storage,
    levels: Sequence[zarr.Array[Any]],
    *,
    kind: str,
    block: int,
    stamps: FilledUnits,
    pool: ThreadPoolExecutor,
) -> None:
    """Fill the smaller ``levels`` of the first, each half the one above, cut in shards of ``block`` pixels a side.

    Raises StorageError naming the layer.
    """
    # Of an odd block every second shard begins between two pixels of the level below: one level at a time then.
    depth = DEPTH if block % 2 == 0 else 1
    for start in range(0, len(levels) - 1, depth):
        group = _Group(storage=storage, levels=levels[start : start + depth + 1], kind=kind, block=block)
        for row, col in group.units():
            # Units are known by the blocks beneath them where their last level is the third.
            name = f"{row}_{col}" if start == 0 and group.depth == DEPTH else ""
            if not stamps.stands(name):
                group.fill((row, col), pool)
                stamps.done(name)
