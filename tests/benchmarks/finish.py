"""The end of a run: wall and CPU seconds from the last block's entry until the command returns, by part.

`python -m tests.benchmarks.finish FOLDER [--side 4096] [--large 16384] [--only NAME]` prints one JSON line per case:
the U-Net of `field.py` with one layer, with probabilities of two classes besides, with a layer of floats, and a cheap
model of one band over a large square. ``wall`` includes what other programs do on the machine, ``cpu`` does not.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

from tests.benchmarks.field import LEFT, PIXEL, TOP, build_field
from tests.support.graphs import echo
from tests.support.worlds import write_card

LAYERS = {
    "one": ["class"],
    "probabilities": ["class", "confidence", "probabilities"],
}

TIMED = """
import functools, importlib, json, sys, time
parts, marks = {}, {}
def timed(module, name):
    home = importlib.import_module(module)
    real = getattr(home, name)
    @functools.wraps(real)
    def call(*given, **named):
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            return real(*given, **named)
        finally:
            parts[name.lstrip("_")] = (time.perf_counter() - wall, time.process_time() - cpu)
            marks[name] = (time.perf_counter(), time.process_time())
    setattr(home, name, call)
PIPELINE, PUBLISH = "tilewright.flows.run.pipeline", "tilewright.tasks.publish.publish"
for module, names in {
    PIPELINE: ("do_missing_blocks", "_write_cogs", "_publish_product"),
    PUBLISH: ("_small_layers", "report_json", "_draw_layers", "_stage_files", "table_with", "check_published"),
}.items():
    for name in names:
        timed(module, name)
import atexit
def tell():
    blocks = marks["do_missing_blocks"]
    done = {"wall": time.perf_counter() - blocks[0], "cpu": time.process_time() - blocks[1]}
    answer = {"run": time.perf_counter() - BEGAN, **done, "parts": parts}
    open(sys.argv[1], "w").write(json.dumps(answer))
atexit.register(tell)
BEGAN = time.perf_counter()
from tilewright.flows.cli.__main__ import program
program(sys.argv[2:])
"""


def main() -> None:
    """Run every case and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--large", type=int, default=16384)
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    field = build_field(asked.folder / "field", side=asked.side)
    jobs = {name: with_layers(field.job, field.card, layers, name) for name, layers in LAYERS.items()}
    for name in ("floats", "large"):
        if asked.only in {"", name}:
            jobs[name] = cheap_job(asked.folder / name, side=asked.large if name == "large" else asked.side)
    for name, job in jobs.items():
        if asked.only in {"", name}:
            print(json.dumps({"benchmark": "finish", "case": name, **measured_end(job, asked.folder / "out")}))


def with_layers(job: Path, card: Path, layers: list[str], name: str) -> Path:
    """The job of the field with a card whose model gives these layers."""
    plain = json.loads(card.read_text())
    plain["properties"]["mlm:output"][0]["tw:layers"] = layers
    other = card.with_name(f"{name}.json")
    other.write_text(json.dumps(plain))
    path = job.with_name(f"{name}.yaml")
    path.write_text(json.dumps({**json.loads(job.read_text()), "model": str(other)}))
    return path


def cheap_job(folder: Path, *, side: int) -> Path:
    """A job whose model returns its one band, as floats, over a square of ``side`` pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    scene, path = folder / "red.tif", folder / "job.yaml"
    if not scene.exists():
        values = np.random.default_rng(3).integers(400, 3000, (side // 16, side // 16), dtype=np.uint16)
        profile = {"driver": "COG", "dtype": "uint16", "count": 1, "nodata": 0, "crs": "EPSG:32633"}
        at = Affine(PIXEL, 0, LEFT, 0, -PIXEL, TOP)
        with rasterio.open(scene, "w", height=side, width=side, transform=at, compress="DEFLATE", **profile) as target:
            for row in range(0, side, 512):
                strip = values[row // 16 : (row + 512) // 16].repeat(16, axis=0).repeat(16, axis=1)
                target.write(strip, 1, window=((row, row + strip.shape[0]), (0, side)))
    output = {"name": "y", "tw:layers": ["value"]}
    card = write_card(folder / "card", echo(), inputs=[{"name": "x", "bands": ["red"]}], outputs=[output])
    source = {
        "kind": "files",
        "collection": "optics",
        "defaults": {"scale": 0.0001, "offset": 0, "unit": "reflectance"},
        "files": [{"href": scene.name, "band": "red", "datetime": "2021-06-15"}],
    }
    job = {
        "name": "cheap",
        "area": [11.0, 46.0, 17.5, 49.5],
        "period": "2021-06-01/2021-06-30",
        "source": source,
        "model": str(card),
        "grid": {"crs": "EPSG:32633", "bounds": [LEFT, TOP - side * PIXEL, LEFT + side * PIXEL, TOP]},
    }
    path.write_text(json.dumps(job))
    return path


def measured_end(job: Path, output: Path) -> dict[str, object]:
    """The seconds of a run's end, by part as [wall, cpu], rounded."""
    shutil.rmtree(output, ignore_errors=True)
    told = output.with_suffix(".json")
    command = [sys.executable, "-c", TIMED, str(told), "run", str(job), "--output", str(output), "--json"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    answer = json.loads(told.read_text())
    parts = {name: [round(each, 2) for each in pair] for name, pair in answer.pop("parts").items()}
    seconds = json.loads((output / "report.json").read_text())["seconds"]
    busy = seconds["cogs"] + seconds["pyramid"]
    return {**{name: round(each, 2) for name, each in answer.items()}, "cogs_and_pyramid": round(busy, 2), **parts}


if __name__ == "__main__":
    main()
