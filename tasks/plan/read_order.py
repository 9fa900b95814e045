"""The order in which blocks are read, and the size of GDAL's cache with which each file block is decoded once.

Our blocks are not aligned with the files' blocks, so neighbours read the same file blocks at their edges. Row after row
over a wide area, a file block has left the cache when the next row needs it; in strips a few blocks wide it has not.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tilewright.catalogs.scene import BandAsset
    from tilewright.tasks.grid.blocks import Block
    from tilewright.tasks.plan.inputs import InputPlan
    from tilewright.tasks.plan.plan import Plan


FILE_BLOCK: Final = 1024
"""Pixels per side of the largest usual block of a file. Source: Sentinel-2 COGs of Element 84; others have 512."""

STRIP_PIXELS: Final = 32 * FILE_BLOCK
"""Pixels beyond which a strip is not made wider: of two strips the file blocks that both read are a thirtieth then, and
the cache of a continent is no larger than that of a country."""

MIN_DENSITY: Final = 1 / 100
"""Grid pixels per file pixel along a side below which the two pixel sizes are taken to have different units."""

PROBES: Final = 16
"""Blocks that are sampled for the largest number of bytes per pixel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOrder:
    """Strips of ``width`` blocks, read from first row to last; ``cache_bytes`` hold the pixels neighbours share, all of
    them where it is ``whole``.
    """

    width: int
    cache_bytes: int
    whole: bool = False

    def order(self, blocks: Iterable[Block]) -> list[Block]:
        """The blocks, strip by strip."""
        found = list(blocks)
        first = min((block.col for block in found), default=0)
        return sorted(found, key=lambda block: ((block.col - first) // self.width, block.row, block.col))


def plan_read_order(plan: Plan, places: Sequence[tuple[int, int]], *, least: int, most: int) -> ReadOrder:
    """The widest strips whose decoded pixels fit in ``most`` bytes, with a cache no larger than they need.

    ``places``: (row, col) of the blocks. ``least``: the smallest cache. Strips have equal widths, so that none is a
    narrow rest, and at most ``STRIP_PIXELS``.
    """
    columns = {col for _, col in places} or {0}
    n_columns = 1 + max(columns) - min(columns)
    per_pixel = _bytes_per_pixel(plan, places)
    width = min(n_columns, max(1, STRIP_PIXELS // plan.raster.lattice.block))
    while width > 1 and _shared_bytes(plan, per_pixel, width) > most:
        width -= 1
    width = ceil(n_columns / ceil(n_columns / width))
    shared = _shared_bytes(plan, per_pixel, width)
    return ReadOrder(
        width=width, cache_bytes=int(min(max(least, shared), max(least, most))), whole=shared <= max(least, most)
    )


def _shared_bytes(plan: Plan, per_pixel: float, width: int) -> float:
    """Bytes decoded between the two reads of the pixels that a row of a strip shares with the next row."""
    edge = 2 * plan.raster.read_halo + FILE_BLOCK
    return per_pixel * (width * plan.raster.lattice.block + edge) * (plan.raster.lattice.block + edge)


def _bytes_per_pixel(plan: Plan, places: Sequence[tuple[int, int]]) -> float:
    """The largest decoded bytes of all scenes and bands per pixel of the model grid, over some of the blocks."""
    probes = [plan.raster.block(row, col) for row, col in places[:: max(1, len(places) // PROBES)]]
    return max(
        (sum(_block_bytes_per_pixel(plan, entry, block) for entry in plan.inputs) for block in probes), default=0.0
    )


def _block_bytes_per_pixel(plan: Plan, entry: InputPlan, block: Block) -> float:
    touching = entry.touching(plan.raster.grid, entry.box(block.outer))
    bands = {*entry.bands, *entry.mask.bands}
    assets = [asset for scene in touching for asset in scene.assets if asset.band in bands]
    resolution = entry.grid(plan.raster.grid).resolution
    return sum(_asset_bytes(asset, resolution) for asset in assets) * entry.density


def _asset_bytes(asset: BandAsset, resolution: float) -> float:
    """Bytes decoded per pixel of the grid: fewer for a coarser file; for a finer one an overview is read."""
    finer = 1.0 if asset.transform is None else min(1.0, abs(resolution / asset.transform[0]))
    # No file is so much coarser than its grid: one is in degrees, the other in metres.
    density = 1.0 if finer < MIN_DENSITY else finer**2
    return np.dtype(asset.dtype).itemsize * density
