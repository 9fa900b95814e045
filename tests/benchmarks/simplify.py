"""Simplified outlines: ours against `shapely.coverage_simplify`, in time, memory, and whether they hang on the cut.

`python -m tests.benchmarks.simplify [--side 4096] [--sigma 3.8] [--tolerance 15]` prints a JSON line per way over the
layer of `tests.benchmarks.polygons`: points, CPU seconds and peak memory, each in a process of its own. `ours` is the
table simplified while it is made, `table` the same one without that, which `coverage` reads at once, simplifies and
writes; `simplify_seconds` is what simplifying takes of each. Then the layer is cut to its left three quarters: of the
shapes that lie `CLEAR` pixels away from the new edge, `changed_by_cut` have another outline than in the whole.
`coverage_simplify` leaves out points by the areas of triangles: with one tolerance it keeps more of them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import shapely

from tests.benchmarks.polygons import COL, SIZE, ours
from tilewright.flows.machine import peak_memory

CLEAR = 64
"""Pixels between a shape and the new edge, in which outlines may differ."""


def run(way: str, asked: argparse.Namespace, path: Path) -> dict[str, Any]:
    """One run in this process."""
    began, tolerance = time.process_time(), asked.tolerance
    ours(asked.side, asked.sigma, path, tolerance if way == "ours" else 0.0, width=asked.width)
    made = time.process_time() - began
    if way == "coverage":
        frame = geopandas.read_parquet(path)
        frame.geometry = shapely.coverage_simplify(frame.geometry.to_numpy(), tolerance)
        frame.to_parquet(path)
    taken, peak = time.process_time() - began, peak_memory() / 1e6
    shapes = geopandas.read_parquet(path, columns=["geometry"]).geometry.to_numpy()
    return {
        "rows": len(shapes),
        "points": int(shapely.get_num_coordinates(shapes).sum()),
        "cpu_seconds": taken,
        "after_the_table": taken - made,
        "peak_mb": peak,
        "invalid": int((~shapely.is_valid(shapes)).sum()),
    }


def changed(whole: Path, cut: Path, edge: float) -> dict[str, int]:
    """Shapes left of an edge in whole and cut, and how many of these have not the same outline in both."""
    sets = []
    for path in (whole, cut):
        frame = geopandas.read_parquet(path, columns=["value", "geometry"])
        frame = frame[frame.bounds.maxx.to_numpy() < edge]
        shapes = shapely.to_wkb(shapely.normalize(frame.geometry.to_numpy()))
        sets.append(set(zip(frame.value.tolist(), shapes, strict=True)))
    return {"far_from_cut": len(sets[0]), "changed_by_cut": len(sets[0] - sets[1])}


def main() -> None:
    """Race the ways and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--sigma", type=float, default=3.8)
    parser.add_argument("--tolerance", type=float, default=15.0)
    parser.add_argument("--ways", nargs="+", choices=["table", "ours", "coverage"])
    parser.add_argument("--one", type=Path, help="run the first way once, in this process, into this file")
    parser.add_argument("--width", type=int, default=0)
    asked = parser.parse_args()
    ways = asked.ways or ["table", "ours", "coverage"]
    if asked.one is not None:
        print(json.dumps(run(ways[0], asked, asked.one)))
        return
    narrow = asked.side * 3 // 4
    edge = (COL + narrow - CLEAR) * SIZE
    with tempfile.TemporaryDirectory() as folder:
        base = 0.0
        for way in ways:
            files = [Path(folder) / f"{way}_{width}.parquet" for width in (asked.side, narrow)]
            figures, _ = (
                _in_a_process(way, asked, width, path) for width, path in zip((asked.side, narrow), files, strict=True)
            )
            base = figures["cpu_seconds"] if way == "table" else base
            alone = figures.pop("after_the_table") if way == "coverage" else figures["cpu_seconds"] - base
            figures.pop("after_the_table", None)
            told = {"benchmark": "simplify", "way": way, "tolerance": asked.tolerance, **figures}
            print(json.dumps({**told, "simplify_seconds": round(alone, 2), **changed(*files, edge)}), flush=True)


def _in_a_process(way: str, asked: argparse.Namespace, width: int, path: Path) -> dict[str, Any]:
    command = [
        *(sys.executable, "-m", "tests.benchmarks.simplify", "--side", str(asked.side), "--sigma", str(asked.sigma)),
        *("--tolerance", str(asked.tolerance), "--ways", way, "--width", str(width), "--one", str(path)),
    ]
    made: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return {key: np.round(value, 2).item() for key, value in made.items()}


if __name__ == "__main__":
    main()
