"""What `plan` promises beside what `run` takes: thirteen unlike jobs, with no rates known and with learnt ones.

`python -m tests.benchmarks.promises FOLDER [--only NAME ...] [--rounds 2]` prints one JSON line per job and round,
then the medians. Round 0 forgets all rates before each plan, the rounds after it know the runs before them.

Each line has, for seconds, bytes read, bytes stored and peak memory, the promise, the measure and their ratio. The
machine's noise is told by a fixed loop of computing: the clock by the processor, 1 on a quiet machine. ``quiet`` is the
ratio of the seconds without those that other programs took, as the run's own record has it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, numpy_helper

from tests.benchmarks.field import measured
from tests.support.file_server import serve
from tests.support.graphs import Draft, pointwise, unet
from tests.support.worlds import CRS, World, area, bounds, write_card

LATENCY_S = 0.05

SERIES = ("batch", "time", "bands", "height", "width")

HEAD = {"name": "y", "classes": ["a", "b"], "tw:activation": "softmax"}

S2 = {"collection": "sentinel-2-l2a", "nodata": 0, "scale": 0.0001, "offset": 0, "unit": "reflectance",
      "baseline": "03.01"}  # fmt: skip

FOREST = ("blue", "green", "red", "nir", "swir16", "swir22")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A job: its scenes, its model, and how it is run."""

    name: str
    side: int
    bands: tuple[str, ...] = ("red", "nir")
    days: tuple[str, ...] = ("2023-06-10",)
    model: Callable[[], Any] | str = pointwise
    image: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    size: float = 10.0
    remote: bool = False
    workers: int = 2
    clouds: bool = False
    outside: float = 0.0
    tile: dict[str, Any] = field(default_factory=lambda: {"step": 256})


def days(n: int, month: int = 6) -> tuple[str, ...]:
    """The first days of a month of 2023."""
    return tuple(f"2023-{month:02}-{day:02}" for day in range(1, n + 1))


def averaged(n_steps: int) -> Any:
    """A graph from (batch, time, bands, height, width) to two classes."""
    draft = Draft(5)
    mean = draft.node("ReduceMean", "x", axes=[1], keepdims=0)
    scores = draft.conv(mean, 2, 2, (3, 3))
    shape = ["batch", n_steps, 2, "height", "width"]
    return draft.model_many(
        [("x", TensorProto.FLOAT, shape)], [(scores, "y", TensorProto.FLOAT, ["batch", 2, "height", "width"])]
    )


