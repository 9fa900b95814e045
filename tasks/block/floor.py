"""The floor: the least time that a product could take on these cores, from rates measured on this machine."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine
from numcodecs import zstd
from rasterio.io import MemoryFile

from tilewright.models.run.open import open_session
from tilewright.models.run.smoke_run import quick_run
from tilewright.tasks.read.gdal import open_dataset, reading_env

if TYPE_CHECKING:
    from collections.abc import Callable

    from tilewright.catalogs.scene import BandAsset
    from tilewright.models.card.card import ModelCard
    from tilewright.models.run.session import ModelSession
    from tilewright.tasks.plan.plan import Plan


SAMPLE = 1024
"""Pixels per side of the samples that are decoded and written for calibration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """CPU seconds of one core: per source pixel decoded, per window inferred, per layer pixel stored.

    ``decode`` is None if no scene is on a local disk, where decoding can be timed alone.
    """

    decode: float | None
    window: float
    write: float


def floor_seconds(rates: Rates, plan: Plan, *, pixels_needed: int, valid_pixels: int, n_cores: int) -> float | None:
    """The least seconds for a product: each needed pixel decoded once, each valid one inferred and stored once.

    None if decoding could not be timed. Source: ``floor_cpu = (decode + warp + infer + write) / cores`` for unique
    output pixels. The warp counts as if scenes were aligned, so that the efficiency of a warped product is understated.
    """
    if rates.decode is None:
        return None
    window_pixels = (plan.raster.lattice.window * plan.raster.up / plan.raster.down) ** 2
    infer = rates.window * valid_pixels / window_pixels
    write = rates.write * valid_pixels * len(plan.raster.layers)
    return float((rates.decode * pixels_needed + infer + write) / n_cores)


def calibrate(plan: Plan, card: ModelCard, session: ModelSession, *, window: float | None = None) -> Rates:
    """The rates of this machine, each measured alone. ``window``: seconds per window measured by a run; None: measured
    now, with four calls of the model.
    """
    if window is None:
        window = _window_seconds(plan, card, session)
    return Rates(decode=_decode_rate(plan), window=window, write=_write_rate())


def _decode_rate(plan: Plan) -> float | None:
    for entry in plan.inputs:
        for scene in entry.scenes:
            asset = scene.asset(entry.bands[0])
            if asset is not None and Path(asset.href).exists():
                return _timed(lambda asset=asset: _decode(asset)) / _sample_pixels(asset)  # type: ignore[misc]
    return None


def _decode(asset: BandAsset) -> None:
    with reading_env({}), open_dataset(asset.href, overview=None, fresh=True) as dataset:
        dataset.read(asset.index, window=_sample_window(dataset))


def _sample_pixels(asset: BandAsset) -> int:
    with reading_env({}), open_dataset(asset.href, overview=None, fresh=True) as dataset:
        window = _sample_window(dataset)
        return int(window[0][1] * window[1][1])


def _sample_window(dataset: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    return (0, min(SAMPLE, dataset.height)), (0, min(SAMPLE, dataset.width))


def _window_seconds(plan: Plan, card: ModelCard, session: ModelSession) -> float:
    """Seconds of one window alone on one core; on a GPU the wall time of a batch of one."""
    if card.loops or card.stochastic or any(extra.kind == "noise" for extra in card.extras):
        quick, whole, times = quick_run(card, side=plan.raster.lattice.window)
        once = open_session(quick, provider=session.provider, threads=session.threads)
        batch, by_cpu = card.batch or 1, once.provider == "cpu" and once.threads == 1
        once.run_batch(whole, batch=batch, windows=1)
        return _timed(lambda: once.run_batch(whole, batch=batch, windows=1), by_cpu=by_cpu) * times / batch
    random = np.random.default_rng(0)
    feeds = {}
    for tensor in session.inputs:
        spec = next((entry for entry in card.inputs if entry.name == tensor.name), None)
        size = card.read_size(spec, plan.raster.lattice.window) if spec is not None else 1
        axes = spec.axes if spec is not None else ("batch",) * len(tensor.shape)
        lengths = {"height": size, "width": size, "batch": 1, "time": (spec.dates.steps or 1) if spec else 1}
        shape = [
            length if length > 0 else lengths.get(axis, 1) for length, axis in zip(tensor.shape, axes, strict=True)
        ]
        feeds[tensor.name] = random.random(shape).astype(tensor.dtype)
    # Windows of one call: a part of one where the graph takes a fixed number of pixels, several for a fixed batch.
    rows = max((len(feeds[spec.name]) for spec in card.inputs if spec.axes[0] == "batch"), default=1)
    per_call = rows / (plan.raster.lattice.window**2 if card.pixelwise and card.batch else 1)
    if card.pixelwise and not card.batch:
        n_rows = plan.raster.lattice.window**2
        feeds = {name: np.repeat(feed[:1], n_rows, axis=0) for name, feed in feeds.items()}
    session.run(feeds)
    by_cpu = session.provider == "cpu" and session.threads == 1
    return _timed(lambda: session.run(feeds), by_cpu=by_cpu) / per_call


@cache
def _write_rate() -> float:
    """Seconds per byte-sized pixel for a Zstandard chunk and a DEFLATE COG block with its overviews, by GDAL alone.

    It is the machine's, whatever product is made: measured once in a process.
    """
    random = np.random.default_rng(0)
    # Patches of 32 px: a class map, neither noise nor flat.
    patch = random.integers(0, 4, (SAMPLE // 32, SAMPLE // 32), dtype=np.uint8).repeat(32, axis=0).repeat(32, axis=1)
    packed = _timed(lambda: zstd.compress(patch.tobytes(), 1))
    profile = {
        "driver": "COG",
        "width": SAMPLE,
        "height": SAMPLE,
        "count": 1,
        "dtype": "uint8",
        "transform": Affine(10, 0, 0, 0, -10, 0),
        "crs": "EPSG:32633",
    }
    return (packed + _timed(lambda: _write(patch, profile))) / patch.size


def _write(patch: np.ndarray, profile: dict[str, Any]) -> None:
    """Write into memory: to measure is no reason to need room on a disk."""
    with MemoryFile() as file, file.open(compress="DEFLATE", blocksize=512, **profile) as dataset:
        dataset.write(patch, 1)


def _timed(work: Callable[[], object], *, by_cpu: bool = True) -> float:
    """The shortest of three times in seconds, because a disturbance only ever makes one longer.

    ``by_cpu``: by the CPU time of this thread, which other processes hardly disturb; otherwise by the clock.
    """
    clock, best = time.thread_time if by_cpu else time.perf_counter, float("inf")
    for _ in range(3):
        began = clock()
        work()
        best = min(best, clock() - began)
    return best
