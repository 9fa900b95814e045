"""Pixels drawn from a population without replacement: those whose hashes are least, whatever the order of looking.

A pixel's hash is a function of the seed and its absolute row and column. The n smallest of a stratum are a simple
random sample of it, and the same in every cut of the product; the first of them are such a sample too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tilewright.models.transforms.noise import mixed, place_hashes, stepped
from tilewright.tasks.audit.design.population import tiles
from tilewright.tasks.progress import silent
from tilewright.tasks.zones.layers import LayerPixels

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tilewright.tasks.audit.design.population import Population, StrataSizes, Tile
    from tilewright.tasks.progress import Listener

PURPOSE = 0x53414D504C45
"""Mixed into the seed, so that no other use of such hashes has those of a sample ("SAMPLE" in ASCII)."""

MOST_KEPT = 500_000
"""Pixels in memory at most before those that are not drawn are dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """Drawn pixels: absolute ``rows`` and ``cols``, the place of each one's stratum in `StrataSizes`, and its hash.

    They are in the order of strata, and in each of hashes.
    """

    rows: np.ndarray
    cols: np.ndarray
    stratum: np.ndarray
    hashes: np.ndarray

    def taken(self, places: np.ndarray) -> Drawn:
        """Some of them, in the order given."""
        return Drawn(
            rows=self.rows[places], cols=self.cols[places], stratum=self.stratum[places], hashes=self.hashes[places]
        )


def draw_random(
    population: Population, sizes: StrataSizes, wanted: np.ndarray, *, seed: int, listener: Listener = silent
) -> Drawn:
    """``wanted`` (stratum,) pixels of each stratum, or all it has. Raises as `tiles` does."""
    with LayerPixels(population.product) as pixels:
        return smallest_hashes(tiles(population, pixels, listener, stage="draw"), sizes, wanted, seed=seed)


def smallest_hashes(looked_at: Iterable[Tile], sizes: StrataSizes, wanted: np.ndarray, *, seed: int) -> Drawn:
    """The pixels of tiles with the smallest hashes, ``wanted`` (stratum,) of each stratum."""
    start, kept = _start(seed), _Smallest(wanted)
    place_of = np.full(int(sizes.numbers.max()) + 1, len(wanted))
    place_of[sizes.numbers] = np.arange(len(wanted))
    for tile in looked_at:
        box = tile.box
        hashes = place_hashes(start, range(box.row_start, box.row_stop), range(box.col_start, box.col_stop))[0]
        stratum = np.where(tile.numbers < 0, len(wanted), place_of[np.maximum(tile.numbers, 0)])
        kept.add(stratum, hashes, box.row_start, box.col_start)
    return kept.done()


def draw_systematic(
    population: Population, sizes: StrataSizes, wanted: np.ndarray, *, seed: int, listener: Listener = silent
) -> Drawn:
    """The pixels of each stratum on a square grid of its own, from a random start, of about ``wanted`` (stratum,).

    The grid's spacing is sqrt(N_h / n_h) pixels, which need not be whole; its places count from the CRS origin.
    Raises as `tiles` does.
    """
    start = _start(seed)
    spacing = np.sqrt(sizes.n_pixels / wanted)
    shares = mixed(mixed(start + stepped(sizes.numbers))[:, None] + stepped([1, 2])[None]) >> np.uint64(11)
    offsets = shares.astype(np.float64) * 2.0**-53 * spacing[:, None]
    found: list[Drawn] = []
    with LayerPixels(population.product) as pixels:
        for tile in tiles(population, pixels, listener, stage="draw"):
            found += [
                _on_grid(tile, int(number), place, start, spacing=float(spacing[place]), offset=offsets[place])
                for place, number in enumerate(sizes.numbers)
            ]
    return _in_order(_joined(found))


def labelling_order(drawn: Drawn) -> np.ndarray:
    """An order of drawn pixels of which any beginning is a sample of the same design, only smaller.

    The k-th of a stratum's n pixels comes at (k - 1/2) / n of the whole: so every stratum is labelled evenly, in each
    the pixels come at random, and whoever stops early may estimate from what is labelled.
    """
    counts = np.bincount(drawn.stratum)
    order = np.lexsort([drawn.hashes, drawn.stratum])
    rank = np.empty(len(order))
    starts = np.cumsum(counts) - counts
    rank[order] = np.arange(len(order)) - starts[drawn.stratum[order]]
    return np.lexsort([drawn.hashes, (rank + 0.5) / counts[drawn.stratum]])


