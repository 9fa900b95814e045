"""The loop that most people write: windows on a pool of threads, each read, composited with numpy and predicted.

`python -m tests.benchmarks.rivals.plain FOLDER SIDE KIND`.
"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import rasterio
from affine import Affine
from rasterio.enums import Resampling
from rasterio.windows import Window

from tests.benchmarks.field import stopwatch
from tests.benchmarks.rivals.kinds import (
    COARSE,
    CRS,
    DROPPED,
    KINDS,
    LEFT,
    NODATA,
    PIXEL,
    RADAR,
    TOP,
    Ground,
    Kind,
    Sensor,
)

SIZE = 1024


def read(ground: Ground, date: str, band: str, *, row: int, col: int, size: int) -> np.ndarray:
    """A window (size, size) of 10 m pixels, 0 beyond the file."""
    with rasterio.open(ground.raster(date, band)) as source:
        factor = 2 if band in COARSE else 1
        window = Window(col / factor, row / factor, size / factor, size / factor)
        method = Resampling.nearest if band == "scl" else Resampling.bilinear
        return source.read(1, window=window, boundless=True, fill_value=0, out_shape=(size, size), resampling=method)


def composite(ground: Ground, sensor: Sensor, row: int, col: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(step, band, y, x) float32 as the model takes it, missing as 0, and (step, y, x) where it was seen."""
    steps = []
    for dates in sensor.steps:
        stack = np.stack(
            [[read(ground, date, band, row=row, col=col, size=size) for band in sensor.bands] for date in dates]
        )
        if sensor.collection == RADAR:
            with np.errstate(divide="ignore"):
                steps.append(10 * np.log10(stack.mean(axis=0)))
            continue
        seen = (stack != 0).all(axis=1, keepdims=True)
        if sensor.masked:
            classes = np.stack([read(ground, date, "scl", row=row, col=col, size=size) for date in dates])
            seen &= ~np.isin(classes, DROPPED)[:, None]
        values = np.where(seen, stack, np.float32(np.nan)) * np.float32(1e-4)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            steps.append(np.nanmedian(values, axis=0))
    scaled = (np.stack(steps) - np.float32(sensor.mean)) / np.float32(sensor.stddev)
    there = np.isfinite(scaled).all(axis=1)
    return np.where(np.isfinite(scaled), scaled, np.float32(0)).astype(np.float32), there


def predict(ground: Ground, kind: Kind, session: onnxruntime.InferenceSession, row: int, col: int) -> np.ndarray:
    """The classes (SIZE, SIZE) of a window, NODATA where nothing was seen."""
    halo = kind.halo
    given, mapped = {}, np.ones((SIZE, SIZE), bool)
    for sensor in kind.sensors:
        pixels, seen = composite(ground, sensor, row - halo, col - halo, SIZE + 2 * halo)
        channels = pixels.reshape(-1, *pixels.shape[2:])
        given[sensor.name] = channels[None] if halo else np.ascontiguousarray(channels.reshape(len(channels), -1).T)
        seen = seen[:, halo : halo + SIZE, halo : halo + SIZE]
        mapped &= seen.all(axis=0) if isinstance(kind.period, dict) else seen.any(axis=0)
    (scores,) = session.run(None, given)
    planes = scores[0, :, halo:-halo, halo:-halo] if halo else scores.T.reshape(-1, SIZE, SIZE)
    classes = planes.argmax(axis=0)
    return np.where(mapped, classes, NODATA).astype(np.uint8)


def run(ground: Ground, kind: Kind, output: Path) -> None:
    """All windows, then one tiled GeoTIFF with overviews."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(ground.card(kind) / "model.onnx", options)
    side = ground.side
    result = np.empty((side, side), np.uint8)

    def do(place: tuple[int, int]) -> None:
        row, col = place
        result[row : row + SIZE, col : col + SIZE] = predict(ground, kind, session, row, col)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(do, [(row, col) for row in range(0, side, SIZE) for col in range(0, side, SIZE)]))
    with rasterio.open(
        output, "w", driver="GTiff", height=side, width=side, count=1, dtype="uint8", nodata=NODATA, crs=CRS,
        transform=Affine(PIXEL, 0, LEFT, 0, -PIXEL, TOP), tiled=True, blockxsize=512, blockysize=512,
        compress="DEFLATE", num_threads="ALL_CPUS",
    ) as target:  # fmt: skip
        target.write(result, 1)
        target.build_overviews([2**level for level in range(1, 8) if side >> level >= 512], Resampling.mode)


def main() -> None:
    """Run it once and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("side", type=int)
    parser.add_argument("kind", choices=KINDS)
    asked = parser.parse_args()
    ground, kind = Ground(folder=asked.folder, side=asked.side), KINDS[asked.kind]
    clock = stopwatch()
    run(ground, kind, ground.map(kind, "plain"))
    print(json.dumps({"benchmark": "plain", "kind": kind.name, "seconds": round(clock(), 3)}))


if __name__ == "__main__":
    main()
