"""What a block costs beside its pixels: threads alone, a Dask cluster of two processes, and that inside a Prefect flow.

`python -m tests.benchmarks.overhead FOLDER` prints one JSON line. Each way maps 64 and then 256 tiny blocks; the slope
between the two leaves out what a run costs once (imports, the cluster, Prefect's server). Blocks this small are Python
through and through, so that two processes can beat two threads: a negative figure is then what they gain. The cluster's
own cost for a block without any work is told by tests/flows/runners/test_cluster.py. Takes about two minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

from tests.benchmarks.field import LEFT, PIXEL, TOP, build_field, measured

BLOCK = 64
SIDES = (512, 1024)
WAYS = {"threads": [], "dask": ["--runner", "dask"], "prefect_dask": ["--runner", "dask", "--prefect"]}


def main() -> None:
    """Run every way at both sizes and print milliseconds per block over threads."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    field = build_field(folder, side=max(SIDES))
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    os.environ.setdefault("PREFECT_HOME", str(folder / "prefect"))
    seconds = {
        way: [timed(field.job, folder / "out", side, options) for side in SIDES] for way, options in WAYS.items()
    }
    few, many = ((side // BLOCK) ** 2 for side in SIDES)
    slopes = {way: 1000 * (long - short) / (many - few) for way, (short, long) in seconds.items()}
    answer = {
        "benchmark": "overhead",
        "seconds": {way: [round(each, 2) for each in both] for way, both in seconds.items()},
        "ms_per_block": {way: round(slope, 2) for way, slope in slopes.items()},
        "ms_over_threads": {way: round(slopes[way] - slopes["threads"], 2) for way in ("dask", "prefect_dask")},
        "ms_of_prefect": round(slopes["prefect_dask"] - slopes["dask"], 2),
    }
    print(json.dumps(answer))


def timed(job: Path, output: Path, side: int, options: list[str]) -> float:
    """Wall seconds of one run over a square of so many pixels a side."""
    shutil.rmtree(output, ignore_errors=True)
    bounds = [LEFT, TOP - side * PIXEL, LEFT + side * PIXEL, TOP]
    command = [
        sys.executable,
        "-m",
        "tilewright.flows.cli",
        "run",
        str(job),
        "--output",
        str(output),
        "--workers",
        "2",
        *options,
    ]
    settings = {"model": "ndwi-water", "tile.block": BLOCK, "tile.step": BLOCK, "grid.bounds": json.dumps(bounds)}
    return measured([*command, *(word for key, value in settings.items() for word in ("--set", f"{key}={value}"))])[
        "wall"
    ]


if __name__ == "__main__":
    main()
