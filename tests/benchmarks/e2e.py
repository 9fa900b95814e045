"""End to end against the floor and the naive way, in one run: scenes on disk to a published product.

`python -m tests.benchmarks.e2e FOLDER [--side 4096]` prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import rasterio

from tests.benchmarks.field import build_field, flops_per_pixel, measured


def main() -> None:
    """Run both ways, alternating, and print the better of each with their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--skip-naive", action="store_true")
    asked = parser.parse_args()
    field = build_field(asked.folder, side=asked.side)
    output = asked.folder / "product"
    ours, naive, reports = [], [], []
    for _ in range(asked.rounds):
        shutil.rmtree(output, ignore_errors=True)
        command = [
            sys.executable,
            "-m",
            "tilewright.flows.cli",
            "run",
            str(field.job),
            "--output",
            str(output),
            "--json",
        ]
        ours.append(measured(command))
        reports.append(json.loads((output / "report.json").read_text()))
        if not asked.skip_naive:
            side = ["--side", str(asked.side)]
            naive.append(measured([sys.executable, "-m", "tests.benchmarks.naive", str(asked.folder), *side]))
    best = min(range(asked.rounds), key=lambda place: ours[place]["wall"])
    report = reports[best]
    answer = {
        "benchmark": "e2e",
        "side": asked.side,
        "kflop_per_pixel": round(flops_per_pixel() / 1e3, 1),
        "seconds": round(ours[best]["wall"], 2),
        "cpu_seconds": round(ours[best]["cpu"], 2),
        "km2_per_s": round(report["area_km2"] / ours[best]["wall"], 2),
        "floor_seconds": round(report["floor_seconds"], 2),
        "efficiency": round(report["floor_seconds"] / ours[best]["wall"], 3),
        "passes": round(report["passes"], 3),
        "read_factor": round(report["read_factor"], 3),
        "peak_mb": round(ours[best]["peak_mb"]),
        "stages": {name: round(value, 2) for name, value in report["seconds"].items()},
        "trim": report["trim"],
        "window": report["window"],
    }
    if naive:
        other = min(naive, key=lambda figures: figures["wall"])
        answer |= {
            "naive_seconds": round(other["wall"], 2),
            "times_naive": round(other["wall"] / ours[best]["wall"], 2),
            "memory_of_naive": round(ours[best]["peak_mb"] / other["peak_mb"], 2),
            "class_agreement": agreement(output / "class.tif", asked.folder / "naive.tif"),
        }
    print(json.dumps(answer))


def agreement(one: Path, other: Path) -> float:
    """Share of inner pixels with the same class in both maps."""
    with rasterio.open(one) as first, rasterio.open(other) as second:
        inside = (slice(64, -64), slice(64, -64))
        return round(float(np.mean(first.read(1)[inside] == second.read(1)[inside])), 5)


if __name__ == "__main__":
    main()