def _start(seed: int) -> np.ndarray:
    with np.errstate(over="ignore"):
        return mixed(mixed(stepped([seed])) + stepped([PURPOSE]))


class _Smallest:
    """The pixels with the smallest hashes of each stratum so far."""

    def __init__(self, wanted: np.ndarray) -> None:
        self._wanted = wanted
        # Of no stratum, which stands last, no hash is small enough; all bits of a hash may be set.
        self._least = np.append(np.full(len(wanted), np.iinfo(np.uint64).max), np.uint64(0)).astype(np.uint64)
        self._found: list[Drawn] = []
        self._n = 0

    def add(self, stratum: np.ndarray, hashes: np.ndarray, row: int, col: int) -> None:
        """Look at a tile whose first pixel is at a row and column; ``stratum`` is one more than the last for none."""
        low = hashes <= self._least[stratum]
        low &= stratum < len(self._wanted)
        rows, cols = np.nonzero(low)
        self._found.append(Drawn(rows=rows + row, cols=cols + col, stratum=stratum[low], hashes=hashes[low]))
        self._n += len(rows)
        if self._n > max(MOST_KEPT, 4 * int(self._wanted.sum())) or len(self._found) == 1:
            self._prune()

    def done(self) -> Drawn:
        """Those that are drawn."""
        self._prune()
        return self._found[0]

    def _prune(self) -> None:
        together = _in_order(_joined(self._found))
        counts = np.bincount(together.stratum, minlength=len(self._wanted))
        starts = np.cumsum(counts) - counts
        rank = np.arange(len(together.rows)) - starts[together.stratum]
        kept = together.taken(np.flatnonzero(rank < self._wanted[together.stratum]))
        full = np.flatnonzero((counts >= self._wanted) & (self._wanted > 0))
        self._least[full] = together.hashes[starts[full] + self._wanted[full] - 1]
        self._found, self._n = [kept], len(kept.rows)


def _on_grid(tile: Tile, number: int, place: int, start: np.ndarray, *, spacing: float, offset: np.ndarray) -> Drawn:
    """The pixels of a tile on a stratum's grid that are in the stratum."""
    rows = _grid_lines(tile.box.row_start, tile.box.row_stop, spacing, float(offset[0]))
    cols = _grid_lines(tile.box.col_start, tile.box.col_stop, spacing, float(offset[1]))
    inside = tile.numbers[np.ix_(rows - tile.box.row_start, cols - tile.box.col_start)] == number
    row, col = (lines[found] for lines, found in zip((rows, cols), np.nonzero(inside), strict=True))
    with np.errstate(over="ignore"):
        hashes = mixed(mixed(start + stepped(row)) + stepped(col))
    return Drawn(rows=row, cols=col, stratum=np.full(len(row), place), hashes=hashes)


def _grid_lines(begin: int, end: int, spacing: float, offset: float) -> np.ndarray:
    """The whole numbers floor(offset + i spacing) from ``begin`` to before ``end``, for whole i."""
    first, last = math.floor((begin - offset) / spacing) - 1, math.ceil((end - offset) / spacing) + 1
    lines = np.floor(offset + np.arange(first, last + 1) * spacing).astype(np.int64)
    return lines[(lines >= begin) & (lines < end)]


def _in_order(drawn: Drawn) -> Drawn:
    """The pixels by stratum, hash, row and column."""
    ordered = drawn.taken(np.lexsort([drawn.hashes, drawn.stratum]))
    if ((ordered.hashes[1:] == ordered.hashes[:-1]) & (ordered.stratum[1:] == ordered.stratum[:-1])).any():
        ordered = drawn.taken(np.lexsort([drawn.cols, drawn.rows, drawn.hashes, drawn.stratum]))
    return ordered


def _joined(parts: list[Drawn]) -> Drawn:
    empty = np.zeros(0, dtype=np.int64)
    if not parts:
        return Drawn(rows=empty, cols=empty, stratum=empty, hashes=empty.astype(np.uint64))
    return Drawn(
        rows=np.concatenate([part.rows for part in parts]),
        cols=np.concatenate([part.cols for part in parts]),
        stratum=np.concatenate([part.stratum for part in parts]),
        hashes=np.concatenate([part.hashes for part in parts]),
    )