def decided() -> Any:
    """A U-Net whose last bias leaves one pixel of twenty to the second class: seeded weights alone leave more pixels
    undecided than int8 may change.
    """
    model = unet(2, 2, width=16, depth=3)
    noise = np.random.default_rng(2).uniform(0.04, 0.31, (1, 2, 256, 256)).astype(np.float32)
    (scores,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": noise})
    bias = model.graph.initializer[-1]
    shift = np.quantile(scores[:, 1] - scores[:, 0], 0.95)
    moved = numpy_helper.to_array(bias) + np.array([shift, 0], np.float32)
    bias.CopyFrom(numpy_helper.from_array(moved.astype(np.float32), bias.name))
    return model


PAIR = {"before": "2023-06-01/2023-06-30", "after": "2023-08-01/2023-08-31"}

CASES = (
    Case(name="small", side=512),
    Case(name="large-tiny-model", side=4096, days=days(2)),
    Case(name="heavy", side=1024, model=lambda: unet(2, 2, width=16, depth=3)),
    Case(name="heavy-one-worker", side=1024, model=lambda: unet(2, 2, width=16, depth=3), workers=1),
    Case(name="int8", side=1024, model=decided, changes={"precision": "int8"}),
    Case(name="many-dates", side=1536, days=days(24), image={"tw:dates": {"kind": "composite", "reducer": "median"}}),
    Case(
        name="series", side=1024, days=(*days(3, 6), *days(3, 7), *days(3, 8)), model=lambda: averaged(3),
        image={"dims": SERIES, "tw:dates": {"kind": "series", "steps": 3, "every": "month"}},
        changes={"period": "2023-06-01/2023-08-31"},
    ),
    Case(
        name="pair", side=1536, days=(*days(2, 6), *days(2, 8)), model=lambda: averaged(2),
        image={"dims": SERIES, "tw:dates": {"kind": "pair"}}, changes={"period": PAIR},
    ),
    Case(name="forest", side=512, bands=FOREST, model="sample-forest"),
    Case(name="sensor-20m", side=1536, size=20.0, days=days(3), changes={"grid": {"resolution": 20}}),
    Case(name="clouds", side=2048, bands=("green", "nir"), days=days(4), model="ndwi-water", clouds=True),
    Case(name="http", side=1536, days=days(6), remote=True),
    Case(name="half-outside", side=1536, days=days(2), outside=0.5, model=lambda: unet(2, 2, width=8, depth=2)),
)  # fmt: skip


def build(case: Case, folder: Path) -> Path:
    """The case's scenes, card and job file, made once."""
    job = folder / "job.json"
    if job.exists():
        return job
    world, random = World(folder / "world"), np.random.default_rng(len(case.name))
    coarse = random.integers(400, 3000, (case.side // 16, case.side // 16), dtype=np.uint16)
    base, about = coarse.repeat(16, axis=0).repeat(16, axis=1), dict(S2 if case.bands != ("red", "nir") else {})
    for day in case.days:
        for band in case.bands:
            noise = random.integers(0, 120, base.shape, dtype=np.uint16)
            told = about or {"nodata": 0, "scale": 0.0001, "offset": 0, "unit": "reflectance"}
            world.add(base + noise, band, day=day, size=case.size, **told)
        if case.clouds:
            cloudy = random.random((case.side // 64, case.side // 64)) < 0.5
            scl = np.where(cloudy, 9, 4).astype(np.uint8).repeat(32, axis=0).repeat(32, axis=1)
            world.add(scl, "scl", day=day, size=20.0, collection="sentinel-2-l2a", nodata=0, unit="class",
                      baseline="03.01")  # fmt: skip
    if isinstance(case.model, str):
        model = case.model
    else:
        image = {"name": "x", "bands": list(case.bands), **case.image}
        model = str(write_card(folder / "card", case.model(), inputs=[image], outputs=[HEAD], tile=case.tile))
    side = round(case.side * case.size / 10)
    rows, cols = (0, side), (round(case.outside * side), round((1 + case.outside) * side))
    for entry in world.files:
        entry["href"] = f"FILES/{Path(entry['href']).name}"
    plain = {
        "name": case.name, "area": area(rows, cols), "period": "2023-06-01/2023-06-30", "source": world.source,
        "model": model, **case.changes,
    }  # fmt: skip
    plain["grid"] = {"crs": CRS, "bounds": bounds(rows, cols), **case.changes.get("grid", {})}
    job.write_text(json.dumps(plain))
    return job


def noise() -> float:
    """Seconds by the clock of a fixed loop by those of the processor."""
    wall, cpu = time.perf_counter(), time.process_time()
    while time.process_time() - cpu < 0.2:
        sum(range(1000))
    return (time.perf_counter() - wall) / (time.process_time() - cpu)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder's address on a server in a process of its own that waits before each answer."""
    command = [sys.executable, "-m", "tests.benchmarks.promises", str(folder), "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None, "it is a pipe"
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def run_case(case: Case, folder: Path, cache: Path) -> dict[str, Any]:
    """The promises of a case and what was measured."""
    template, output, job = build(case, folder), folder / "out", folder / "run.json"
    shutil.rmtree(output, ignore_errors=True)
    environment = {**os.environ, "TILEWRIGHT_CACHE": str(cache)}
    with served(folder / "world") if case.remote else nullcontext(str(folder / "world")) as place:
        job.write_text(template.read_text().replace("FILES", place))
        cli = [sys.executable, "-m", "tilewright.flows.cli"]
        same = ["--output", str(output), "--workers", str(case.workers), "--json"]
        planned = subprocess.run(
            [*cli, "plan", str(job), *same], capture_output=True, text=True, env=environment, check=False
        )
        if planned.returncode:
            raise SystemExit(f"{case.name}: {planned.stderr}")
        promised = json.loads(planned.stdout)
        before, os.environ["TILEWRIGHT_CACHE"] = noise(), str(cache)
        took = measured([*cli, "run", str(job), *same])
    report = json.loads((output / "report.json").read_text())
    stored = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    pairs = {
        "seconds": (promised["seconds"], took["wall"]),
        "bytes_read": (promised["bytes_read"], report["bytes_read"]),
        "bytes_stored": (promised["bytes_stored"], stored),
        "peak_memory_mb": (promised["memory_bytes"] / 1e6, took["peak_mb"]),
    }
    last = max((cache / "rates").glob("*.json"), key=lambda path: path.stat().st_mtime)
    record = json.loads(last.read_text())["runs"][-1]
    phases = sum(record[phase] for phase in ("start", "finish", "publish"))
    blocks = max(0.05 * record["blocks"], record["blocks"] - record["others_cpu"] / (os.cpu_count() or 1))
    alone = sum(record[stage] for stage in ("read_cpu", "infer_cpu", "write_cpu", "other_cpu"))
    quiet = phases + max(blocks, alone / min(case.workers, os.cpu_count() or 1))
    return {
        "job": case.name,
        **{name: {"promised": round(a, 2), "measured": round(b, 2), "ratio": round(b / a, 3)}
           for name, (a, b) in pairs.items()},
        "quiet": round(quiet / promised["seconds"], 3),
        "quiet_seconds": round(quiet, 2),
        "cpu_seconds": round(took["cpu"], 2),
        "noise": [round(before, 2), round(noise(), 2)],
        "basis": promised["basis"],
        "record": {name: round(value, 3) if isinstance(value, float) else value for name, value in record.items()},
    }  # fmt: skip


def main() -> None:
    """Run the cases and print their lines, then the medians of the errors by round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", default=[case.name for case in CASES])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--serve", action="store_true")
    asked = parser.parse_args()
    if asked.serve:
        with serve(asked.folder, lambda _: time.sleep(LATENCY_S)) as server:
            print(server.url, flush=True)
            time.sleep(3600)
    cache, kept = asked.folder / "cache", dict[str, list[Any]]()
    for number in range(asked.rounds):
        lines = []
        for case in (case for case in CASES if case.name in asked.only):
            if number == 0:
                for name in ("rates", "promises"):
                    shutil.rmtree(cache / name, ignore_errors=True)
            lines.append({"round": number, **run_case(case, asked.folder / case.name, cache)})
            print(json.dumps(lines[-1]), flush=True)
            if number == 0:
                for path in (cache / "rates").glob("*.json"):
                    kept.setdefault(path.name, []).extend(json.loads(path.read_text())["runs"])
        if number == 0:
            for name, runs in kept.items():
                (cache / "rates" / name).write_text(json.dumps({"format": 1, "runs": runs}))
        names = ("seconds", "bytes_read", "bytes_stored", "peak_memory_mb")
        errors = {name: [abs(line[name]["ratio"] - 1) for line in lines] for name in names}
        errors["quiet_seconds"] = [abs(line["quiet"] - 1) for line in lines]
        print(json.dumps({
            "round": number,
            "median_error": {name: round(statistics.median(values), 3) for name, values in errors.items()},
            "largest_error": {name: round(max(values), 3) for name, values in errors.items()},
        }), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
