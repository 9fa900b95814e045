"""The cells of layers that zones cover, each with the share covered, found by exactextract.

Zones are given in absolute pixels: x is a column, y the negative of a row, and a pixel has the size 1.

Source: D. Baston, exactextract, https://isciences.github.io/exactextract/.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from exactextract._exactextract import Feature
from exactextract.feature import FeatureSource
from exactextract.operation import Operation
from exactextract.processor import FeatureSequentialProcessor
from exactextract.raster import RasterSource
from exactextract.writer import Writer

from tilewright.tasks.grid.pixel_box import PixelBox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from shapely.geometry.base import BaseGeometry

    from tilewright.tasks.zones.layers import LayerPixels, ProductLayer

OBSERVED = "observed"

CELLS_AT_ONCE = 2**22
"""Cells that exactextract holds at most; no zone that is given to it here has so many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """The cells of one layer with a value that a zone covers: ``values`` and the ``share`` of each that is covered.

    ``rows`` and ``cols`` are absolute. ``median`` is theirs, weighted, None if it was not asked for or there are none.
    """

    values: np.ndarray
    share: np.ndarray
    rows: np.ndarray
    cols: np.ndarray
    median: float | None


def covered_cells(
    zones: Sequence[BaseGeometry],
    box: PixelBox,
    layers: Sequence[ProductLayer],
    pixels: LayerPixels,
    *,
    take: Callable[[int, list[Cells], float], None],
    medians: bool,
) -> None:
    """Find the cells inside a box that each zone covers.

    Each zone's are handed to ``take`` as soon as they are known: its number, the cells of each layer, and the number
    of pixels that any layer has a value in, by their shares. ``medians`` asks for those of layers of values.
    """
    sources = [_Source(f"layer {n}", box, _reader(pixels, layer), layer.nodata) for n, layer in enumerate(layers)]
    observed = _Source(OBSERVED, box, pixels.observed, 0)
    operations = [Operation("count", OBSERVED, observed)]
    for number, (layer, source) in enumerate(zip(layers, sources, strict=True)):
        wanted = ["values", "coverage", "cell_id", *(["median"] if medians and not layer.classes else [])]
        operations += [Operation(what, f"{what} {number}", source) for what in wanted]
    # The processor keeps none of what it is given alive.
    features, writer = _Zones(zones), _Taker(len(layers), box, take)
    processor = FeatureSequentialProcessor(features, writer, operations)
    processor.set_max_cells_in_memory(CELLS_AT_ONCE)
    processor.process()


def _reader(pixels: LayerPixels, layer: ProductLayer) -> Callable[[PixelBox], np.ndarray]:
    return lambda box: pixels.read(layer, box)


class _Source(RasterSource):
    """A raster of pixels of the size 1 in a box, read where it is asked for."""

    def __init__(self, name: str, box: PixelBox, read: Callable[[PixelBox], np.ndarray], nodata: float | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.set_name(name)
        self._box, self._read, self._nodata = box, read, nodata

    def res(self) -> tuple[float, float]:
        """The size of a pixel."""
        return 1.0, 1.0

    def extent(self) -> tuple[float, float, float, float]:
        """Its bounds (minx, miny, maxx, maxy)."""
        box = self._box
        return float(box.col_start), float(-box.row_stop), float(box.col_stop), float(-box.row_start)

    def nodata_value(self) -> float | None:
        """The value that is none."""
        return self._nodata

    def srs_wkt(self) -> None:
        """No CRS: zones are in the same pixels."""

    def read_window(self, x0: int, y0: int, nx: int, ny: int) -> np.ndarray:
        """Its pixels (ny, nx) from column x0 and row y0 on."""
        box = PixelBox.at(self._box.row_start + y0, self._box.col_start + x0, shape=(ny, nx))
        if not box.empty:
            return self._read(box)
        return self._read(PixelBox.at(self._box.row_start, self._box.col_start, shape=(1, 1)))[:ny, :nx]


class _Zone(Feature):  # type: ignore[misc]
    def __init__(self, geometry: BaseGeometry) -> None:
        super().__init__()
        self._geometry = geometry

    def geometry(self) -> bytes:
        """Its WKB."""
        wkb: bytes = shapely.to_wkb(self._geometry)
        return wkb

    def fields(self) -> list[str]:
        """No columns."""
        return []


class _Zones(FeatureSource):
    def __init__(self, zones: Sequence[BaseGeometry]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._zones = zones

    def count(self) -> int:
        """Their number."""
        return len(self._zones)

    def __iter__(self) -> Iterator[_Zone]:
        for zone in self._zones:
            yield _Zone(zone)

    def srs_wkt(self) -> None:
        """No CRS: they are in pixels."""


class _Found(Feature):  # type: ignore[misc]
    """What was found of one zone, by the names of operations."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, Any] = {}

    def set(self, name: str, value: Any) -> None:
        """Keep one finding."""
        self.found[name] = value

    def set_geometry_format(self) -> str:
        """The form in which it would take a geometry."""
        return "wkb"

    def set_geometry(self, _geometry: Any) -> None:
        """Its geometry is known."""

    def fields(self) -> list[str]:
        """No columns."""
        return []


class _Taker(Writer):
    """Hands each zone's cells on, so that those of one zone alone are in memory."""

    def __init__(self, n_layers: int, box: PixelBox, take: Callable[[int, list[Cells], float], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._n_layers, self._box, self._take, self._number = n_layers, box, take, 0

    def add_operation(self, operation: Any) -> None:
        """Nothing is prepared for an operation."""

    def write(self, feature: Any) -> None:
        """Take what was found of the next zone."""
        known = _Found()
        feature.copy_to(known)
        found = known.found
        cells = [self._cells(found, number) for number in range(self._n_layers)]
        self._take(self._number, cells, float(found.get(OBSERVED) or 0.0))
        self._number += 1

    def _cells(self, found: dict[str, Any], number: int) -> Cells:
        width = self._box.shape[1]
        places = np.asarray(found[f"cell_id {number}"], dtype=np.int64)
        return Cells(
            values=np.asarray(found[f"values {number}"]),
            share=np.asarray(found[f"coverage {number}"]),
            rows=self._box.row_start + places // width,
            cols=self._box.col_start + places % width,
            median=found.get(f"median {number}"),
        )
