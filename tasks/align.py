"""How the pixels of a file lie on a grid: edge on edge, so that reading is copying, or not."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import pyproj

if TYPE_CHECKING:
    from affine import Affine

TOLERANCE = 1e-6
"""Pixels by which an edge may miss and still count as lying on another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """Where a grid lies in a file whose pixel edges it shares.

    `row` and `col` are the grid's upper left corner counted from the file's, in the finer of both pixels. One of `grow`
    (grid pixels per file pixel along a side) and `shrink` (file pixels per grid pixel) is 1.
    """

    row: int
    col: int
    grow: int
    shrink: int

    @property
    def same_size(self) -> bool:
        """True if both have pixels of one size."""
        return self.grow == self.shrink == 1


def align(file: Affine, grid: Affine) -> Alignment | None:
    """The alignment of two transforms of one CRS, or None where their pixel edges do not coincide."""
    if file.b or file.d or grid.b or grid.d or file.a <= 0 or file.e >= 0 or grid.a <= 0 or grid.e >= 0:
        return None
    factor_x, factor_y = _whole_factor(file.a / grid.a), _whole_factor(file.e / grid.e)
    if factor_x is None or factor_x != factor_y:
        return None
    grow, shrink = factor_x
    fine_x, fine_y = (grid.a, grid.e) if grow > 1 else (file.a, file.e)
    col, row = (grid.c - file.c) / fine_x, (grid.f - file.f) / fine_y
    if abs(col - round(col)) > TOLERANCE or abs(row - round(row)) > TOLERANCE:
        return None
    return Alignment(row=round(row), col=round(col), grow=grow, shrink=shrink)


def _whole_factor(ratio: float) -> tuple[int, int] | None:
    """(grow, shrink) if the ratio of two pixel sizes is a whole number or one over it, as far as a granule is wide."""
    whole, inverse = round(ratio), round(1 / ratio)
    if whole >= 1 and abs(ratio - whole) <= TOLERANCE * whole:
        return whole, 1
    if inverse >= 1 and abs(1 / ratio - inverse) <= TOLERANCE * inverse:
        return 1, inverse
    return None


@lru_cache(maxsize=256)
def same_crs(one: str, other: str) -> bool:
    """True if two CRS texts (authority code or WKT) mean one CRS, in the x, y order rasters have."""
    if one == other:
        return True
    first, second = pyproj.CRS.from_user_input(one), pyproj.CRS.from_user_input(other)
    return bool(first.equals(second, ignore_axis_order=True))


@lru_cache(maxsize=256)
def transformer(source: str, target: str) -> pyproj.Transformer:
    """The transformation between two CRS texts, x before y."""
    return pyproj.Transformer.from_crs(source, target, always_xy=True)
