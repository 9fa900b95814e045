"""A vision transformer of 86 M parameters over a map: seconds, memory promised and taken, seams.

`python -m tests.benchmarks.backbone FOLDER [--side 4096] [--workers 2] [--small]` makes the scenes and the model
(random weights, 346 MB in a file of their own), and prints JSON lines: `plan` with the memory and the seconds promised,
`run` of a whole product in a process of its own with CPU seconds, peak memory, exactness and the seams seen, and
`loop`: the model alone on as many windows, on as many threads. `shared` opens the model in two processes at once and
tells the memory that both share. `--small` takes a transformer of 0.2 M parameters.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import psutil

from tests.benchmarks.field import BANDS, build_field, measured
from tests.support.backbones import Transformer, class_output, write_backbone

TRIM = 16
SMALL = Transformer(width=64, depth=2, heads=4, bands=len(BANDS))
LARGE = Transformer(bands=len(BANDS))
LOOP_WINDOWS = 12


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "tilewright.flows.cli", *words]


def write_job(folder: Path, side: int, sizes: Transformer) -> Path:
    """The job of a map by the transformer."""
    field = build_field(folder / "field", side=side)
    card = write_backbone(folder / "card", sizes, bands=BANDS, trim=TRIM, outputs=(class_output(sizes),))
    plain = {**json.loads(field.job.read_text()), "model": str(card.resolve())}
    path = field.folder / "backbone.yaml"
    path.write_text(json.dumps(plain))
    return path


def promised(job: Path) -> dict[str, Any]:
    """What the plan says."""
    answer = subprocess.run(command("plan", str(job), "--json"), capture_output=True, text=True, check=True)
    told = json.loads(answer.stdout)
    return {key: value for key, value in told.items() if isinstance(value, (int, float, str, bool))}


def run(job: Path, output: Path, workers: int) -> dict[str, Any]:
    """A whole run in a process of its own, and what its report says."""
    figures = measured(command("run", str(job), "--output", str(output), "--workers", str(workers), "--replace"))
    report = json.loads((output / "report.json").read_text())
    kept = ("exact", "exactness", "exact_reason", "seams", "windows_run", "promised", "measured", "trim", "step")
    return {**figures, **{key: report[key] for key in kept if key in report}}


def loop(card: Path, sizes: Transformer, workers: int) -> float:
    """Seconds a window of the model alone, one call at a time on so many threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = workers
    session = onnxruntime.InferenceSession(str(card / "model.onnx"), options, providers=["CPUExecutionProvider"])
    window = np.random.default_rng(1).normal(size=(1, sizes.bands, sizes.window, sizes.window)).astype(np.float32)
    session.run(["classes"], {"x": window})
    began = time.perf_counter()
    for _ in range(LOOP_WINDOWS):
        session.run(["classes"], {"x": window})
    return (time.perf_counter() - began) / LOOP_WINDOWS


HOLDER = """
import sys, numpy as np
from pathlib import Path
from tilewright.models.card.registry import find_card
from tilewright.models.run.open import open_session
card = find_card(sys.argv[1], base=Path.cwd(), cache=Path(sys.argv[2]))
session = open_session(card, provider="cpu")
session.run({"x": np.zeros(session.inputs[0].shape, np.float32)})
print("ready", flush=True)
sys.stdin.read()
"""


def shared(card: Path, folder: Path) -> dict[str, float]:
    """Megabytes of two processes that hold the model at once: all of both, and what is theirs alone."""
    argv = [sys.executable, "-c", HOLDER, str(card), str(folder / "cache")]
    holders = [subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        for holder in holders:
            assert holder.stdout is not None, "it has a pipe"
            holder.stdout.readline()
        told = [psutil.Process(holder.pid).memory_full_info() for holder in holders]
    finally:
        for holder in holders:
            holder.communicate(timeout=60)
    return {
        "rss_mb": sum(each.rss for each in told) / 1e6,
        "pss_mb": sum(each.pss for each in told) / 1e6,
        "own_mb": sum(each.uss for each in told) / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--small", action="store_true")
    asked = parser.parse_args()
    sizes = SMALL if asked.small else LARGE
    job = write_job(asked.folder, asked.side, sizes)
    card = asked.folder / "card"
    facts = {"benchmark": "backbone", "side": asked.side, "parameters": sizes.n_parameters}
    print(json.dumps({**facts, "way": "plan", **promised(job)}), flush=True)
    print(json.dumps({**facts, "way": "run", **run(job, asked.folder / "out", asked.workers)}), flush=True)
    print(json.dumps({**facts, "way": "loop", "seconds_a_window": loop(card, sizes, asked.workers)}), flush=True)
    print(json.dumps({**facts, "way": "shared", **shared(card, asked.folder)}), flush=True)


if __name__ == "__main__":
    main()
