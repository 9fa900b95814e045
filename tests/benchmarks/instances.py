"""A field model's objects: a whole run of ours against a person's script on the whole image.

`python -m tests.benchmarks.instances [--side 4096] [--fields 20000] [--workers 2] [--rounds 3]` prints one JSON line
per way, each run in a process of its own: objects, seconds by the clock and of the CPU, and peak memory. `ours` is the
whole product with its layer of ids, table, pyramid, Item and report; `script` reads the image whole, runs the model
once, labels with SciPy, makes polygons with GDAL and writes both files with rasterio and geopandas. Their areas must be
the same.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import onnxruntime
import rasterio
import rasterio.features
import shapely
from scipy import ndimage

from tests.support.fields import FIELD, field_card, field_map, field_world
from tests.support.worlds import pixel_job
from tilewright.flows.machine import peak_memory
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions

PIECE = 1024


def made_map(side: int, n_fields: int) -> np.ndarray:
    """Fields of a square of PIECE pixels again and again: a tree over all pixels of a large map takes minutes."""
    times = -(-side // PIECE)
    piece = field_map(PIECE, max(1, round(n_fields / times**2)))
    return np.tile(piece, (times, times))[:side, :side]


def ours(folder: Path, card: Path, side: int, workers: int) -> np.ndarray:
    """The areas of the objects in the product's table."""
    world = field_world(folder / "again", np.zeros((1, 1), np.uint16))
    world.files = json.loads((folder / "files.json").read_text())
    job = pixel_job(world, card, folder / "out", rows=(0, side), cols=(0, side), tile={"step": 512})
    run_job(job, RunOptions(workers=workers))
    return np.asarray(geopandas.read_parquet(folder / "out/fields.parquet").area_m2)


def script(folder: Path, card: Path, side: int, workers: int) -> np.ndarray:
    """The areas of the objects by a script."""
    (entry,) = json.loads((folder / "files.json").read_text())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = workers
    session = onnxruntime.InferenceSession(str(card / "model.onnx"), options)
    with rasterio.open(entry["href"]) as file:
        image, profile = file.read(1).astype(np.float32) * np.float32(0.0001), file.profile
    scores = session.run(None, {"x": image[None, None]})[0][0]
    weights = np.exp(scores - scores.max(axis=0))
    is_field = weights[1] >= 0.5 * weights.sum(axis=0)
    labelled, _ = ndimage.label(is_field)
    found = rasterio.features.shapes(labelled.astype(np.int32), mask=labelled > 0, transform=profile["transform"])
    geometries, ids = zip(*((shapely.geometry.shape(plain), int(number)) for plain, number in found), strict=True)
    frame = geopandas.GeoDataFrame({"id": ids}, geometry=list(geometries), crs=profile["crs"])
    frame = frame.assign(area_m2=frame.area, perimeter_m=frame.length)
    frame.to_parquet(folder / "fields.parquet")
    profile |= {"dtype": "int32", "nodata": -1, "compress": "deflate", "tiled": True}
    with rasterio.open(folder / "fields.tif", "w", **profile) as file:
        file.write(labelled.astype(np.int32), 1)
    return np.asarray(frame.area_m2)


WAYS = {"ours": ours, "script": script}


def measure(way: str, folder: Path, card: Path, side: int, workers: int) -> dict[str, Any]:
    """One run in this process."""
    clock, cpu = time.perf_counter(), time.process_time()
    areas = np.sort(WAYS[way](folder, card, side, workers))
    return {
        "objects": len(areas), "area_m2": float(areas.sum()), "median_m2": float(np.median(areas)),
        "seconds": time.perf_counter() - clock, "cpu_seconds": time.process_time() - cpu,
        "peak_mb": peak_memory() / 1e6,
    }  # fmt: skip


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser()
    for name, default in (("side", 4096), ("fields", 20_000), ("workers", 2), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        way, folder, card = asked.one
        print(json.dumps(measure(way, Path(folder), Path(card), asked.side, asked.workers)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = {**os.environ, "TILEWRIGHT_CACHE": str(folder / "cache")}
        values = made_map(asked.side, asked.fields)
        world, card = field_world(folder / "world", values), field_card(folder / "card", tile={"step": 512})
        (folder / "files.json").write_text(json.dumps(world.files))
        wanted = int((values == FIELD).sum()) * 100
        del values
        rounds: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
        for number in range(asked.rounds):
            for way in WAYS:
                own = folder / f"{way}{number}"
                own.mkdir()
                (own / "files.json").write_text(json.dumps(world.files))
                words = ["--one", way, str(own), str(card), "--side", str(asked.side), "--workers", str(asked.workers)]
                done = subprocess.run(
                    [sys.executable, "-m", "tests.benchmarks.instances", *words], env=environment, check=True,
                    capture_output=True, text=True,
                )  # fmt: skip
                rounds[way].append(json.loads(done.stdout.splitlines()[-1]))
                assert rounds[way][-1]["area_m2"] == wanted, "every pixel of a field is in one object"
        for way, several in rounds.items():
            middle = {key: round(statistics.median(each[key] for each in several), 2) for key in several[0]}
            print(json.dumps({"benchmark": "instances", "way": way, "side": asked.side, **middle}))


if __name__ == "__main__":
    main()
