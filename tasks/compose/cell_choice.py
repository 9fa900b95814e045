"""The passes that each cell of a fixed lattice takes in each step, chosen by how clear they are there.

Cells count from the CRS origin and every pixel follows the cell that it lies in, so that no pixel depends on the cut.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.tasks.grid.cells import block_range
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.read.resample.cells import locate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from odc.geo.geobox import GeoBox


CELL_PIXELS = 512
"""Least side of a cell in pixels of the model's grid: that of the usual block of a file, in 10 m pixels 5 km."""

SAMPLE_PIXELS = 16
"""Pixels of the model's grid for each side of a sample, of which a cell has 1024 or more."""

MOST_CELLS = 2**31 // CELL_PIXELS
"""Cells in a row of the widest grid."""

SHARES = 20
"""Steps in which clear shares are told apart."""

UNSEEN = -1
"""Number in place of a set of passes, for a cell that no block touches."""


def cell_side(step: int) -> int:
    """The side of a cell in pixels of the model's grid: the least multiple of the step of the windows that is one."""
    return -(-CELL_PIXELS // step) * step


def choose_passes(clear: np.ndarray, covers: Sequence[float], *, most: int, fill: bool) -> tuple[int, ...]:
    """The passes that a cell takes, ascending; `clear` (pass, sample) bool, passes in order of time.

    First the `most` with the largest clear share, in twentieths; of equal ones those whose scenes state less of
    `covers`, since they have less haze and neighbouring cells take the same, and then the earlier. With `fill` also,
    one after the other, the pass that sees most of the samples that none of them sees, as long as one sees any.
    """
    shares = np.rint(SHARES * clear.mean(axis=1)).astype(int).tolist()
    order = sorted(range(len(clear)), key=lambda number: (-shares[number], covers[number], number))
    chosen, rest = order[:most], order[most:]
    unseen = ~clear[chosen].any(axis=0)
    while fill and rest and unseen.any():
        gains = (clear[rest] & unseen).sum(axis=1)
        best = int(gains.argmax())
        if not gains[best]:
            break
        unseen &= ~clear[rest[best]]
        chosen.append(rest.pop(best))
    return tuple(sorted(chosen))


@dataclass(frozen=True, slots=True, kw_only=True)
class LookCost:
    """The cost of looking: mask files read, bytes decoded of them, seconds."""

    files: int
    n_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CellChoice:
    """The choice of one input. A cell has `side` of the input's pixels a side; `first` is the (row, col) of the first.

    `sets` holds per step the different sets of pass numbers; `cells` per step and row of cells the number of each
    cell's set, UNSEEN for a cell that no block touches. `n_found`: passes over the cells, summed over cells and steps.
    `shares`: per step the clear share (0-1) of each pass in the mean of its cells, None for one that was not looked at.
    """

    side: int
    first: tuple[int, int]
    sets: tuple[tuple[tuple[int, ...], ...], ...]
    cells: tuple[tuple[tuple[int, ...], ...], ...]
    n_found: int
    shares: tuple[tuple[float | None, ...], ...]
    cost: LookCost = field(compare=False)

    def __post_init__(self) -> None:
        assert self.side > 0, "a cell has pixels"
        assert len(self.sets) == len(self.cells) == len(self.shares), "each step has sets, cells and shares"
        for sets, lines, shares in zip(self.sets, self.cells, self.shares, strict=True):
            assert len(lines) == len(self.cells[0]), "all steps are of the same cells"
            assert len({len(line) for line in self.cells[0] + lines}) == 1, "all rows of cells are of one length"
            assert all(UNSEEN <= number < len(sets) for line in lines for number in set(line)), "each cell has a set"
            assert all(0 <= number < len(shares) for taken in sets for number in taken), "each pass has a share"

    def fits(self, n_passes: Sequence[int]) -> bool:
        """True if it is one of so many passes in each step."""
        return [len(of_step) for of_step in self.shares] == list(n_passes)

    @property
    def n_cells(self) -> int:
        """The cells of the input, each once."""
        return sum(number != UNSEEN for number in chain.from_iterable(self.cells[0])) if self.cells else 0

    @property
    def n_chosen(self) -> int:
        """Passes taken, summed over cells and steps."""
        return sum(len(self.sets[step][number]) for step, number in self._numbers())

    def chosen(self, step: int) -> frozenset[int]:
        """The numbers of the passes of a step that some cell takes."""
        return frozenset(chain.from_iterable(self.sets[step]))

    def pieces(self, step: int, box: PixelBox) -> Iterator[tuple[PixelBox, tuple[int, ...]]]:
        """A box of the input's pixels cut by cells, in row-major order, with the passes that each piece takes."""
        rows, cols = block_range(box, block=self.side)
        assert min(rows.start - self.first[0], cols.start - self.first[1]) >= 0, "blocks lie in cells looked at"
        for row in rows:
            line = self.cells[step][row - self.first[0]]
            for col in cols:
                number = line[col - self.first[1]]
                assert number != UNSEEN, f"cell {row} {col} was not looked at"
                cell = PixelBox.at(row * self.side, col * self.side, shape=(self.side, self.side))
                yield cell.intersect(box), self.sets[step][number]

    def passes_in(self, step: int, box: PixelBox) -> frozenset[int]:
        """The numbers of the passes of a step that the cells of a box take."""
        return frozenset(chain.from_iterable(taken for _, taken in self.pieces(step, box)))

    def wanted(self, step: int, number: int, geobox: GeoBox) -> np.ndarray | None:
        """True where the pixels of a geobox lie in a cell that takes a pass of a step, (y, x) bool; None: all do."""
        _, box = locate(geobox)
        pieces = list(self.pieces(step, box))
        if all(number in taken for _, taken in pieces):
            return None
        pixels = np.zeros(box.shape, dtype=bool)
        for piece, taken in pieces:
            if number in taken:
                pixels[piece.slices_in(box)] = True
        return pixels

    def renumbered(self, kept: Sequence[Sequence[int]]) -> CellChoice:
        """The same choice where the passes `kept` of each step are all that is left of it."""
        places = [{number: place for place, number in enumerate(numbers)} for numbers in kept]
        sets = tuple(
            tuple(tuple(place[number] for number in taken) for taken in of_step)
            for place, of_step in zip(places, self.sets, strict=True)
        )
        of_steps = zip(kept, self.shares, strict=True)
        shares = tuple(tuple(share[number] for number in numbers) for numbers, share in of_steps)
        return replace(self, sets=sets, shares=shares)

    def _numbers(self) -> Iterator[tuple[int, int]]:
        for step, lines in enumerate(self.cells):
            yield from ((step, number) for number in chain.from_iterable(lines) if number != UNSEEN)

    def to_json(self) -> dict[str, Any]:
        """The choice as JSON values; a row of cells as [set, cells in a row, set, ...]."""
        return {
            "side": self.side,
            "first": list(self.first),
            "steps": [
                {
                    "sets": [list(taken) for taken in sets],
                    "rows": [
                        [value for number, run in groupby(line) for value in (number, sum(1 for _ in run))]
                        for line in lines
                    ],
                    "clear": list(shares),
                }
                for sets, lines, shares in zip(self.sets, self.cells, self.shares, strict=True)
            ],
            "found": self.n_found,
            "look": {"files": self.cost.files, "bytes": self.cost.n_bytes, "seconds": self.cost.seconds},
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> CellChoice:
        """The choice that `to_json` wrote."""
        row, col = plain["first"]
        look = plain["look"]
        return cls(
            side=plain["side"],
            first=(row, col),
            sets=tuple(tuple(map(tuple, step["sets"])) for step in plain["steps"]),
            cells=tuple(tuple(map(_line, step["rows"])) for step in plain["steps"]),
            n_found=plain["found"],
            shares=tuple(tuple(step["clear"]) for step in plain["steps"]),
            cost=LookCost(files=look["files"], n_bytes=look["bytes"], seconds=look["seconds"]),
        )


def make_choice(
    taken: Mapping[tuple[int, int], Sequence[tuple[int, ...]]],
    *,
    side: int,
    shares: Sequence[Sequence[float | None]],
    n_found: int,
    cost: LookCost,
) -> CellChoice:
    """The choice of the passes `taken` by each cell (row, col) in each step."""
    rows, cols = zip(*taken, strict=True)
    first, last = (min(rows), min(cols)), (max(rows), max(cols))
    sets, cells = [], []
    for step in range(len(shares)):
        places = {one: place for place, one in enumerate(sorted({of_cell[step] for of_cell in taken.values()}))}
        sets.append(tuple(places))
        cells.append(
            tuple(
                tuple(
                    places[taken[row, col][step]] if (row, col) in taken else UNSEEN
                    for col in range(first[1], last[1] + 1)
                )
                for row in range(first[0], last[0] + 1)
            )
        )
    told = tuple(map(tuple, shares))
    return CellChoice(
        side=side, first=first, sets=tuple(sets), cells=tuple(cells), n_found=n_found, shares=told, cost=cost
    )


def _line(runs: Sequence[int]) -> tuple[int, ...]:
    """A row of cells from its runs. Raises ValueError for one that no grid has."""
    numbers, lengths = runs[::2], runs[1::2]
    if not 0 < sum(lengths) <= MOST_CELLS or min(lengths) < 1:
        raise ValueError(f"a row of cells has {sum(lengths)} of them: expected 1 to {MOST_CELLS}")
    return tuple(number for number, length in zip(numbers, lengths, strict=True) for _ in range(length))
