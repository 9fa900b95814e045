"""What a product covers in km2, as a whole and by class, where pixels differ in size by row too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tilewright.tasks.grid.areas import row_km2
from tilewright.tasks.grid.crs import is_geographic
from tilewright.tasks.zarr.store import LayerRows, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.publish.layers import WrittenLayer, WrittenLayers
    from tilewright.tasks.storage.ledger import BlockEntry
    from tilewright.tasks.storage.storage import Storage


ROWS_AT_ONCE = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Areas:
    """km2 of all valid pixels, and of each class by layer and value."""

    total: float
    classes: Mapping[str, Mapping[int, float]]


def measure_areas(storage: Storage, plan: Plan, finished: WrittenLayers, *, n_valid: int) -> Areas:
    """The areas of a finished product with ``n_valid`` valid pixels; in degrees its layers are read for it once."""
    classes = [layer for layer in finished.layers if layer.spec.classes]
    if not is_geographic(plan.raster.product_grid.crs):
        pixel = float(row_km2(plan.raster.product_grid, range(1))[0])
        known = {layer.spec.name: {v: n * pixel for v, n in layer.facts.counts.items()} for layer in classes}
        return Areas(total=n_valid * pixel, classes=known)
    first = finished.layers[0]
    n_first, first_km2 = 0, 0.0
    for values, pixel_km2 in _rows(storage, plan, first):
        valid = _valid(values, first).sum(axis=1)
        n_first, first_km2 = n_first + int(valid.sum()), first_km2 + float(valid @ pixel_km2)
    return Areas(
        total=n_valid * first_km2 / n_first if n_first else 0.0,
        classes={layer.spec.name: _by_value(storage, plan, layer) for layer in classes},
    )


def block_km2(plan: Plan, entry: BlockEntry) -> float:
    """About what a block has mapped: in degrees its valid pixels are taken as of its rows' mean size."""
    side, area = plan.raster.product_block, plan.raster.product_grid.extent
    top, bottom = max(entry.row * side, area.row_start), min((entry.row + 1) * side, area.row_stop)
    return entry.valid_pixels * float(row_km2(plan.raster.product_grid, range(top, bottom)).mean())


def _by_value(storage: Storage, plan: Plan, layer: WrittenLayer) -> dict[int, float]:
    total = dict.fromkeys(layer.facts.counts, 0.0)
    for values, pixel_km2 in _rows(storage, plan, layer):
        for value in total:
            total[value] += float((values == value).sum(axis=1) @ pixel_km2)
    return total


def _rows(storage: Storage, plan: Plan, layer: WrittenLayer) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(values (rows, width), km2 of a pixel (rows,)) of a layer inside the grid's area, from top to bottom."""
    grid, area = plan.raster.product_grid, plan.raster.product_grid.extent
    store = open_store(storage, box=plan.raster.product_box, block=plan.raster.product_block, read_only=True)
    strips = LayerRows(store=store, name=layer.spec.name, box=area)
    for start in range(0, area.shape[0], ROWS_AT_ONCE):
        stop = min(start + ROWS_AT_ONCE, area.shape[0])
        yield strips.rows(start, stop), row_km2(grid, range(area.row_start + start, area.row_start + stop))


def _valid(values: np.ndarray, layer: WrittenLayer) -> np.ndarray:
    nodata = layer.spec.nodata
    valid: np.ndarray = ~np.isnan(values) if np.isnan(nodata) else values != nodata
    return valid
