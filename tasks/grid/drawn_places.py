"""Draws the windows that a run compares, by a hash of their row and column: no cut of the work changes the draw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import shapely

from tilewright.models.transforms.noise import place_hashes
from tilewright.tasks.grid.blocks import block_at
from tilewright.tasks.grid.cells import block_range

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilewright.tasks.grid.cells import PreparedArea
    from tilewright.tasks.grid.grid import Grid


MOST: Final = 64
"""Windows compared at most."""

LEAST: Final = 4
"""Windows compared at least, if there are twice as many."""

LEAST_PROVEN: Final = 2
"""The same where it is proven that nothing differs, so that it is the proof that is tried: each costs another call."""

ONE_OF: Final = 100
"""Windows run for one that is compared, between the two."""


def sample_size(n_windows: int, *, windows_per_call: int, proven: bool = False) -> int:
    """The windows that are compared of so many: one in a hundred, of few at least four, but never more than half.

    ``proven``: that tiled equals whole; of few windows two are enough then.
    """
    few = min(LEAST_PROVEN if proven else LEAST, -(-n_windows // 2))
    return min(MOST, max(few, n_windows // (ONE_OF * windows_per_call)))


def drawn_places(grid: Grid, area: PreparedArea, *, step: int) -> Iterator[tuple[int, int]]:
    """Every place (row, column) of the lattice of ``step`` pixels that ``area`` touches inside the grid's extent, in
    the order of their hashes: the first so many are a sample of all.
    """
    rows, cols = block_range(grid.extent, block=step)
    for place in np.argsort(place_hashes(np.zeros((), np.uint64), rows, cols), axis=None, kind="stable"):
        row, col = rows[int(place) // len(cols)], cols[int(place) % len(cols)]
        core = block_at(row=row, col=col, block=step, halo=0).inner.intersect(grid.extent)
        if area.touches(shapely.box(*grid.bounds_of(core))):
            yield row, col
