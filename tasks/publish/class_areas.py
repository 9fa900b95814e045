"""The area on the ground that a product covers, as a whole and by class, also if pixel areas differ between rows."""

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


STRIP_ROWS = 512
"""Rows of a layer that are read at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Areas:
    """Areas in km2: of all valid pixels, and of each class by layer name and stored value."""

    total: float
    classes: Mapping[str, Mapping[int, float]]


def measure_areas(storage: Storage, plan: Plan, written: WrittenLayers, *, n_valid: int) -> Areas:
    """The areas of a product with ``n_valid`` valid pixels.

    On a projected grid they are pixel counts times the area of one pixel. On a geographic grid pixel areas differ
    between rows, so that the first layer and all class layers are read once.
    """
    with_classes = [layer for layer in written.layers if layer.spec.classes]
    grid = plan.raster.product_grid
    if not is_geographic(grid.crs):
        pixel_km2 = float(row_km2(grid, range(1))[0])
        return Areas(
            total=n_valid * pixel_km2,
            classes={
                layer.spec.name: {value: count * pixel_km2 for value, count in layer.facts.counts.items()}
                for layer in with_classes
            },
        )
    first = written.layers[0]
    n_first, first_km2 = 0, 0.0
    for values, pixel_km2s in _strips(storage, plan, first):
        valid_per_row = _valid_mask(values, first).sum(axis=1)
        n_first, first_km2 = n_first + int(valid_per_row.sum()), first_km2 + float(valid_per_row @ pixel_km2s)
    return Areas(
        total=n_valid * first_km2 / n_first if n_first else 0.0,
        classes={layer.spec.name: _km2_by_value(storage, plan, layer) for layer in with_classes},
    )


def block_km2(plan: Plan, entry: BlockEntry) -> float:
    """The area of a block's valid pixels in km2; on a geographic grid an estimate, with its rows' mean pixel area."""
    side, extent = plan.raster.product_block, plan.raster.product_grid.extent
    top, bottom = max(entry.row * side, extent.row_start), min((entry.row + 1) * side, extent.row_stop)
    return entry.valid_pixels * float(row_km2(plan.raster.product_grid, range(top, bottom)).mean())


def _km2_by_value(storage: Storage, plan: Plan, layer: WrittenLayer) -> dict[int, float]:
    km2 = dict.fromkeys(layer.facts.counts, 0.0)
    for values, pixel_km2s in _strips(storage, plan, layer):
        for value in km2:
            km2[value] += float((values == value).sum(axis=1) @ pixel_km2s)
    return km2


def _strips(storage: Storage, plan: Plan, layer: WrittenLayer) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Strips of a layer from top to bottom: values (rows, width) inside the grid's extent, km2 of a pixel (rows,)."""
    grid, extent = plan.raster.product_grid, plan.raster.product_grid.extent
    store = open_store(storage, **plan.raster.store_boxes, read_only=True)
    layer_rows = LayerRows(store=store, name=layer.spec.name, box=extent)
    for start in range(0, extent.shape[0], STRIP_ROWS):
        stop = min(start + STRIP_ROWS, extent.shape[0])
        yield layer_rows.rows(start, stop), row_km2(grid, range(extent.row_start + start, extent.row_start + stop))


def _valid_mask(values: np.ndarray, layer: WrittenLayer) -> np.ndarray:
    nodata = layer.spec.nodata
    valid: np.ndarray = ~np.isnan(values) if np.isnan(nodata) else values != nodata
    return valid
