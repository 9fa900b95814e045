"""What a choice of passes saves: all dates, the clearest by statement, and the clearest of each cell by pixels.

`python -m tests.benchmarks.clearest FOLDER [--side 2048] [--dates 24] [--most 3 5]` prints one JSON line per way.
The ground is known: an NDVI of fields and slow slopes. Each date sees it through noise, clouds of its own that are told
by a scene classification of 20 m pixels, which takes their outermost 60 m for clear, and a haze around clouds that no
mask tells. `rmse` is against the ground, `unseen` the share of pixels without an observation.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import zarr
from onnx import TensorProto
from PIL import Image

from tests.support.graphs import Draft
from tests.support.scenes import write_raster
from tests.support.worlds import COL, CRS, ROW, World, layer, pixel_job, run, write_card
from tilewright.tasks.read.reader import close_files

PIXEL = 10.0
SPREAD_PX = 200
"""Pixels over which the clouds of a date are alike: 2 km."""

EDGE_PX = 6
"""Pixels of a cloud's edge that the classification takes for clear."""

HAZE_PX, HAZE = 40, 0.04
"""Reflectance that haze adds beside a cloud, and the pixels after which little of it is left."""

NOISE = 0.008
"""Standard deviation of a date's reflectance."""


def main() -> None:
    """Print the lines."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--dates", type=int, default=24)
    parser.add_argument("--most", type=int, nargs="+", default=[3, 5])
    wish = parser.parse_args()
    truth, world = make_world(wish.folder / "world", side=wish.side, n_dates=wish.dates)
    card = write_ndvi(wish.folder / "card")
    ways: list[tuple[str, Any]] = [("all dates", None)]
    for most in wish.most:
        ways += [
            (f"{most} by statement", most),
            (f"{most} by pixels", {"most": most, "by": "pixels"}),
            (f"{most} by pixels, holes left", {"most": most, "by": "pixels", "holes": "leave"}),
        ]
    # The first product of a process pays for its imports.
    measured(wish.folder / "out", world, card, truth, 1)
    for name, clearest in ways:
        print(json.dumps({"way": name, **measured(wish.folder / "out", world, card, truth, clearest)}), flush=True)


def measured(folder: Path, world: World, card: Path, truth: np.ndarray, clearest: Any) -> dict[str, Any]:
    """One product made, its cost and its error."""
    shutil.rmtree(folder, ignore_errors=True)
    side = len(truth)
    chosen = {} if clearest is None else {"filter": {"clearest": clearest}}
    job = pixel_job(world, card, folder, rows=(0, side), cols=(0, side), tile={"block": 1024}, **chosen)
    # What the way before it decoded is not to be had for nothing.
    close_files()
    began, cpu = time.perf_counter(), time.process_time()
    report = run(job, workers=2).report
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    found = layer(folder, "ndvi")
    counts = zarr.open_array(folder / "data.zarr" / "observations", mode="r")[:]
    seen = counts > 0
    error = found[seen] - truth[seen]
    look = report["clearest"][0]["look"] if "clearest" in report else {"bytes": 0, "seconds": 0.0}
    return {
        "mb_read": round((report["bytes_read"] + look["bytes"]) / 1e6, 1),
        "mb_of_the_look": round(look["bytes"] / 1e6, 2),
        "look_s": look["seconds"],
        "wall_s": round(seconds, 1),
        "cpu_s": round(cpu, 1),
        "rmse": round(float(np.sqrt(np.mean(error**2))), 4),
        "unseen": round(float(1 - seen.mean()), 5),
        "observations": round(float(counts.mean()), 2),
        "passes_per_cell": report["clearest"][0]["taken"] if "clearest" in report else None,
    }


def make_world(folder: Path, *, side: int, n_dates: int) -> tuple[np.ndarray, World]:
    """(the ground's NDVI, the scenes): red and nir in 10 m, a scene classification in 20 m, with overviews."""
    shutil.rmtree(folder, ignore_errors=True)
    random = np.random.default_rng(11)
    world = World(folder)
    fields = random.uniform(0.2, 0.8, (side // 64 + 1, side // 64 + 1)).repeat(64, axis=0).repeat(64, axis=1)
    ndvi = (0.7 * fields[:side, :side] + 0.3 * smooth(random, side, 400)).astype(np.float32)
    brightness = 0.25 + 0.1 * smooth(random, side, 300)
    bands = {"red": brightness * (1 - ndvi), "nir": brightness * (1 + ndvi)}
    for date in range(n_dates):
        cover = random.beta(1.3, 1.0)
        depth = smooth(random, side, SPREAD_PX) + smooth(random, side, 4 * SPREAD_PX)
        # The field is a small part of a scene, of which the statement is.
        here = min(max(cover + random.normal(0, 0.2), 0.02), 1.0)
        clouds = depth > np.quantile(depth, 1 - here)
        near = blurred(clouds, HAZE_PX)
        day = f"2023-06-{date + 1:02}"
        said = {"day": day, "cloud_cover": round(100 * float(cover), 1)}
        for band, ground in bands.items():
            hazy = ground + HAZE * near + random.normal(0, NOISE, ground.shape)
            values = np.where(clouds, 0.5 + 0.1 * near, hazy)
            stored = (values * 1e4).clip(1, 20_000).astype(np.uint16)
            add(world, stored, band, size=10.0, scale=1e-4, unit="reflectance", **said)
        told = blurred(clouds, EDGE_PX) > 0.98
        add(world, np.where(told, 9, 4).astype(np.uint8)[::2, ::2], "scl", size=20.0, unit="class", **said)
    return ndvi, world


def add(world: World, values: np.ndarray, band: str, *, size: float, day: str, **said: Any) -> None:
    """A band of a day as a tiled file with overviews."""
    path = world.folder / f"{day}-{band}.tif"
    write_raster(path, values, left=COL * PIXEL, top=-ROW * PIXEL, size=size, nodata=0, crs=CRS, block=512)
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4, 8, 16], rasterio.enums.Resampling.nearest)
    entry = {"href": str(path), "band": band, "datetime": f"{day}T10:00:00Z", "collection": "optics", **said}
    world.files.append(entry)


def smooth(random: np.random.Generator, side: int, spread: int) -> np.ndarray:
    """Random numbers from 0 to 1 that vary over so many pixels, (side, side)."""
    coarse = random.normal(0, 1, (side // spread + 4, side // spread + 4)).astype(np.float32)
    fine = random.normal(0, 0.25, (4 * side // spread + 4,) * 2).astype(np.float32)
    images = (Image.fromarray(each).resize((side, side), Image.Resampling.BICUBIC) for each in (coarse, fine))
    both = sum(np.asarray(image) for image in images)
    return np.asarray((both - both.min()) / (both.max() - both.min()))


def blurred(mask: np.ndarray, reach: int) -> np.ndarray:
    """The share of a mask's pixels around each pixel, (y, x) float32."""
    total = mask.astype(np.float32)
    for axis in (0, 1):
        padded = np.pad(total, [(reach + 1, reach) if each == axis else (0, 0) for each in (0, 1)], mode="edge")
        sums = np.cumsum(padded, axis=axis, dtype=np.float64)
        ahead, behind = np.split(sums, [2 * reach + 1], axis=axis)[1], np.split(sums, [-(2 * reach + 1)], axis=axis)[0]
        total = ((ahead - behind) / (2 * reach + 1)).astype(np.float32)
    return total


def write_ndvi(folder: Path) -> Path:
    """A card whose layer is the NDVI of the median of all dates."""
    draft = Draft()
    red, nir = (
        draft.node("Slice", "x", *(draft.constant(np.array([number])) for number in (band, band + 1, 1)))
        for band in (0, 1)
    )
    made = draft.node("Div", draft.node("Sub", nir, red), draft.node("Add", nir, red))
    model = draft.model_many(
        [("x", TensorProto.FLOAT, ["batch", 2, "h", "w"])], [(made, "y", TensorProto.FLOAT, ["batch", 1, "h", "w"])]
    )
    entry = {"name": "x", "bands": ("red", "nir"), "tw:dates": {"kind": "composite", "reducer": "median"}}
    return write_card(folder, model, inputs=[entry], outputs=[{"name": "y", "tw:layers": ["ndvi"]}], tile={"step": 512})


if __name__ == "__main__":
    main()
