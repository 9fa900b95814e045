"""The blocks of a grid: squares that start at multiples of the block size from the CRS origin, whatever the area."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice, product
from typing import TYPE_CHECKING

from tilewright.tasks.grid.cells import block_range, touched_cells
from tilewright.tasks.grid.grid import GridError
from tilewright.tasks.grid.pixel_box import PixelBox

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

    from tilewright.tasks.grid.grid import Grid


def plan_blocks(
    grid: Grid, *, block: int, halo: int, area: BaseGeometry | None = None, max_blocks: int | None = None
) -> tuple[Block, ...]:
    """The blocks that hold a pixel of the grid's area, in row-major order.

    ``block`` and ``halo`` are in pixels. With ``area`` (in the grid's CRS), blocks that it does not touch are left out.

    Raises GridError for more than ``max_blocks`` blocks; the count stops there.
    """
    places = _places(grid, block=block, area=area, most=max_blocks)
    if max_blocks is not None and len(places) > max_blocks:
        height, width = grid.extent.shape
        raise GridError(
            f"area: its {width:,} x {height:,} px make more than limits.blocks = {max_blocks:,} blocks of {block} px. "
            "Take a smaller area, a coarser grid.resolution or a larger tile.block, or raise limits.blocks."
        )
    return tuple(block_at(row=row, col=col, block=block, halo=halo) for row, col in sorted(places))


def covered_box(grid: Grid, *, block: int) -> PixelBox:
    """The box of whole blocks that covers the grid's area: the extent of the store."""
    rows, cols = block_range(grid.extent, block=block)
    return PixelBox(
        row_start=rows.start * block,
        row_stop=rows.stop * block,
        col_start=cols.start * block,
        col_stop=cols.stop * block,
    )


def block_at(*, row: int, col: int, block: int, halo: int) -> Block:
    """The block at a row and column of the lattice."""
    inner = PixelBox(
        row_start=row * block, row_stop=(row + 1) * block, col_start=col * block, col_stop=(col + 1) * block
    )
    return Block(row=row, col=col, inner=inner, outer=inner.pad(halo))


def _places(grid: Grid, *, block: int, area: BaseGeometry | None, most: int | None) -> set[tuple[int, int]]:
    """(row, column) of the blocks that an area touches; those above ``most`` are left out but for one."""
    places: set[tuple[int, int]] = set()
    found = [(block_range(grid.extent, block=block), True)] if area is None else touched_cells(grid, area, side=block)
    for (rows, cols), _ in found:
        places.update(islice(product(rows, cols), None if most is None else most + 1))
        if most is not None and len(places) > most:
            break
    return places


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
