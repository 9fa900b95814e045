"""What is known of a zone in one layer, gathered of some of its cells at a time, in any cut alike but for rounding."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tilewright.tasks.grid.ground import pixel_km2
from tilewright.tasks.grid.pixel_box import PixelBox

if TYPE_CHECKING:
    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.zones.cells import Cells
    from tilewright.tasks.zones.layers import ProductLayer

VALUE_STATISTICS = ("mean", "std", "min", "max", "median", "sum")
"""Of a layer of values, in the order of their columns."""


ROUNDING = 1e-9
"""How far a share of all may be from 1: shares of many pixels are added up."""


def share_of(part: float, whole: float) -> float:
    """The share of a part, 1 where it is the whole but for rounding."""
    share = part / whole
    return 1.0 if share > 1 - ROUNDING else share


@dataclass(slots=True, kw_only=True)
class ClassTotals:
    """Of a layer of classes: pixels by shares in all and of each class, and square metres of each class."""

    pixels: float = 0.0
    of_class: np.ndarray
    square_metres: np.ndarray

    def add(self, cells: Cells, layer: ProductLayer, grid: Grid) -> None:
        """Add cells of the layer."""
        if not cells.share.size:
            return
        places = {value: place for place, (value, _) in enumerate(layer.classes)}
        table = np.full(max(places, default=0) + 2, len(places))
        table[list(places)] = list(places.values())
        last = len(table) - 1
        place = table[np.where((cells.values < 0) | (cells.values > last), last, cells.values).astype(np.int64)]
        ground = cells.share * _square_metres(cells, grid)
        n = len(places) + 1
        self.pixels += float(cells.share.sum())
        self.of_class += np.bincount(place, weights=cells.share, minlength=n)[:-1]
        self.square_metres += np.bincount(place, weights=ground, minlength=n)[:-1]

    def figures(self) -> list[float]:
        """The share and the square metres of each class, NaN where nothing was observed."""
        if not self.pixels > 0:
            return [math.nan] * (2 * len(self.of_class))
        shares = [share_of(float(pixels), self.pixels) for pixels in self.of_class]
        pairs = zip(shares, self.square_metres, strict=True)
        return [float(figure) for pair in pairs for figure in pair]


@dataclass(slots=True, kw_only=True)
class ValueTotals:
    """Of a layer of values: pixels by shares, their mean, the sum of their squared distances from it, and the ends.

    Source: T. F. Chan, G. H. Golub, R. J. LeVeque, Updating formulae and a pairwise algorithm for computing sample
    variances (1979).
    """

    pixels: float = 0.0
    mean: float = 0.0
    squares: float = 0.0
    least: float = math.inf
    most: float = -math.inf
    median: float | None = field(default=None)

    def add(self, cells: Cells) -> None:
        """Add cells; a median of its own is taken from them only if they are all of the zone's."""
        weight = float(cells.share.sum())
        if not weight > 0:
            return
        values = cells.values.astype(np.float64)
        mean = float((cells.share * values).sum()) / weight
        squares = float((cells.share * (values - mean) ** 2).sum())
        both, apart = self.pixels + weight, mean - self.mean
        self.squares += squares + apart**2 * self.pixels * weight / both
        self.mean += apart * weight / both
        self.pixels = both
        self.least, self.most = min(self.least, float(values.min())), max(self.most, float(values.max()))
        self.median = cells.median

    def figures(self) -> list[float]:
        """In the order of VALUE_STATISTICS; NaN where nothing was observed. The deviation is the population's."""
        if not self.pixels > 0:
            return [math.nan] * len(VALUE_STATISTICS)
        median = math.nan if self.median is None else float(self.median)
        deviation = math.sqrt(max(0.0, self.squares / self.pixels))
        return [self.mean, deviation, self.least, self.most, median, self.mean * self.pixels]


Totals = ClassTotals | ValueTotals


def totals_of(layer: ProductLayer) -> Totals:
    """The totals of a layer before any cell."""
    if not layer.classes:
        return ValueTotals()
    n = len(layer.classes)
    return ClassTotals(of_class=np.zeros(n), square_metres=np.zeros(n))


def _square_metres(cells: Cells, grid: Grid) -> np.ndarray:
    """The area on the ground of each whole cell."""
    top, left = int(cells.rows.min()), int(cells.cols.min())
    shape = int(cells.rows.max()) - top + 1, int(cells.cols.max()) - left + 1
    areas = np.broadcast_to(pixel_km2(grid, PixelBox.at(top, left, shape=shape)), shape)
    found: np.ndarray = areas[cells.rows - top, cells.cols - left] * 1e6
    return found
