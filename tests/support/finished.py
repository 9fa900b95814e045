"""Finished products of any map: a real one is copied, and layers of classes, grid and report take the place of its."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from tilewright.tasks.zarr.pyramid import SMALLEST_LEVEL

CLASSES = ({"value": 0, "name": "land", "color": "D9D4C7"}, {"value": 1, "name": "water", "color": "2E86DE"},
           {"value": 2, "name": "forest", "color": "117733"})  # fmt: skip


def finished(
    template: Path,
    folder: Path,
    values: np.ndarray,
    *,
    corner: tuple[int, int] = (-540_000, 40_000),
    crs: str = "EPSG:32633",
    resolution: float = 10.0,
    classes: Any = CLASSES,
    layers: Any = ("class",),
    nodata: int = 255,
    chunk: int = 64,
    numbers: Mapping[str, np.ndarray] | None = None,
    units: Mapping[str, str] | None = None,
    **report: Any,
) -> Path:
    """A finished product whose layers hold `values` (y, x) uint8, its corner at an absolute pixel (row, col).

    A large one has a level of half the size. ``numbers`` are layers of values: floats have NaN for nodata, bytes 255.
    Arrays are stored in chunks of a side.
    """
    shutil.copytree(template, folder)
    height, width = values.shape
    group = zarr.open_group(folder / "data.zarr", mode="r+", use_consolidated=False)
    for name in layers:
        of_array = {"shape": values.shape, "chunks": (chunk, chunk), "dtype": "uint8", "fill_value": nodata}
        array: Any = group.create_array(name, overwrite=True, **of_array)
        array[:] = values
        if max(values.shape) > SMALLEST_LEVEL:
            smaller: Any = group.create_array(f"overviews/2/{name}", **{**of_array, "shape": values[::2, ::2].shape})
            smaller[:] = values[::2, ::2]
    for name, pixels in (numbers or {}).items():
        fill: Any = np.nan if pixels.dtype.kind == "f" else 255 if pixels.dtype == np.uint8 else -9999
        how: Any = {"shape": pixels.shape, "chunks": (chunk, chunk), "dtype": pixels.dtype, "fill_value": fill}
        stored: Any = group.create_array(name, overwrite=True, **how)
        stored[:] = pixels
    row, col = corner
    bounds = [col * resolution, -(row + height) * resolution, (col + width) * resolution, -row * resolution]
    plain = json.loads((folder / "report.json").read_text())
    plain["grid"] = {"crs": crs, "resolution": resolution, "shape": [height, width], "bounds": bounds}
    told = [{"name": name, "kind": "class", "classes": list(classes)} for name in layers]
    of_numbers = [{"name": name, "kind": "value", "unit": (units or {}).get(name, "")} for name in numbers or ()]
    # Its array is of another shape: a layer that cannot be compared.
    plain["layers"] = [*told, *(of_numbers if numbers is not None else [{"name": "confidence", "kind": "percent"}])]
    (folder / "report.json").write_text(json.dumps({**plain, **report}))
    item = json.loads((folder / "item.json").read_text())
    for asset in item["assets"].values():
        # Sizes are those of the files that were copied.
        asset.pop("file:size", None)
    (folder / "item.json").write_text(json.dumps(item))
    return folder


def with_confidence(folder: Path, values: np.ndarray, *, percent: int | np.ndarray = 80) -> Path:
    """The product with a confidence, in percent, wherever it has a value."""
    group = zarr.open_group(folder / "data.zarr", mode="r+", use_consolidated=False)
    of_array = {"shape": values.shape, "chunks": (64, 64), "dtype": "uint8", "fill_value": 255}
    array: Any = group.create_array("confidence", overwrite=True, **of_array)
    array[:] = np.where(values == 255, 255, percent)
    return folder


def some_map(seed: int, shape: tuple[int, int] = (150, 210), *, unseen: float = 0.1) -> np.ndarray:
    """Patches of three classes, with holes of nodata."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 3, (-(-shape[0] // 5), -(-shape[1] // 5))).astype(np.uint8)
    values = small.repeat(5, axis=0).repeat(5, axis=1)[: shape[0], : shape[1]].copy()
    speckled = random.random(shape) < 0.05
    values[speckled] = random.integers(0, 3, int(speckled.sum()))
    values[random.random(shape) < unseen] = 255
    return values
