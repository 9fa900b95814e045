"""A race of whole processes: Tilewright, the Dask cube of a careful person, the plain loop that most people write, and
the best loop that we can write for one model.

`python -m tests.benchmarks.rivals FOLDER [--side 2048 4096] [--kinds single pair] [--rounds 5] [--skip cube]` makes
the scenes and models once and prints one JSON line per kind and side: medians over the rounds, in which the ways take
turns. All read the same files and must give the same classes. What follows `--set` goes to Tilewright (`--set
precision=bf16 --set provider=openvino`). Each model is measured once before the race (`tilewright plan`), as on any
machine that has seen it before; `set` may make the maps differ, and `agreement` then says by how much. Scenes, models
and jobs that are in FOLDER are taken as they are: after a change of theirs, give another folder.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import rasterio

from tests.benchmarks.field import measured
from tests.benchmarks.rivals.cards import make_job
from tests.benchmarks.rivals.kinds import KINDS, NODATA, Ground, Kind
from tests.benchmarks.rivals.scenes import make_scenes

RIM = 64
FIGURES = {"wall": "seconds", "cpu": "cpu_seconds", "peak_mb": "peak_mb"}


def main() -> None:
    """Race every kind at every side and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--side", type=int, nargs="+", default=[4096], help="pixels, multiples of 1024")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--skip", nargs="+", choices=["cube", "naive", "plain", "loop"], default=[], help="naive is the cube"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a key of Tilewright's job")
    asked = parser.parse_args()
    os.environ["TILEWRIGHT_CACHE"] = str((asked.folder / "cache").resolve())
    for side in asked.side:
        if side % 1024:
            parser.error(f"--side {side}: give a multiple of 1024")
        ground = Ground(folder=asked.folder.resolve() / str(side), side=side)
        for name in asked.kinds:
            print(json.dumps(race(ground, KINDS[name], asked)), flush=True)


def race(ground: Ground, kind: Kind, asked: argparse.Namespace) -> dict[str, Any]:
    """The figures of one kind at one size."""
    make_scenes(ground, kind)
    make_job(ground, kind)
    settings = [word for entry in asked.set for word in ("--set", entry)]
    product = ground.job(kind).parent / "product"
    ours = [*_python("tilewright.flows.cli"), "run", str(ground.job(kind)), "--output", str(product), "--json"]
    place = [str(ground.folder), str(ground.side), kind.name]
    skipped = {"cube" if word == "naive" else word for word in asked.skip}
    ways = {"ours": [*ours, *settings]} | {
        way: [*_python(f"tests.benchmarks.rivals.{way}"), *place]
        for way in ("loop", "plain", "cube")
        if way not in skipped
    }
    warm = [*_python("tilewright.flows.cli"), "plan", str(ground.job(kind)), "--json", *settings]
    subprocess.run(warm, check=True, stdout=subprocess.DEVNULL)
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    alone, reports = [], []
    for _ in range(asked.rounds):
        for way, command in ways.items():
            shutil.rmtree(product, ignore_errors=True) if way == "ours" else None
            runs[way].append(watched(command))
        reports.append(json.loads((product / "report.json").read_text()))
        alone.append(_model_alone(place))
    return {
        "benchmark": "rivals", "kind": kind.name, "side": ground.side, "rounds": asked.rounds, "set": asked.set,
        **_figures(runs), "model_alone_seconds": round(statistics.median(alone), 2),
        **_told(reports), **_agreements(ground, kind, product / "class.tif", ways),
    }  # fmt: skip


def _python(module: str) -> list[str]:
    return [sys.executable, "-m", module]


def watched(command: list[str]) -> dict[str, float]:
    """`measured`, with the peak of the memory of all its processes together where that is more than of the largest."""
    peak, ended = [0.0], threading.Event()

    def look() -> None:
        while not ended.wait(0.05):
            # The first child is the one that measures, and a Python without anything.
            measuring = _children(os.getpid())
            peak[0] = max(peak[0], sum(_resident_mb(pid) for each in measuring for pid in _descendants(each)))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        figures = measured(command)
    finally:
        ended.set()
        watcher.join()
    return figures | {"peak_mb": max(figures["peak_mb"], peak[0])}


def _children(pid: int) -> list[int]:
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(word) for each in threads for word in (each / "children").read_text().split()]
    except OSError:
        return []


def _descendants(pid: int) -> list[int]:
    direct = _children(pid)
    return [*direct, *(deeper for each in direct for deeper in _descendants(each))]


def _resident_mb(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _model_alone(place: list[str]) -> float:
    """Seconds of the loop's windows without any reading, in a process of their own."""
    command = [*_python("tests.benchmarks.rivals.loop"), *place, "--alone"]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(answer.stdout)["seconds"])


def _figures(runs: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Medians of every way, and ours as multiples of the others'."""
    medians = {
        way: {figure: statistics.median(each[figure] for each in rounds) for figure in FIGURES}
        for way, rounds in runs.items()
    }
    shown: dict[str, Any] = {
        way: {name: round(each[figure], 2) for figure, name in FIGURES.items()} for way, each in medians.items()
    }
    for way in medians.keys() - {"ours"}:
        ratios = {name: round(medians["ours"][it] / medians[way][it], 3) for it, name in FIGURES.items()}
        shown[f"ours_by_{way}"] = ratios
    return shown


def _told(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """What Tilewright's own reports say, medians where they differ."""
    stages = reports[0]["seconds"]
    seconds = {name: round(statistics.median(each["seconds"][name] for each in reports), 2) for name in stages}
    last = reports[-1]
    known = {name: round(last[name], 3) for name in ("passes", "read_factor", "floor_seconds")}
    return {"stages": seconds, **known, "window": last["window"], "trim": last["trim"]}


def _agreements(ground: Ground, kind: Kind, ours: Path, ways: dict[str, list[str]]) -> dict[str, Any]:
    """The share of inner pixels, nodata too, with the same class; and the shares of the classes."""
    inside = slice(RIM, -RIM), slice(RIM, -RIM)
    mine = _classes(ours)[inside]
    equal = {way: float(np.mean(mine == _classes(ground.map(kind, way))[inside])) for way in ways if way != "ours"}
    shares = np.bincount(mine.ravel(), minlength=256)[[*range(kind.n_classes), NODATA]] / mine.size
    return {
        "agreement": {way: round(share, 6) for way, share in equal.items()},
        "shares": [round(float(share), 3) for share in shares],
    }


def _classes(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        found: np.ndarray = dataset.read(1)
    return found


if __name__ == "__main__":
    main()
