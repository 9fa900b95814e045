"""The area on the ground that a product covers, as a whole and by class, also where pixel areas differ."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.tasks.grid.ground import is_uniform, mean_pixels_km2, pixel_km2
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.zarr.store import LayerRows, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.publish.written import WrittenLayer, WrittenLayers
    from tilewright.tasks.storage.ledger import BlockEntry
    from tilewright.tasks.storage.storage import Storage


STRIP_ROWS = 512
"""Rows of a layer that are read at a time."""

TILE_COLS = 2048
"""Columns of a strip whose pixel areas are in memory at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Areas:
    """Areas on the ground in km2: of all valid pixels, and of each class by layer name and stored value."""

    total: float
    classes: Mapping[str, Mapping[int, float]]


def measure_areas(storage: Storage, plan: Plan, written: WrittenLayers, entries: Sequence[BlockEntry]) -> Areas:
    """The areas of a product of these blocks.

    Where no two pixels of the grid differ by more than a thousandth, as in most UTM zones, they are the blocks' valid
    pixels times their blocks' mean pixel area, and classes are counted alike. On any other grid the first layer and
    all class layers are read once; without a layer blocks are counted there too.
    """
    n_valid = sum(entry.valid_pixels for entry in entries)
    with_classes = [layer for layer in written.layers if layer.spec.kind == "class"]
    if is_uniform(plan.raster.product_grid) or not written.layers:
        # Blocks end in any order: a plain sum of them would differ in its last digit from run to run.
        total = math.fsum(blocks_km2(plan, entries))
        mean = total / n_valid if n_valid else 0.0
        counts = {layer.spec.name: layer.facts.counts for layer in with_classes}
        return Areas(
            total=total,
            classes={name: {value: n * mean for value, n in of.items()} for name, of in counts.items()},
        )
    classes = {layer.spec.name: _km2_by_value(storage, plan, layer) for layer in with_classes}
    first = written.layers[0]
    n_first, first_km2 = first.facts.valid_pixels, 0.0
    if first.spec.name in classes:
        first_km2 = sum(km2 for value, km2 in classes[first.spec.name].items() if value != first.spec.nodata)
    else:
        for values, areas in _tiles(storage, plan, first):
            first_km2 += float(areas[_valid_mask(values, first)].sum())
    return Areas(total=n_valid * first_km2 / n_first if n_first else 0.0, classes=classes)


def block_km2(plan: Plan, entry: BlockEntry) -> float:
    """The area on the ground of a block's valid pixels in km2, with the block's mean pixel area."""
    return blocks_km2(plan, [entry])[0]


def blocks_km2(plan: Plan, entries: Sequence[BlockEntry]) -> list[float]:
    """``block_km2`` of each of many blocks."""
    side, grid = plan.raster.product_block, plan.raster.product_grid
    boxes = [
        PixelBox.at(entry.row * side, entry.col * side, shape=(side, side)).intersect(grid.extent) for entry in entries
    ]
    means = mean_pixels_km2(grid, boxes)
    return [entry.valid_pixels * mean for entry, mean in zip(entries, means, strict=True)]


def class_rows(layer: WrittenLayer, areas: Areas) -> list[dict[str, Any]]:
    """Each class of a layer with its pixels, its area and its percentage of what was mapped, as a report has it."""
    spec, km2 = layer.spec, areas.classes[layer.spec.name]
    mapped = sum(area for value, area in km2.items() if value != spec.nodata)
    return [
        {
            "value": entry.value,
            "name": entry.name,
            "color": entry.color,
            "pixels": layer.facts.counts.get(entry.value, 0),
            "area_km2": km2.get(entry.value, 0.0),
            "percent": 100.0 * km2.get(entry.value, 0.0) / mapped if mapped else 0.0,
        }
        for entry in spec.classes
    ]


def _km2_by_value(storage: Storage, plan: Plan, layer: WrittenLayer) -> dict[int, float]:
    """The area of every value of a layer of classes that occurs, nodata included."""
    km2 = np.zeros(max(layer.facts.counts, default=0) + 1)
    for values, areas in _tiles(storage, plan, layer):
        km2 += np.bincount(values.ravel(), weights=areas.ravel(), minlength=km2.size)
    return {value: float(km2[value]) for value in layer.facts.counts}


def _tiles(storage: Storage, plan: Plan, layer: WrittenLayer) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Tiles of a layer inside the grid's extent: values, km2 of each pixel, (y, x) both."""
    grid, extent = plan.raster.product_grid, plan.raster.product_grid.extent
    store = open_store(storage, **plan.raster.store_boxes, read_only=True)
    layer_rows = LayerRows(store=store, name=layer.spec.name, box=extent)
    height, width = extent.shape
    for top in range(0, height, STRIP_ROWS):
        strip = layer_rows.rows(top, min(top + STRIP_ROWS, height))
        for left in range(0, width, TILE_COLS):
            values = strip[:, left : left + TILE_COLS]
            box = PixelBox.at(extent.row_start + top, extent.col_start + left, shape=values.shape)
            yield values, np.broadcast_to(pixel_km2(grid, box), values.shape)


def _valid_mask(values: np.ndarray, layer: WrittenLayer) -> np.ndarray:
    nodata = layer.spec.nodata
    valid: np.ndarray = ~np.isnan(values) if np.isnan(nodata) else values != nodata
    return valid
