"""The overviews of a file that may be read in place of its full pixels: those that give the same."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tilewright.tasks.read.resample.paste import align
from tilewright.tasks.read.resample.pixels import held_marker
from tilewright.tasks.read.resample.source_window import SMOOTH

if TYPE_CHECKING:
    from affine import Affine

    from tilewright.catalogs.scene import BandAsset
    from tilewright.tasks.read.header import FileHeader


OVERVIEW_SLACK = 1.05
"""Pixel size of an overview over that of the grid up to which it is read, since warped pixels vary in size."""

SMOOTH_WORDS = frozenset({"AVERAGE", "BILINEAR", "CUBIC", "CUBICSPLINE", "LANCZOS"})
"""GDAL's rules by which an overview may be made for `SMOOTH`: GAUSS and NEAREST lie up to 0.9 of its pixels off."""

OVERVIEW_OFFSET = 0.1
"""Pixels of the grid by which an overview may lie beside its place."""


def overview_fits(
    base: FileHeader, overview: FileHeader, asset: BandAsset, *, resampling: str, ratio: float, grid: Affine | None
) -> bool:
    """True if resampling an overview by this rule gives what resampling the full pixels gives, as far as it can.

    `ratio` is the side of a grid pixel over that of a file pixel; `grid` the grid's transform, None in another CRS.
    """
    rows, cols = base.shape[0] / overview.shape[0], base.shape[1] / overview.shape[1]
    if asset.unit == "class" or max(rows, cols) > ratio * OVERVIEW_SLACK or not _same_missing(base, overview, asset):
        return False
    if _offset(base, overview) > OVERVIEW_OFFSET * ratio:
        return False
    signs, rule = base.signs(asset), overview.rule or base.rule
    marked = bool(signs.markers or signs.mask or signs.alpha or base.nodata[asset.index - 1] is not None)
    if resampling in SMOOTH:
        # Only averages leave missing pixels out without taking their neighbours along; without a word they are likely.
        return rule in ({"", "AVERAGE"} if marked else {"", *SMOOTH_WORDS})
    if resampling != "average" or rule != "AVERAGE" or marked or grid is None or rows != cols or rows % 1:
        # GDAL makes an overview from the one before it: a mean of means, which is none where some are missing.
        return False
    alignment = align(overview.transform, grid)
    return alignment is not None and alignment.grow == 1


def _offset(base: FileHeader, overview: FileHeader) -> float:
    """Pixels of the file by which an overview may lie beside the place that GDAL gives it, at the far side of the file.

    GDAL stretches an overview over the file's extent when it reads one, and when it makes one: files that it arranged,
    and overviews with a word on their rule, are its own. Others make pixels of a whole number of the file's, the last
    of which hangs over the edge or falls short of it. Wavelets are centred on every second pixel, not between two.
    """
    if base.wavelets and not overview.rule:
        return math.inf
    if base.laid_out or overview.rule or base.rule:
        return 0.0
    return max(_overhang(size, n) for size, n in zip(base.shape, overview.shape, strict=True))


def _overhang(size: int, n: int) -> int:
    """The most pixels by which `n` overview pixels may end beyond or before `size` pixels, for all likely factors."""
    least = max(size // n, 1)
    factors = {least, least + 1, *(2**power for power in (least.bit_length() - 1, least.bit_length()))}
    likely = [factor for factor in factors if n in {size // factor, -(-size // factor)}]
    return max((abs(n * factor - size) for factor in likely), default=0)


def _same_missing(base: FileHeader, overview: FileHeader, asset: BandAsset) -> bool:
    """True if the overview was made with the signs that are in force: GDAL takes one kind of them alone."""
    index, signs = asset.index, base.signs(asset)
    if base.masked[index - 1]:
        return signs.mask and not signs.markers and signs.alpha is None and overview.masked[index - 1]
    if base.nodata[index - 1] is not None:
        marker = held_marker(base.nodata[index - 1], signs.dtype)
        not_a_number = signs.dtype.kind == "f" and marker is None
        same = signs.markers == (marker,) or (not_a_number and not signs.markers)
        return not base.beside and signs.alpha is None and same
    return not signs.markers and signs.alpha == (base.alpha if base.alpha != index else None)
