"""The smaller levels of a layer laid down beside its staged rows, where GDAL takes them for the file's overviews.

Made from the rows as they pass, they cost a tenth of what GDAL's COG driver needs to make them from the finished file.
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

from tilewright.tasks.cog.statistics import fingerprint
from tilewright.tasks.zarr.downsample import halve

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray


SMALLEST = 512
"""Pixels: a level that fits one tile needs no smaller one."""


def level_shapes(shape: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """Shapes of the smaller levels of (height, width), each half the one above with odd sides rounded up.

    A line one pixel wide has none: GDAL tells levels apart by their width.
    """
    shapes: list[tuple[int, int]] = []
    height, width = shape
    while max(height, width) > SMALLEST and width > 1:
        height, width = -(-height // 2), -(-width // 2)
        shapes.append((height, width))
    return tuple(shapes)


@dataclass(slots=True, kw_only=True)
class Overview:
    """One level being written from the rows of the one above; ``prints`` are fingerprints of its rows, 512 each."""

    target: Any
    kind: str
    nodata: float | None
    below: Overview | None = None
    prints: list[int] = field(default_factory=list)
    _waiting: list[NDArray[Any]] = field(default_factory=list)
    _written: int = 0

    def take(self, rows: NDArray[Any]) -> None:
        """Take the next rows of the level above, 512 of them but for the last."""
        self._waiting.append(halve(rows, kind=self.kind, nodata=self.nodata))
        if sum(piece.shape[0] for piece in self._waiting) >= SMALLEST:
            self._write()

    def close(self) -> None:
        """Write what is left, here and below."""
        if self._waiting:
            self._write()
        if self.below is not None:
            self.below.close()

    def _write(self) -> None:
        rows = np.concatenate(self._waiting)
        self._waiting = []
        self.target.write(rows, 1, window=Window(0, self._written, rows.shape[1], rows.shape[0]))
        self.prints.append(fingerprint(rows))
        self._written += rows.shape[0]
        if self.below is not None:
            self.below.take(rows)


@contextmanager
def open_levels(staged: Path, profile: Mapping[str, Any], *, kind: str) -> Iterator[tuple[Overview, ...]]:
    """The levels of a staged file of that profile, the largest first, to be fed through the first one.

    GDAL finds them by name: `rows.tif.ovr`, of that `rows.tif.ovr.ovr`, and so on.
    """
    levels: list[Overview] = []
    name = staged.name
    for height, width in level_shapes((profile["height"], profile["width"])):
        name += ".ovr"
        transform = profile["transform"] * Affine.scale(2 ** (len(levels) + 1))
        smaller = {**profile, "height": height, "width": width, "transform": transform}
        levels.append(
            Overview(target=rasterio.open(staged.with_name(name), "w", **smaller), kind=kind, nodata=profile["nodata"])
        )
    for above, below in pairwise(levels):
        above.below = below
    try:
        yield tuple(levels)
    finally:
        for level in levels:
            level.target.close()
