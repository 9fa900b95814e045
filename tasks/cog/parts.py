"""A layer too large for one file: where it is cut, and what its parts amount to together."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from tilewright.tasks.cog.statistics import merge_statistics
from tilewright.tasks.cog.write import CogFacts, multihash
from tilewright.tasks.grid.pixel_box import PixelBox

if TYPE_CHECKING:
    from pathlib import Path


MAX_SIDE = 32_768
"""Side of the largest square kept in one file: 1 GB of bytes or 4 GB of floats, what people still download whole.

64 tiles of 512, so that every overview's tiles end where the part does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CogPart:
    """One part: its place in the grid, and its rows and columns within the area, stops exclusive."""

    row: int
    col: int
    row_start: int
    row_stop: int
    col_start: int
    col_stop: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.row_stop - self.row_start, self.col_stop - self.col_start

    @property
    def suffix(self) -> str:
        """What tells the part's files and Item from the others': `r02c01`."""
        return f"r{self.row:02}c{self.col:02}"

    def box_in(self, area: PixelBox) -> PixelBox:
        """The part in absolute pixels."""
        return PixelBox(
            row_start=area.row_start + self.row_start,
            row_stop=area.row_start + self.row_stop,
            col_start=area.col_start + self.col_start,
            col_stop=area.col_start + self.col_stop,
        )


def cog_parts(area: PixelBox, *, side: int = MAX_SIDE) -> tuple[CogPart, ...]:
    """The parts that cover an area of absolute pixels, each once, row by row; one part where it fits in one file.

    An area of more than `side` x `side` pixels is cut, at multiples of `side` in absolute pixels, so that areas side by
    side are cut at the same places.
    """
    height, width = area.shape
    if height * width <= side * side:
        return (CogPart(row=0, col=0, row_start=0, row_stop=height, col_start=0, col_stop=width),)
    rows, cols = _cuts(height, area.row_start, side), _cuts(width, area.col_start, side)
    return tuple(
        CogPart(row=row, col=col, row_start=top, row_stop=bottom, col_start=left, col_stop=right)
        for row, (top, bottom) in enumerate(rows)
        for col, (left, right) in enumerate(cols)
    )


def join_parts(parts: tuple[tuple[CogPart, CogFacts], ...], *, vrt: Path) -> CogFacts:
    """The whole layer's account from those of its parts; size and checksum are of the VRT that shows them as one."""
    facts = [cog for _, cog in parts]
    values = sorted({value for cog in facts for value in cog.counts})
    pixels = sum(cog.pixels for cog in facts)
    return CogFacts(
        path=vrt,
        size=vrt.stat().st_size,
        checksum=multihash(vrt),
        statistics=merge_statistics([(cog.valid_pixels, cog.statistics) for cog in facts], pixels=pixels),
        counts={value: sum(cog.counts.get(value, 0) for cog in facts) for value in values},
        pixels=pixels,
        valid_pixels=sum(cog.valid_pixels for cog in facts),
        overviews=(),
        sidecar=None,
    )


def _cuts(length: int, start: int, side: int) -> list[tuple[int, int]]:
    edges = [0, *range(-start % side or side, length, side), length]
    return list(pairwise(edges))
