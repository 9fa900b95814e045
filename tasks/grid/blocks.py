"""Which blocks a grid is cut into: whole multiples of the block from the CRS origin, whatever the area."""

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
    grid: Grid, *, block: int, halo: int, area: BaseGeometry | None = None, most: int | None = None
) -> tuple[Block, ...]:
    """The blocks that hold a pixel of the grid's area, in row-major order.

    ``block`` and ``halo`` in pixels. ``area`` (in the grid's CRS) leaves out the blocks it does not touch.

    Raises GridError for more than ``most``, without cutting the rest.
    """
    prepared = None
    if area is not None:
        shapely.prepare(area)
        prepared = area
    found = (
        cut
        for cut in _cut_blocks(grid, block=block, halo=halo)
        if prepared is None or prepared.intersects(shapely.box(*grid.bounds_of(cut.inner.intersect(grid.area))))
    )
    blocks = tuple(islice(found, None if most is None else most + 1))
    if most is not None and len(blocks) > most:
        height, width = grid.area.shape
        raise GridError(
            f"area: its {width:,} x {height:,} px make more than limits.blocks = {most:,} blocks of {block} px. Take a "
            "smaller area, a coarser grid.resolution or a larger tile.block, or raise limits.blocks."
        )
    return blocks


def covered_box(grid: Grid, *, block: int) -> PixelBox:
    """The box of whole blocks that covers the grid's area: what the store declares."""
    rows, cols = block_range(grid.area, block=block)
    return PixelBox(
        row_start=rows.start * block,
        row_stop=rows.stop * block,
        col_start=cols.start * block,
        col_stop=cols.stop * block,
    )


def block_range(box: PixelBox, *, block: int) -> tuple[range, range]:
    """(rows, columns) of the blocks that a box touches."""
    rows = range(box.row_start // block, -(-box.row_stop // block))
    cols = range(box.col_start // block, -(-box.col_stop // block))
    return rows, cols


def block_at(*, row: int, col: int, block: int, halo: int) -> Block:
    """The block at a place of the lattice."""
    inner = PixelBox(
        row_start=row * block, row_stop=(row + 1) * block, col_start=col * block, col_stop=(col + 1) * block
    )
    return Block(row=row, col=col, inner=inner, outer=inner.pad(halo))


def _cut_blocks(grid: Grid, *, block: int, halo: int) -> Iterator[Block]:
    rows, cols = block_range(grid.area, block=block)
    for row in rows:
        for col in cols:
            yield block_at(row=row, col=col, block=block, halo=halo)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A unit of work, retry and write: ``inner`` is written, ``outer`` (inner + halo) is read."""

    row: int
    col: int
    inner: PixelBox
    outer: PixelBox

    @property
    def name(self) -> str:
        """``<row>_<col>``, the block's name in the ledger."""
        return f"{self.row}_{self.col}"
