"""How long a plain local run takes to its first pixel, and from there to the end, by stage.

`python -m tests.benchmarks.start FOLDER [--times 5] [--side 1024] [--set model=ndwi-water]` prints one JSON line: per
stage the least and the median of the seconds from the start of the process, on a warm disk, and the CPU seconds until
then. The first run, which fills the caches of the disk, is not counted.
"""

from __future__ import annotations

import argparse
import functools
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

STAGES = {
    "job": ("tilewright.flows.job.job", "read_job", "end"),
    "plan": ("tilewright.flows.plan.make", "plan_job", "end"),
    "first_pixel": ("tilewright.tasks.read.reader", "read_asset", "begin"),
    "first_call": ("tilewright.tasks.block.infer", "infer_block", "begin"),
    "blocks": ("tilewright.flows.run.missing_blocks", "do_missing_blocks", "end"),
    "published": ("tilewright.flows.run.predict", "run_job", "end"),
}
"""Stage: the function of it, and whether its first begin or its end counts."""


class Stamps(importlib.abc.MetaPathFinder):
    """Finds the modules of the stages as Python does, and notes in ``path`` when their functions are called."""

    def __init__(self, path: Path, began: float) -> None:
        self.path, self.began = path, began
        self.noted: dict[str, tuple[float, float]] = {}

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        """The module's own spec, with a loader that stamps its function."""
        stages = [stage for stage, (module, _, _) in STAGES.items() if module == name]
        found = importlib.machinery.PathFinder.find_spec(name, path, target) if stages else None
        if found is None or found.loader is None:
            return None
        execute = found.loader.exec_module

        def stamped(module: ModuleType) -> None:
            execute(module)
            for stage in stages:
                _, function, moment = STAGES[stage]
                setattr(module, function, self.stamp(stage, getattr(module, function), moment))

        found.loader.exec_module = stamped  # type: ignore[method-assign]
        return found

    def stamp(self, stage: str, function: Any, moment: str) -> Any:
        """The function, which notes its first begin or end."""

        @functools.wraps(function)
        def stamped(*args: Any, **named: Any) -> Any:
            if moment == "begin":
                self.note(stage)
            answer = function(*args, **named)
            if moment == "end":
                self.note(stage)
            return answer

        return stamped

    def note(self, stage: str) -> None:
        """Write down the seconds until now, by the wall and by the CPU, if the stage has none yet."""
        if stage not in self.noted:
            self.noted[stage] = (time.time() - self.began, time.process_time())
            self.path.write_text(json.dumps(self.noted))


def one(job: Path, output: Path, settings: Sequence[str]) -> dict[str, tuple[float, float]]:
    """The stages of one run in a process of its own: (wall seconds, CPU seconds) each."""
    shutil.rmtree(output, ignore_errors=True)
    stamps = output.with_suffix(".stamps.json")
    words = ["run", str(job), "--output", str(output), *(word for each in settings for word in ("--set", each))]
    program = "from tests.benchmarks.start import child; child()"
    # The parent of the folder with `tests` is where both this file and the package are found.
    root = str(Path(__file__).parents[2])
    told = {**os.environ, "PYTHONPATH": root}
    command = [sys.executable, "-c", program, str(stamps), repr(time.time()), *words]
    subprocess.run(command, check=True, env=told, capture_output=True)
    return {stage: (wall, cpu) for stage, (wall, cpu) in json.loads(stamps.read_text()).items()}


def child() -> None:
    """The command, with stamps."""
    stamps, began = Path(sys.argv[1]), float(sys.argv[2])
    sys.argv = ["tilewright", *sys.argv[3:]]
    sys.meta_path.insert(0, Stamps(stamps, began))
    from tilewright.flows.cli.__main__ import program

    program()


def main() -> None:
    """Measure the runs and print the line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--set", action="append", default=None, dest="settings")
    asked = parser.parse_args()
    # The child measures its own imports, and this one has many.
    from tests.benchmarks.field import build_field

    field = build_field(asked.folder.resolve(), side=asked.side)
    runs = [
        one(field.job, asked.folder.resolve() / "out", asked.settings or ["model=ndwi-water"])
        for _ in range(asked.times + 1)
    ][1:]
    figures = {
        stage: {
            "least": round(min(run[stage][0] for run in runs), 2),
            "median": round(statistics.median(run[stage][0] for run in runs), 2),
            "cpu": round(min(run[stage][1] for run in runs), 2),
        }
        for stage in STAGES
        if all(stage in run for run in runs)
    }
    print(json.dumps({"benchmark": "start", "seconds": figures}))


if __name__ == "__main__":
    main()
