"""What more workers than cores cost: CPU seconds of the same job with 1, 2, 4 and 8 workers.

`python -m tests.benchmarks.oversubscription FOLDER [--side 1024]` prints one JSON line; the ratio is the most CPU any
number of workers took to that of one worker: CPU seconds, so that a busy machine disturbs little; start-up counts in
all of them. With the default side it takes about a minute on two cores; what there is no time for is left out.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from tests.benchmarks.field import build_field, measured, stopwatch


def main() -> None:
    """Run the job once per number of workers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--limit", type=float, default=80.0, help="Seconds after which no other run is begun.")
    asked = parser.parse_args()
    field = build_field(asked.folder, side=asked.side)
    output = asked.folder / "workers"
    figures = {}
    clock = stopwatch()
    # The extremes first: what is left out where time is short lies between them.
    for n_workers in (1, 8, 2, 4):
        if figures and clock() > asked.limit:
            break
        shutil.rmtree(output, ignore_errors=True)
        figures[n_workers] = measured(
            [
                sys.executable, "-m", "tilewright.flows.cli", "run", str(field.job),
                "--output", str(output), "--workers", str(n_workers), "--json",
            ]
        )  # fmt: skip
    figures = dict(sorted(figures.items()))
    cpu = {n_workers: round(value["cpu"], 2) for n_workers, value in figures.items()}
    wall = {n_workers: round(value["wall"], 2) for n_workers, value in figures.items()}
    ratio = round(max(cpu.values()) / cpu[1], 3)
    print(json.dumps({"benchmark": "oversubscription", "cpu_seconds": cpu, "seconds": wall, "ratio": ratio}))


if __name__ == "__main__":
    main()
