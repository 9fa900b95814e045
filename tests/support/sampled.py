"""Layers of classes and confidence in a store of their own, as a product has them, for samples drawn from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zarr

from tilewright.tasks.audit.design.population import Population
from tilewright.tasks.audit.design.strata import class_strata
from tilewright.tasks.grid.grid import Grid
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.storage.storage import open_storage
from tilewright.tasks.zones.layers import ProductLayer, ProductLayers

CLASSES = ((0, "land"), (1, "water"), (2, "forest"))


def product_layers(
    folder: Path,
    values: np.ndarray,
    confidence: np.ndarray | None = None,
    *,
    corner: tuple[int, int] = (-540_000, 40_000),
    chunk: int = 64,
    crs: str = "EPSG:32633",
    resolution: float = 10.0,
) -> ProductLayers:
    """Layers (y, x) uint8 whose corner is at an absolute pixel (row, col), stored in chunks of a size."""
    grid = Grid(crs=crs, resolution=resolution, extent=PixelBox.at(*corner, shape=values.shape))
    layers = [_layer(folder, "class", values, chunk, CLASSES)]
    if confidence is not None:
        layers.append(_layer(folder, "confidence", confidence, chunk, ()))
    return ProductLayers(storage=open_storage(str(folder)), grid=grid, layers=tuple(layers))


def _layer(folder: Path, name: str, values: np.ndarray, chunk: int, classes: Any) -> ProductLayer:
    array = zarr.create_array(
        str(folder / "data.zarr" / name), shape=values.shape, chunks=(chunk, chunk), dtype="uint8", fill_value=255
    )
    array[:] = values
    return ProductLayer(name=name, classes=classes, array=array, nodata=255)


def by_class(product: ProductLayers) -> Population:
    """The population whose strata are the mapped classes."""
    confidence = product.layers[1] if len(product.layers) > 1 else None
    layer = product.layers[0]
    return Population(product=product, layer=layer, strata=class_strata(layer), confidence=confidence)
