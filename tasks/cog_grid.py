"""A layer too large for one file: a grid of COGs, and a VRT that shows them as one raster."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from affine import Affine

from tasks.cog import CogFacts, write_cog
from tasks.statistics import Statistics, merge_statistics
from tasks.vrt import write_vrt

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from tasks.cogspec import CogSpec

MAX_PIXELS = 40_000**2
"""Pixels of a layer above which it is cut: 1.6 GB of bytes or 6.4 GB of floats, what people still download whole."""

PART_SIDE = 32_768
"""Pixels per side of a part: 64 tiles of 512, so that every overview's tiles end where the part does."""


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

    def transform(self, whole: Affine) -> Affine:
        """The part's transform from the area's."""
        x, y = whole.a * self.col_start + whole.b * self.row_start, whole.d * self.col_start + whole.e * self.row_start
        return Affine(whole.a, whole.b, whole.c + x, whole.d, whole.e, whole.f + y)


@dataclass(frozen=True, slots=True, kw_only=True)
class CogGridFacts:
    """One layer as a grid of COGs: the parts and their files in reading order, the VRT, the sums over all parts."""

    parts: tuple[tuple[CogPart, CogFacts], ...]
    vrt: Path
    counts: Mapping[int, int] = field(hash=False)
    statistics: Statistics | None
    pixels: int
    valid_pixels: int


def cog_parts(
    shape: tuple[int, int], *, origin: tuple[int, int] = (0, 0), max_pixels: int = MAX_PIXELS, side: int = PART_SIDE
) -> tuple[CogPart, ...]:
    """The parts that cover an area of (height, width), each pixel once, row by row; one part where it fits in one file.

    `origin` is the absolute (row, col) of the area's first pixel. Parts are cut at multiples of `side` in absolute
    pixels, so that areas side by side are cut at the same places.
    """
    height, width = shape
    if height * width <= max_pixels:
        return (CogPart(row=0, col=0, row_start=0, row_stop=height, col_start=0, col_stop=width),)
    rows, cols = _cuts(height, origin[0], side), _cuts(width, origin[1], side)
    return tuple(
        CogPart(row=row, col=col, row_start=top, row_stop=bottom, col_start=left, col_stop=right)
        for row, (top, bottom) in enumerate(rows)
        for col, (left, right) in enumerate(cols)
    )


def write_cog_grid(
    folder: Path,
    parts: tuple[CogPart, ...],
    *,
    read: Callable[[int, int, int, int], NDArray[Any]],
    transform: Affine,
    crs: str,
    spec: CogSpec,
    progress: Callable[[float], None] = lambda _share: None,
    **options: Any,
) -> CogGridFacts:
    """A COG `<layer>_r00c00.tif` per part in `folder`, and `<layer>.vrt` over them with colours and names of its own.

    `read(row_start, row_stop, col_start, col_stop)` gives that piece of the area; `options` go to `write_cog`.

    Raises CogError: as `write_cog` does, for the part that fails.
    """
    written: list[tuple[CogPart, CogFacts]] = []
    for number, part in enumerate(parts):
        facts = write_cog(
            folder / f"{spec.name}_{part.suffix}.tif",
            rows=_part_rows(read, part),
            shape=part.shape,
            transform=part.transform(transform),
            crs=crs,
            spec=spec,
            progress=lambda share, done=number: progress((done + share) / len(parts)),  # type: ignore[misc]
            **options,
        )
        written.append((part, facts))
    vrt = write_vrt(folder / f"{spec.name}.vrt", written, transform=transform, crs=crs, spec=spec)
    return _sum(tuple(written), vrt)


def _cuts(length: int, start: int, side: int) -> list[tuple[int, int]]:
    edges = [0, *range(-start % side or side, length, side), length]
    return list(pairwise(edges))


def _part_rows(read: Callable[[int, int, int, int], NDArray[Any]], part: CogPart) -> Callable[[int, int], NDArray[Any]]:
    return lambda r0, r1: read(part.row_start + r0, part.row_start + r1, part.col_start, part.col_stop)


def _sum(written: tuple[tuple[CogPart, CogFacts], ...], vrt: Path) -> CogGridFacts:
    facts = [cog for _, cog in written]
    values = sorted({value for cog in facts for value in cog.counts})
    pixels = sum(cog.pixels for cog in facts)
    return CogGridFacts(
        parts=written,
        vrt=vrt,
        counts={value: sum(cog.counts.get(value, 0) for cog in facts) for value in values},
        statistics=merge_statistics([(cog.valid_pixels, cog.statistics) for cog in facts], pixels=pixels),
        pixels=pixels,
        valid_pixels=sum(cog.valid_pixels for cog in facts),
    )
