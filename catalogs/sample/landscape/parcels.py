"""The simulated farmland: blocks of land between tracks, each divided into parallel strips, as inheritance does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tilewright.catalogs.sample.landscape.grid import HEIGHT, WIDTH
from tilewright.catalogs.sample.landscape.noise import Mask, nearest_to, smooth_noise

# Indices reserved for the parcels of a block: 32 strips of 8 lengths.
STRIPS, LENGTHS = 32, 8

PER_BLOCK = STRIPS * LENGTHS


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcels:
    """The division of the land on the union grid (y, x).

    `block`, `stand` and `parcel` are the indices of each pixel's block, stand (a few neighbouring parcels) and parcel;
    `border` is the mask of pixels along which two blocks meet.
    """

    block: npt.NDArray[np.int32]
    stand: npt.NDArray[np.int32]
    parcel: npt.NDArray[np.int32]
    border: Mask

    @property
    def n_stands(self) -> int:
        """Number of stands."""
        return int(self.stand.max()) + 1

    @property
    def n_parcels(self) -> int:
        """Number of parcels."""
        return int(self.parcel.max()) + 1


def build_parcels(rng: np.random.Generator) -> Parcels:
    """The parcels of the sample, the same for the same generator."""
    block, n_blocks = _blocks(rng)
    row, column = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    angle = (rng.normal(0.35, 0.45, n_blocks) + (rng.random(n_blocks) < 0.5) * np.pi / 2).astype(np.float32)
    width = np.exp(rng.normal(2.35, 0.38, n_blocks)).clip(5, 26).astype(np.float32)
    length = rng.uniform(26, 75, n_blocks).astype(np.float32)
    cos, sin = np.cos(angle)[block], np.sin(angle)[block]
    strip = np.floor((row * cos - column * sin) / width[block]).astype(np.int32) % STRIPS
    # Some strips are twice as wide as their neighbours, and each strip begins at a different position.
    strip -= (strip * 7 + block) % 5 == 0
    along = (column * cos + row * sin) / length[block] + ((strip * 37 + block * 11) % 17) / 17
    parcel = block * PER_BLOCK + (strip % STRIPS) * LENGTHS + np.floor(along).astype(np.int32) % LENGTHS
    border = np.zeros_like(block, dtype=bool)
    border[:, 1:] |= block[:, 1:] != block[:, :-1]
    border[1:] |= block[1:] != block[:-1]
    return Parcels(block=block, stand=_consecutive(parcel // (2 * LENGTHS)), parcel=_consecutive(parcel), border=border)


def _consecutive(indices: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """The indices (y, x) replaced by consecutive ones in the same order."""
    present = np.bincount(indices.ravel()) > 0
    return (np.cumsum(present, dtype=np.int32) - 1)[indices]


def _blocks(rng: np.random.Generator) -> tuple[npt.NDArray[np.int32], int]:
    """Indices (y, x) of blocks about 600 m wide with slightly curved borders, and the number of blocks."""
    pitch = 62
    rows, columns = np.mgrid[0:HEIGHT:pitch, 0:WIDTH:pitch]
    row = np.clip(rows.ravel() + rng.integers(0, pitch, rows.size), 0, HEIGHT - 1)
    column = np.clip(columns.ravel() + rng.integers(0, pitch, rows.size), 0, WIDTH - 1)
    seeds = np.zeros((HEIGHT, WIDTH), dtype=np.int32)
    seeds[row, column] = np.arange(1, rows.size + 1)
    bend = (smooth_noise(rng, slope=2.4, longest=220) * 5).astype(np.int32)
    at_row = np.clip(np.arange(HEIGHT)[:, None] + bend, 0, HEIGHT - 1)
    at_column = np.clip(np.arange(WIDTH)[None] - bend, 0, WIDTH - 1)
    block = seeds[nearest_to(seeds > 0)] - 1
    return block[at_row, at_column], rows.size
