"""The blocks of a grid: squares that start at multiples of the block size from the CRS origin, whatever the area."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import shapely

from tilewright.tasks.grid.grid import GridError
from tilewright.tasks.grid.pixel_box import PixelBox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shapely.geometry.base import BaseGeometry

    from tilewright.tasks.grid.grid import Grid


def plan_blocks(
    grid: Grid, *, block: int, halo: int, area: BaseGeometry | None = None, max_blocks: int | None = None
) -> tuple[Block, ...]:
    """The blocks that hold a pixel of the grid's area, in row-major order.

    ``block`` and ``halo`` are in pixels. With ``area`` (in the grid's CRS), blocks that it does not touch are left out.

    Raises GridError for more than ``max_blocks`` blocks; the count stops there.
    """
    if area is not None:
        shapely.prepare(area)
    touching = (
        each
        for each in _grid_blocks(grid, block=block, halo=halo)
        if area is None or area.intersects(shapely.box(*grid.bounds_of(each.inner.intersect(grid.extent))))
    )
    blocks = tuple(islice(touching, None if max_blocks is None else max_blocks + 1))
    if max_blocks is not None and len(blocks) > max_blocks:
        height, width = grid.extent.shape
        raise GridError(
            f"area: its {width:,} x {height:,} px make more than limits.blocks = {max_blocks:,} blocks of {block} px. "
            "Take a smaller area, a coarser grid.resolution or a larger tile.block, or raise limits.blocks."
        )
    return blocks


def covered_box(grid: Grid, *, block: int) -> PixelBox:
    """The box of whole blocks that covers the grid's area: the extent of the store."""
    rows, cols = block_range(grid.extent, block=block)
    return PixelBox(
        row_start=rows.start * block,
        row_stop=rows.stop * block,
        col_start=cols.start * block,
        col_stop=cols.stop * block,
    )


def block_range(box: PixelBox, *, block: int) -> tuple[range, range]:
    """(rows, columns) of the blocks that a box touches, in blocks from the CRS origin."""
    rows = range(box.row_start // block, -(-box.row_stop // block))
    cols = range(box.col_start // block, -(-box.col_stop // block))
    return rows, cols


def block_at(*, row: int, col: int, block: int, halo: int) -> Block:
    """The block at a row and column of the lattice."""
    inner = PixelBox(
        row_start=row * block, row_stop=(row + 1) * block, col_start=col * block, col_stop=(col + 1) * block
    )
    return Block(row=row, col=col, inner=inner, outer=inner.pad(halo))


def _grid_blocks(grid: Grid, *, block: int, halo: int) -> Iterator[Block]:
    rows, cols = block_range(grid.extent, block=block)
    for row in rows:
        for col in cols:
            yield block_at(row=row, col=col, block=block, halo=halo)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A unit of work, retry and write: pixels of ``inner`` are written, pixels of ``outer`` (inner + halo) are read."""

    row: int
    col: int
    inner: PixelBox
    outer: PixelBox

    @property
    def name(self) -> str:
        """``<row>_<col>``, the block's name in the ledger."""
        return f"{self.row}_{self.col}"
