"""The parts of a layer that is too large for one file: where it is cut, and the joint facts of its parts."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from tilewright.tasks.cog.statistics import merge_statistics
from tilewright.tasks.cog.write import CogFacts, file_multihash
from tilewright.tasks.grid.pixel_box import PixelBox

if TYPE_CHECKING:
    from pathlib import Path


MAX_SIDE = 32_768
"""Side in pixels of the largest square in one file: 1 GB of bytes or 4 GB of floats, which people still download.

64 tiles of 512, so that the tiles of every overview end at the edges of the part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CogPart:
    """One part: its row and column among the parts, and its pixels within the layer's area, stops exclusive."""

    row: int
    col: int
    row_start: int
    row_stop: int
    col_start: int
    col_stop: int

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.row_stop - self.row_start, self.col_stop - self.col_start

    @property
    def suffix(self) -> str:
        """The suffix of the names of the part's files and Item: `r02c01`."""
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
    """The parts that cover each pixel of an area of absolute pixels once, in row-major order.

    An area of at most `side` x `side` pixels is one part. A larger one is cut at multiples of `side` in absolute
    pixels, so that adjacent areas are cut at the same rows and columns.
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
    """The facts of the whole layer from those of its parts; size and checksum are those of the VRT over the parts."""
    facts = [cog for _, cog in parts]
    values = sorted({value for cog in facts for value in cog.counts})
    pixels = sum(cog.pixels for cog in facts)
    return CogFacts(
        path=vrt,
        size=vrt.stat().st_size,
        checksum=file_multihash(vrt),
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
