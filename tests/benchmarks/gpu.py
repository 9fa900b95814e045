"""The way through a GPU: checked against the CPU, timed, and its busy share told beside km2/s.

`python -m tests.benchmarks.gpu FOLDER [--side 8192]` needs nothing but the extra `gpu` and a driver; it
builds its scenes and its model itself and prints one JSON line. Without a GPU it says so in one sentence and exits 1;
`--provider cpu` walks the same way without one.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio

from tests.benchmarks.field import BANDS, Field, build_field, flops_per_pixel, measured
from tilewright.flows.machine import n_cores
from tilewright.models.card.card import load_card
from tilewright.models.optimise.fuse import fuse_model
from tilewright.models.run.open import open_session
from tilewright.models.run.providers import GPU_BATCH, GPUS, ProviderError
from tilewright.models.run.session import open_graph
from tilewright.models.transforms.preprocess import prepare_input

SAMPLE_MS = 100
CALLS = 24
WINDOW = 568
LEAST_SHARE = 0.999
"""Share of pixels whose class must be the CPU's."""

WAYS = {"plain": {"fuse": "no"}, "fused": {"fuse": "yes"}, "half": {"precision": "fp16"}}


def main() -> None:
    """Check every way against the CPU on a small side, time every way's session, then the whole job."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--side", type=int, default=8192)
    parser.add_argument("--provider", choices=("cuda", "tensorrt", "cpu"), default="cuda")
    asked = parser.parse_args()
    small = build_field(asked.folder / "small", side=1024)
    try:
        open_session(load_card(small.card), provider=asked.provider)
    except ProviderError as error:
        raise SystemExit(f"No GPU is here, so nothing was measured: {error}.") from None
    reference = produce(small, asked.folder / "cpu", provider="cpu", fuse="no")
    agreement = {}
    for way, wish in WAYS.items():
        made = produce(small, asked.folder / way, provider=asked.provider, **wish)
        assert made["report"]["provider"] == asked.provider, made["report"]["provider"]
        agreement[way] = like(asked.folder / "cpu", asked.folder / way)
    assert min(agreement.values()) >= LEAST_SHARE, agreement
    rates = {way: session_rate(small, asked.folder, asked.provider, way) for way in WAYS}
    large = build_field(asked.folder / "large", side=asked.side)
    with busy_share(asked.provider) as busy:
        made = produce(large, asked.folder / "product", provider=asked.provider)
    report = made["report"]
    answer = {
        "benchmark": "gpu",
        "provider": report["provider"],
        "fused": report["fused"],
        "side": asked.side,
        "agreement": agreement,
        "session_mpx_per_s": {way: round(rate / 1e6, 1) for way, rate in rates.items()},
        "session_tflops": {way: round(rate * flops_per_pixel() / 1e12, 3) for way, rate in rates.items()},
        "seconds": round(made["wall"], 2),
        "km2_per_s": round(report["area_km2"] / made["wall"], 2),
        "gpu_busy": busy(),
        "stages": {name: round(value, 2) for name, value in report["seconds"].items()},
        "reference_seconds_small": round(reference["wall"], 2),
        "peak_mb": round(made["peak_mb"]),
    }
    print(json.dumps(answer))


def produce(field: Field, output: Path, **wish: str) -> dict[str, Any]:
    """The field's job done anew: its report, and what it took."""
    shutil.rmtree(output, ignore_errors=True)
    changes = [part for key, value in wish.items() for part in ("--set", f"{key}={value}")]
    command = [
        sys.executable,
        "-m",
        "tilewright.flows.cli",
        "run",
        str(field.job),
        "--output",
        str(output),
        "--json",
        *changes,
    ]
    figures: dict[str, Any] = measured(command)
    return {**figures, "report": json.loads((output / "report.json").read_text())}


def like(one: Path, other: Path) -> float:
    """Share of pixels of the same class in two products."""
    with rasterio.open(one / "class.tif") as first, rasterio.open(other / "class.tif") as second:
        return round(float(np.mean(first.read(1) == second.read(1))), 6)


def session_rate(field: Field, folder: Path, provider: str, way: str) -> float:
    """Window pixels per second through one session from prepared pixels to scores or layers, all callers busy."""
    card = load_card(field.card)
    if way == "plain":
        session = open_session(card, provider=provider)
    else:
        fused = fuse_model(card, cache=folder / "graphs", half=way == "half")
        card, session = fused.card, open_graph(fused.path, sha256=fused.sha256, provider=provider)
    batch = GPU_BATCH if provider in GPUS else 1
    pixels = np.random.default_rng(0).uniform(0.02, 0.5, (batch, 1, len(BANDS), WINDOW, WINDOW)).astype(np.float32)
    feeds = {"x": prepare_input(card.inputs[0], pixels)}
    with ThreadPoolExecutor(min(4, n_cores())) as pool:
        # First calls choose algorithms and make buffers.
        list(pool.map(session.run, [feeds] * 4))
        began = time.perf_counter()
        list(pool.map(session.run, [feeds] * CALLS))
        seconds = time.perf_counter() - began
    return CALLS * batch * WINDOW**2 / seconds


@contextmanager
def busy_share(provider: str) -> Any:
    """A function that tells the mean share of the time in which the GPU was at work, None where none can be asked."""
    if provider not in GPUS or shutil.which("nvidia-smi") is None:
        yield lambda: None
        return
    query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", f"-lms={SAMPLE_MS}"]
    watcher = subprocess.Popen(query, stdout=subprocess.PIPE, text=True)
    found: list[float] = []
    try:
        yield lambda: round(statistics.fmean(found) / 100, 3) if found else None
    finally:
        watcher.terminate()
        lines = watcher.communicate()[0].split()
        found.extend(float(line) for line in lines if line.strip().isdigit())


if __name__ == "__main__":
    main()
