"""A job over places against a plain loop: a window at a time with rasterio, and the model on it.

`python -m tests.benchmarks.places [--rows 10000] [--side 4096] [--window 64] [--days 3] [--workers 2]` prints one JSON
line: seconds per 10 000 rows of ours, with the table, report and Item, and of the loop, by the clock and of the CPU,
and their ratio (above 1 where ours is faster). The loop keeps its files open, runs the model on as many threads as ours
has workers, goes through the rows in the order of the file, and gives the same classes.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import geopandas
import numpy as np
import onnxruntime
import pyarrow.parquet as pq
import rasterio
import shapely
from rasterio.windows import Window

from tests.support.graphs import Draft
from tests.support.places_cards import FLOAT, places_job
from tests.support.worlds import COL, CRS, ROW, World, write_card
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions

SCALE = np.float32(0.0001)
BANDS = ("red", "nir")


def made_world(folder: Path, *, side: int, days: int) -> World:
    """A world of some days in two bands, in stored numbers as Sentinel-2 has them."""
    world, random = World(folder / "world"), np.random.default_rng(1)
    ground = random.integers(500, 4000, (side // 32, side // 32)).repeat(32, 0).repeat(32, 1)
    for day in range(days):
        for band in BANDS:
            values = (ground + random.integers(0, 400, (side, side))).astype(np.uint16)
            world.add(values, band, day=f"2023-06-{day + 1:02}", nodata=0, scale=0.0001, offset=0, unit="reflectance")
    return world


def made_card(folder: Path, *, window: int) -> Path:
    """A small network of three layers that gives two scores a window."""
    draft = Draft()
    first = draft.node("Relu", draft.conv("x", len(BANDS), 16, stride=2))
    second = draft.node("Relu", draft.conv(first, 16, 16, stride=2))
    flat = draft.node("Flatten", draft.node("GlobalAveragePool", second))
    weight = draft.random.normal(0, 1, (16, 2)).astype(np.float32)
    scores = draft.node("MatMul", flat, draft.constant(weight))
    shape = ["batch", len(BANDS), window, window]
    model = draft.model_many([("x", FLOAT, shape)], [(scores, "y", FLOAT, ["batch", 2])])
    return write_card(
        folder / "card",
        model,
        inputs=[{"name": "x", "bands": list(BANDS)}],
        outputs=[
            {"name": "y", "dims": ("batch", "class"), "classes": ["a", "b"], "tw:activation": "softmax",
             "tw:layers": ["class", "confidence"]},
        ],
        tile={"window": window, "step": None},
    )  # fmt: skip


def loop(world: World, card: Path, points: np.ndarray, *, window: int, threads: int) -> np.ndarray:
    """The classes of the points (n, 2) as a person would find them."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(card / "model.onnx"), options)
    opened = [[rasterio.open(entry["href"]) for entry in world.files if entry["band"] == band] for band in BANDS]
    found = np.zeros(len(points), dtype=np.int64)
    for number, (x, y) in enumerate(points):
        stacks = []
        for files in opened:
            row, col = files[0].index(x, y)
            cut = Window(col - window // 2, row - window // 2, window, window)
            days = np.stack([file.read(1, window=cut) for file in files]).astype(np.float32)
            days[days == 0] = np.nan
            stacks.append(np.nanmedian(days, axis=0) * SCALE)
        scores = session.run(None, {"x": np.stack(stacks)[np.newaxis]})[0]
        found[number] = scores[0].argmax()
    return found


def timed(work: object) -> tuple[object, float, float]:
    """What some work gives, its seconds by the clock and those of the CPU."""
    clock, cpu = time.perf_counter(), time.process_time()
    made = work()  # type: ignore[operator]
    return made, time.perf_counter() - clock, time.process_time() - cpu


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser()
    for name, default in (("rows", 10_000), ("side", 4096), ("window", 64), ("days", 3), ("workers", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ.setdefault("TILEWRIGHT_CACHE", str(folder / "cache"))
        world, card = made_world(folder, side=asked.side, days=asked.days), made_card(folder, window=asked.window)
        places = np.random.default_rng(2).uniform(asked.window, asked.side - asked.window, (asked.rows, 2))
        points = np.column_stack([(COL + places[:, 1]) * 10.0, -(ROW + places[:, 0]) * 10.0])
        geopandas.GeoDataFrame(geometry=shapely.points(points), crs=CRS).to_parquet(folder / "p.parquet")
        job = places_job(world, card, folder / "p.parquet", folder / "out")
        outcome, wall, cpu = timed(lambda: run_job(job, RunOptions(workers=asked.workers)))
        classes, loop_wall, loop_cpu = timed(
            lambda: loop(world, card, points, window=asked.window, threads=asked.workers)
        )
        ours = pq.read_table(folder / "out/places.parquet", columns=["class"])["class"].to_numpy()
        seconds = outcome.report["seconds"]  # type: ignore[attr-defined]
        share = asked.rows / 10_000
        print(json.dumps({
            "benchmark": "places", **vars(asked),
            "seconds_per_10k": round(wall / share, 2), "cpu_per_10k": round(cpu / share, 2),
            "loop_per_10k": round(loop_wall / share, 2), "loop_cpu_per_10k": round(loop_cpu / share, 2),
            "ratio": round(loop_wall / wall, 2), "ratio_cpu": round(loop_cpu / cpu, 2),
            "same": float(np.mean(ours == classes)),
            "stages": {key: round(value, 2) for key, value in seconds.items()},
            "read_factor": round(outcome.report["read_factor"], 3),  # type: ignore[attr-defined]
        }))  # fmt: skip


if __name__ == "__main__":
    main()
