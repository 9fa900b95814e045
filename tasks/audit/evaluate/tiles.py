"""Groups of pairs by the MGRS tile of 100 km in which they lie."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tilewright.tasks.audit.evaluate.label_file import LabelError
from tilewright.tasks.grid.mgrs.tiles import mgrs_tiles

if TYPE_CHECKING:
    from tilewright.tasks.audit.evaluate.pairs import Pairs
    from tilewright.tasks.grid.grid import Grid

MOST_GROUPS = 1000

TILE = "tile"


@dataclass(slots=True, kw_only=True)
class TileGroups:
    """Groups of the MGRS tiles of 100 km that hold the centres of pixels of a ``grid``, named as they are met."""

    grid: Grid
    numbers: dict[str, int] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The tiles that were met, by their numbers."""
        return tuple(self.numbers)

    def of(self, pairs: Pairs) -> np.ndarray:
        """The groups of pairs. Raises LabelError for too many tiles."""
        if not len(pairs):
            return np.array([], dtype=np.int64)
        top, bottom = int(pairs.rows.min()), int(pairs.rows.max())
        left, right = int(pairs.cols.min()), int(pairs.cols.max())
        down, across = np.arange(top, bottom + 1), np.arange(left, right + 1)
        n_around = 2 * (len(down) + len(across))
        if n_around < len(pairs):
            # A tile has no holes: what holds all centres along the edge of a box holds those inside it.
            rows = np.concatenate([down, down, np.full(len(across), top), np.full(len(across), bottom)])
            cols = np.concatenate([np.full(len(down), left), np.full(len(down), right), across, across])
            around = set(self._tiles(rows, cols))
            if len(around) == 1:
                return np.full(len(pairs), self._number(around.pop()))
        tiles, places = np.unique(self._tiles(pairs.rows, pairs.cols).astype(str), return_inverse=True)
        return np.array([self._number(tile) for tile in tiles.tolist()])[places]

    def _tiles(self, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        size = self.grid.resolution
        return mgrs_tiles((cols + 0.5) * size, -(rows + 0.5) * size, self.grid.crs)

    def _number(self, tile: str) -> int:
        number = self.numbers.setdefault(tile, len(self.numbers))
        if len(self.numbers) > MOST_GROUPS:
            raise LabelError(f"--by {TILE}: the labels lie in over {MOST_GROUPS:,} tiles, give a column or zones.")
        return number
