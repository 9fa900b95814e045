"""The statistics of zones: small zones many at a time, each read whole, and large ones piece by piece."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import shapely
from shapely.geometry import box as rectangle

from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.progress import Advance
from tilewright.tasks.tables.geoparquet import hilbert_places
from tilewright.tasks.zones.cells import covered_cells
from tilewright.tasks.zones.layers import LayerPixels
from tilewright.tasks.zones.median import weighted_median
from tilewright.tasks.zones.totals import ClassTotals, ValueTotals, share_of, totals_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from shapely.geometry.base import BaseGeometry

    from tilewright.tasks.progress import Listener
    from tilewright.tasks.zones.cells import Cells
    from tilewright.tasks.zones.layers import ProductLayer, ProductLayers
    from tilewright.tasks.zones.totals import Totals

WHOLE = 2**19
"""Pixels of the box around a zone that is read whole; the cells of a larger one are never all in memory."""

PIECE = 512
"""Pixels per side of a piece of a larger one; pieces count from the CRS origin, whatever the product's extent."""

ZONES_AT_ONCE = 128


def measure_zones(product: ProductLayers, zones: np.ndarray, listener: Listener) -> tuple[np.ndarray, np.ndarray]:
    """The figures of zones in absolute pixels (`cells`), None or empty for a zone without a place.

    Returns ``observed`` (zone,), the share of each zone's pixels in which any of the layers has a value, NaN without a
    place; and (zone, figure) float64: those of each layer in turn (``Totals.figures``), NaN where it has no value.
    Every zone is an ``Advance``.

    Raises StorageError if storage refuses, ChangedStoreError if stored bytes are corrupt.
    """
    n_figures = sum(len(totals_of(layer).figures()) for layer in product.layers)
    observed, figures = np.full(len(zones), np.nan), np.full((len(zones), n_figures), np.nan)
    placed = np.flatnonzero(~(shapely.is_missing(zones) | shapely.is_empty(zones)))
    observed[placed] = 0.0
    small, large = _near_each_other(zones, placed, product.grid.extent)
    # Those without a pixel are known.
    listener(Advance(done=len(zones) - len(small) - len(large)))
    with LayerPixels(product) as pixels:
        measure = _Measure(product, pixels)
        groups = (small[start : start + ZONES_AT_ONCE] for start in range(0, len(small), ZONES_AT_ONCE))
        found = (pair for some in groups for pair in zip(some, measure.whole(zones[some]), strict=True))
        pieces = ((number, measure.pieces(zones[number])) for number in large)
        for number, (n_observed, totals) in chain(found, pieces):
            figures[number] = [figure for each in totals for figure in each.figures()]
            observed[number] = share_of(n_observed, float(shapely.area(zones[number])))
            listener(Advance())
    return observed, figures


_OneZone = tuple[float, "list[Totals]"]


class _Measure:
    """Zones of one product, whose pixels are kept between those near each other."""

    def __init__(self, product: ProductLayers, pixels: LayerPixels) -> None:
        self._product, self._pixels = product, pixels

    def whole(self, zones: Sequence[BaseGeometry]) -> list[_OneZone]:
        """The observed pixels and the totals of each of some zones."""
        found: list[_OneZone] = []

        def take(_number: int, cells: list[Cells], n_observed: float) -> None:
            found.append((n_observed, self._added([totals_of(each) for each in self._product.layers], cells)))

        layers, extent = self._product.layers, self._product.grid.extent
        covered_cells(zones, extent, layers, self._pixels, take=take, medians=True)
        return found

    def pieces(self, zone: BaseGeometry) -> _OneZone:
        """The same of a zone of any size."""
        totals, n_observed = [totals_of(each) for each in self._product.layers], 0.0
        boxes = list(_pieces(zone, self._product.grid.extent))
        for box in boxes:
            for cells, n_of_piece in self._cells(zone, box, self._product.layers):
                self._added(totals, cells)
                n_observed += n_of_piece
        for layer, each in zip(self._product.layers, totals, strict=True):
            if isinstance(each, ValueTotals):
                each.median = self._median(zone, boxes, layer)
        return n_observed, totals

    def _median(self, zone: BaseGeometry, boxes: list[PixelBox], layer: ProductLayer) -> float | None:
        def cells() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for box in boxes:
                for (found,), _ in self._cells(zone, box, [layer]):
                    yield found.values, found.share

        return weighted_median(cells, layer.dtype)

    def _cells(
        self, zone: BaseGeometry, box: PixelBox, layers: Sequence[ProductLayer]
    ) -> list[tuple[list[Cells], float]]:
        found: list[tuple[list[Cells], float]] = []

        def take(_number: int, cells: list[Cells], n_observed: float) -> None:
            found.append((cells, n_observed))

        covered_cells([zone], box, layers, self._pixels, take=take, medians=False)
        return found

    def _added(self, totals: list[Totals], cells: list[Cells]) -> list[Totals]:
        for layer, each, some in zip(self._product.layers, totals, cells, strict=True):
            if isinstance(each, ClassTotals):
                each.add(some, layer, self._product.grid)
            else:
                each.add(some)
        return totals


def _boxes(zones: np.ndarray, extent: PixelBox) -> np.ndarray:
    """(row_start, row_stop, col_start, col_stop) of the pixels of the extent around each zone, int64."""
    west, south, east, north = shapely.bounds(zones).T
    rows, cols = (extent.row_start, extent.row_stop), (extent.col_start, extent.col_stop)
    edges = (
        (np.clip(np.floor(-north), *rows), np.clip(np.ceil(-south), *rows)),
        (
            np.clip(np.floor(west), *cols),
            np.clip(np.ceil(east), *cols),
        ),
    )
    return np.stack([edge for pair in edges for edge in pair], axis=1).astype(np.int64)


def _near_each_other(zones: np.ndarray, placed: np.ndarray, extent: PixelBox) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of zones that touch the extent, those to be read whole and larger ones, neighbours together."""
    boxes = _boxes(zones[placed], extent).reshape(-1, 4)
    height, width = boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 2]
    touching = (height > 0) & (width > 0)
    tops, lefts = (boxes[:, 0] + boxes[:, 1]) // 2, (boxes[:, 2] + boxes[:, 3]) // 2
    middle = (extent.row_start + extent.row_stop) // 2, (extent.col_start + extent.col_stop) // 2
    order = np.argsort(hilbert_places(lefts - middle[1], tops - middle[0]), kind="stable")
    order = order[touching[order]]
    is_small = (height * width <= WHOLE)[order]
    return placed[order[is_small]], placed[order[~is_small]]


def _pieces(zone: BaseGeometry, extent: PixelBox) -> Iterator[PixelBox]:
    """The pieces of the extent that a zone touches, row by row."""
    top, bottom, left, right = (int(edge) for edge in _boxes(np.array([zone]), extent)[0])
    around = PixelBox(row_start=top, row_stop=bottom, col_start=left, col_stop=right)
    shapely.prepare(zone)
    for row in range(top // PIECE, -(-bottom // PIECE)):
        for col in range(left // PIECE, -(-right // PIECE)):
            box = PixelBox.at(row * PIECE, col * PIECE, shape=(PIECE, PIECE)).intersect(around)
            if zone.intersects(rectangle(box.col_start, -box.row_stop, box.col_stop, -box.row_start)):
                yield box
