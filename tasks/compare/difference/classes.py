"""Two layers of classes over one grid as one layer: the same in both, or which class went to which."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tilewright.tasks.cog.spec import CogClass
from tilewright.tasks.colours import GROUND, UNLISTED
from tilewright.tasks.compare.cells import CellCounts
from tilewright.tasks.compare.transitions import N_VALUES
from tilewright.tasks.compare.words import short
from tilewright.tasks.styles.document import label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.tasks.compare.compare import LayerComparison
    from tilewright.tasks.compare.finished import MapClass
    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.zarr.store import LayerRows

SAME, OTHER, NEITHER = 0, 254, 255
"""Values of the layer: the same class in both, a change without a number of its own, and not observed in both."""

MOST_CODES = OTHER - 1
"""Changes that have a number of their own, at most."""


def change_codes(listed: Sequence[MapClass], moves: Sequence[tuple[int, int]]) -> np.ndarray:
    """The number of every change, (256, 256) uint8 by the values in A and B.

    Changes between the classes of the table are numbered by their places in it, from A's first class on, whatever
    occurs: 1 + i (n - 1) + j, less one where j > i, of n classes. Of more than 16 classes those of the ``moves`` are
    numbered instead, as far as there are numbers; all others are `OTHER`.
    """
    codes = np.full((N_VALUES, N_VALUES), OTHER, dtype=np.uint8)
    values = [each.value for each in listed]
    changes = [(a, b) for a in values for b in values if a != b]
    for number, (a, b) in enumerate(changes if len(changes) <= MOST_CODES else moves[:MOST_CODES], start=1):
        codes[a, b] = number
    np.fill_diagonal(codes, SAME)
    return codes


def change_legend(each: LayerComparison, codes: np.ndarray) -> tuple[CogClass, ...]:
    """What the values of the layer mean: the same, and the changes that occur, the largest area first."""
    entries = [CogClass(value=SAME, name="the same in both", color=GROUND)]
    moves = [(int(codes[move.before, move.after]), move) for move in each.moves]
    entries += [
        CogClass(
            value=code,
            name=label(f"{short(each.name_of(move.before))} → {short(each.name_of(move.after))}"),
            color=move.colour,
        )
        for code, move in moves
        if code != OTHER
    ]
    if any(code == OTHER for code, _ in moves):
        entries.append(CogClass(value=OTHER, name="another change", color=UNLISTED))
    return tuple(entries)


class ClassDifference:
    """The changes of one layer; ``rows`` gives their numbers from top to bottom, and pixels are counted on the way.

    ``cells`` counts pixels that either observed, and those that differ or that only one observed (``n_apart``).
    """

    def __init__(
        self, codes: np.ndarray, rows: tuple[LayerRows, LayerRows], extent: PixelBox, nodata: tuple[int, int]
    ) -> None:
        self._codes, self._rows, self._nodata = codes, rows, nodata
        self.n_apart = 0
        self.cells = CellCounts(extent)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows of numbers, (stop - start, width) uint8, `NEITHER` where not both observed; each is asked for once.

        Raises StorageError if storage refuses, ChangedStoreError if stored bytes are corrupt.
        """
        a, b = (each.rows(start, stop) for each in self._rows)
        seen_a, seen_b = a != self._nodata[0], b != self._nodata[1]
        both, either = seen_a & seen_b, seen_a | seen_b
        apart = either & ~(both & (a == b))
        self.n_apart += int(apart.sum())
        self.cells.add(start, either, apart)
        return np.where(both, self._codes[a, b], np.uint8(NEITHER))
