"""Finished products of any grid and any pixels, without a run: what `tilewright zones` and readers of layers see."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr

ITEM = {
    "type": "Feature",
    "stac_version": "1.1.0",
    "id": "made",
    "properties": {"processing:expression": {}},
    "geometry": {"type": "Point", "coordinates": [0, 0]},
    "bbox": [0, 0, 0, 0],
    "links": [],
    "assets": {"data": {"href": "./data.zarr"}, "plan": {"href": "./.tilewright/plan.json"}},
}

Rows = Callable[[], Iterator[np.ndarray]]
"""The rows of a layer from the top, some at a time."""


def write_layers(
    folder: Path,
    layers: Mapping[str, np.ndarray | tuple[Any, tuple[int, int], Rows]],
    *,
    classes: Mapping[str, Sequence[str]] | None = None,
    crs: str = "EPSG:32633",
    resolution: float = 10.0,
    corner: tuple[float, float] = (400_000.0, 5_400_000.0),
    nodata: Mapping[str, Any] | None = None,
    block: int | None = None,
    chunk: int = 512,
) -> Path:
    """A product of layers (y, x), or of (dtype, shape, rows), whose upper left corner is (minx, maxy) in the CRS.

    Nodata is 255 of classes and of bytes, NaN of floats, -32768 of others. Class values count from 0.
    """
    group = zarr.open_group(folder / "data.zarr", mode="w", zarr_format=3)
    told = []
    for name, layer in layers.items():
        dtype, shape, rows = layer if isinstance(layer, tuple) else (layer.dtype, layer.shape, _at_once(layer))
        dtype = np.dtype(dtype)
        fill = (nodata or {}).get(name, np.nan if dtype.kind == "f" else 255 if dtype == np.uint8 else -32768)
        shard = block or (512 if max(shape) <= 2048 else 2048)
        array = group.create_array(
            name, shape=shape, dtype=dtype, chunks=(chunk, chunk), shards=(shard, shard), fill_value=fill
        )
        top = 0
        for some in rows():
            array[top : top + len(some)] = some
            top += len(some)
        names = (classes or {}).get(name, ())
        told.append({"name": name, "classes": [{"value": n, "name": each} for n, each in enumerate(names)]})
    (west, north), (height, width) = corner, shape
    bounds = [west, north - height * resolution, west + width * resolution, north]
    grid = {"crs": crs, "resolution": resolution, "bounds": bounds, "shape": list(shape)}
    (folder / "report.json").write_text(json.dumps({"grid": grid, "layers": told}))
    (folder / "item.json").write_text(json.dumps(ITEM))
    return folder


def _at_once(pixels: np.ndarray) -> Rows:
    return lambda: iter([pixels])
