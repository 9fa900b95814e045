"""What more workers than cores cost: CPU seconds of the same job with 1, 2, 4 and 8 workers.

`python -m tests.benchmarks.oversubscription FOLDER [--side 2048]` prints one JSON line; the ratio is the most CPU any
number of workers took to that of one worker.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from tests.benchmarks.field import build_field, measured


def main() -> None:
    """Run the job once per number of workers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--side", type=int, default=2048)
    asked = parser.parse_args()
    field = build_field(asked.folder, side=asked.side)
    output = asked.folder / "workers"
    figures = {}
    for n_workers in (1, 2, 4, 8):
        shutil.rmtree(output, ignore_errors=True)
        figures[n_workers] = measured(
            [
                sys.executable, "-m", "flows.cli", "run", str(field.job),
                "--output", str(output), "--workers", str(n_workers), "--json",
            ]
        )  # fmt: skip
    cpu = {n_workers: round(value["cpu"], 2) for n_workers, value in figures.items()}
    wall = {n_workers: round(value["wall"], 2) for n_workers, value in figures.items()}
    ratio = round(max(cpu.values()) / cpu[1], 3)
    print(json.dumps({"benchmark": "oversubscription", "cpu_seconds": cpu, "seconds": wall, "ratio": ratio}))


if __name__ == "__main__":
    main()
