"""The tiles of 100 km of the Military Grid Reference System (MGRS), by which Sentinel-2 and others name their tiles."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tilewright.tasks.audit.evaluate.label_file import LabelError
from tilewright.tasks.grid.crs import transformer

if TYPE_CHECKING:
    from tilewright.tasks.audit.evaluate.pairs import Pairs
    from tilewright.tasks.grid.grid import Grid

MOST_GROUPS = 1000

TILE = "tile"

NONE = "(none)"
"""The group of pairs that are in none: of a place in no tile or zone, or a row without a value."""

SOUTH, NORTH = -80.0, 84.0
"""Latitudes between which there are zones; beyond them are the poles' own tiles, which are not told apart here."""

BANDS = "CDEFGHJKLMNPQRSTUVWX"
COLUMNS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
ROWS = "ABCDEFGHJKLMNPQRSTUV"

SIDE = 100_000
"""Metres of a side of a tile."""


def mgrs_tiles(x: np.ndarray, y: np.ndarray, crs: str) -> np.ndarray:
    """The tile of each place (place,) in a CRS, texts such as ``33UVP``; `NONE` near the poles and for no place.

    Source: NGA.STND.0037, Universal Grids and Grid Reference Systems (2014), chapters 2 and 3, for WGS 84.
    """
    lon, lat = transformer(crs, "EPSG:4326").transform(x, y)
    told = np.full(len(x), NONE, dtype=object)
    with np.errstate(invalid="ignore"):
        known = np.isfinite(lon) & np.isfinite(lat) & (lat >= SOUTH) & (lat < NORTH)
    zones = np.zeros(len(x), dtype=np.int64)
    zones[known] = _zones(lon[known], lat[known])
    for zone in np.unique(zones[known]).tolist():
        here = np.flatnonzero(zones == zone)
        # One false northing for both hemispheres: rows of letters come again after 2 000 km, and 10 000 km are five.
        east, north = transformer("EPSG:4326", f"EPSG:{32600 + zone}").transform(lon[here], lat[here])
        col, row = (np.floor(each / SIDE).astype(np.int64) for each in (east, north))
        band = np.minimum((lat[here] - SOUTH) // 8, len(BANDS) - 1).astype(np.int64)
        col = (zone - 1) % 3 * 8 + col - 1
        row = (row + (5 if zone % 2 == 0 else 0)) % len(ROWS)
        keys, places = np.unique(np.column_stack([band, col, row]), axis=0, return_inverse=True)
        names = [f"{zone:02d}{BANDS[b]}{COLUMNS[c]}{ROWS[r]}" for b, c, r in keys.tolist()]
        told[here] = np.array(names, dtype=object)[places.reshape(-1)]
    return told


def _zones(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """The zone, 1 to 60, of places in degrees, with the exceptions of Norway and Svalbard."""
    around = np.where(lon >= 180, lon - 360, lon)
    zones: np.ndarray = ((around + 180) // 6).astype(np.int64) + 1
    zones[(lat >= 56) & (lat < 64) & (around >= 3) & (around < 12)] = 32
    svalbard = (lat >= 72) & (around >= 0) & (around < 42)
    zones[svalbard] = np.array([31, 33, 35, 37])[np.searchsorted([9, 21, 33], around[svalbard], side="right")]
    return zones


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
