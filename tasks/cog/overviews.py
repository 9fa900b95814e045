"""The smaller levels of a staged layer, in files whose names GDAL recognises as overviews.

They are made from the rows as these are staged, at a tenth of the time that GDAL's COG driver takes to make them from
the finished file.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.windows import Window

from tilewright.tasks.cog.statistics import rows_crc32
from tilewright.tasks.zarr.downsample import halve

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray


SMALLEST_LEVEL = 512
"""Side in pixels up to which a level has no smaller one: it fits one tile."""


def level_shapes(shape: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """The shapes of the smaller levels of (height, width), each half of the one before, odd sides rounded up.

    A raster one pixel wide has no smaller level: GDAL identifies levels by their width.
    """
    shapes: list[tuple[int, int]] = []
    height, width = shape
    while max(height, width) > SMALLEST_LEVEL and width > 1:
        height, width = -(-height // 2), -(-width // 2)
        shapes.append((height, width))
    return tuple(shapes)


@dataclass(slots=True, kw_only=True)
class Overview:
    """One level, written from the rows of the larger one; ``crcs`` has a CRC-32 of every 512 rows."""

    target: Any
    kind: str
    nodata: float | None
    smaller: Overview | None = None
    crcs: list[int] = field(default_factory=list)
    _pending: list[NDArray[Any]] = field(default_factory=list)
    _written: int = 0

    def add_rows(self, rows: NDArray[Any]) -> None:
        """Add the next rows (band, h, W) of the larger level: 512, except for its last rows."""
        self._pending.append(np.stack([halve(band, kind=self.kind, nodata=self.nodata) for band in rows]))
        if sum(piece.shape[1] for piece in self._pending) >= SMALLEST_LEVEL:
            self._write()

    def close(self) -> None:
        """Write the remaining rows of this level and of the smaller ones."""
        if self._pending:
            self._write()
        if self.smaller is not None:
            self.smaller.close()

    def _write(self) -> None:
        rows = np.concatenate(self._pending, axis=1)
        self._pending = []
        self.target.write(rows, window=Window(0, self._written, rows.shape[2], rows.shape[1]))
        self.crcs.append(rows_crc32(rows))
        self._written += rows.shape[1]
        if self.smaller is not None:
            self.smaller.add_rows(rows)


@contextmanager
def open_levels(staged: Path, profile: Mapping[str, Any], *, kind: str) -> Iterator[tuple[Overview, ...]]:
    """The smaller levels of a staged file with `profile`, the largest first; rows are added to the first one alone.

    GDAL finds them by name: `rows.tif.ovr` is the first, `rows.tif.ovr.ovr` the second, and so on.
    """
    levels: list[Overview] = []
    name = staged.name
    for height, width in level_shapes((profile["height"], profile["width"])):
        name += ".ovr"
        transform = profile["transform"] * Affine.scale(2 ** (len(levels) + 1))
        level_profile = {**profile, "height": height, "width": width, "transform": transform}
        target = rasterio.open(staged.with_name(name), "w", **level_profile)
        levels.append(Overview(target=target, kind=kind, nodata=profile["nodata"]))
    for level, smaller in pairwise(levels):
        level.smaller = smaller
    try:
        yield tuple(levels)
    finally:
        for level in levels:
            level.target.close()
