"""The memory of a run as its area grows: squares of one constant scene, which costs no disk, and a cheap model.

`python -m tests.benchmarks.memory FOLDER [--sides 4096 16384 65536]` prints one JSON line per side: the peak of the
run's process, its seconds and its CPU seconds. 65 536 pixels a side take some minutes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

import rasterio
from affine import Affine

from tests.benchmarks.field import LEFT, PIXEL, TOP, measured

BANDS = ("green", "nir")


def build_square(folder: Path, *, side: int) -> Path:
    """The job over a square of so many pixels a side."""
    folder.mkdir(parents=True, exist_ok=True)
    for band in BANDS:
        # Blocks that nobody wrote take no room and read as zeros, which the offset makes a reflectance.
        profile = {"driver": "GTiff", "dtype": "uint16", "count": 1, "crs": "EPSG:32633", "tiled": True}
        rasterio.open(
            folder / f"{side}-{band}.tif", "w", height=side, width=side,
            transform=Affine(PIXEL, 0, LEFT, 0, -PIXEL, TOP), blockxsize=1024, blockysize=1024, sparse_ok=True,
            compress="DEFLATE", **profile,
        ).close()  # fmt: skip
    reach = side * PIXEL
    plain = {
        "name": f"square-{side}",
        "area": {"type": "Polygon", "crs": {"type": "name", "properties": {"name": "EPSG:32633"}}, "coordinates": [
            [[LEFT, TOP - reach], [LEFT + reach, TOP - reach], [LEFT + reach, TOP], [LEFT, TOP], [LEFT, TOP - reach]]
        ]},
        "period": "2021-06-01/2021-06-30",
        "source": {
            "kind": "files",
            "collection": "sentinel-2-l2a",
            "defaults": {"scale": 0.0001, "offset": 0.1, "unit": "reflectance", "baseline": "03.01"},
            "files": [{"href": f"{side}-{band}.tif", "band": band, "datetime": "2021-06-05"} for band in BANDS],
        },
        "model": "ndwi-water",
        "grid": {"crs": "EPSG:32633", "resolution": PIXEL},
    }  # fmt: skip
    job = folder / f"job-{side}.json"
    job.write_text(json.dumps(plain))
    return job


def main() -> None:
    """Run each side in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sides", type=int, nargs="+", default=[4096, 16384, 65536])
    asked = parser.parse_args()
    for side in asked.sides:
        job, output = build_square(asked.folder.resolve(), side=side), asked.folder.resolve() / "out"
        shutil.rmtree(output, ignore_errors=True)
        command = [sys.executable, "-m", "tilewright.flows.cli", "run", str(job), "--output", str(output)]
        figures = measured([*command, "--workers", "2"])
        answer = {"benchmark": "memory", "side": side, "peak_mb": round(figures["peak_mb"])}
        answer |= {"seconds": round(figures["wall"], 1), "cpu_seconds": round(figures["cpu"], 1)}
        print(json.dumps(answer), flush=True)
        shutil.rmtree(output, ignore_errors=True)


if __name__ == "__main__":
    main()
