"""A small product with many blocks, made by the real command in a process of its own, and what it is compared by."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import rasterio

from tests.support.graphs import conv_stack
from tests.support.paths import ROOT
from tests.support.worlds import World, area, bounds, layer, write_card
from tilewright.flows.environment import storage_options
from tilewright.flows.job.job import Job, read_job
from tilewright.flows.run.prepare import declare_product
from tilewright.flows.runners.worker import reopen_worker
from tilewright.tasks.block.worker import Worker, WorkerSettings
from tilewright.tasks.storage.storage import open_storage

SIDE = 256
BLOCK = 32
N_BLOCKS = (SIDE // BLOCK) ** 2
N_LARGE = N_BLOCKS // 4  # blocks of the product the fixture `whole` makes, each twice as wide
LAYERS = ("class", "confidence")
INPUT = {"name": "x", "bands": ("green", "nir")}
OUTPUT = {
    "name": "y",
    "classes": ("land", "water"),
    "tw:activation": "softmax",
    "tw:layers": list(LAYERS),
}


def write_job(folder: Path, *, side: int = SIDE, **changes: Any) -> Path:
    """A job file over a world of noise: 256 x 256 px in 64 blocks, the last rows and columns without any scene."""
    world = World(folder / "scenes")
    random = np.random.default_rng(5)
    for band in INPUT["bands"]:
        values = random.random((side - 40, side - 40), dtype=np.float32)
        world.add(values, band, scene="first", day="2023-06-10", unit="reflectance")
    card = write_card(folder / "card", conv_stack(n_in=2), inputs=[INPUT], outputs=[OUTPUT], tile={"step": BLOCK})
    plain = {
        "name": "small",
        "area": area((-2, side + 2), (-2, side + 2)),
        "grid": {"crs": "EPSG:32633", "bounds": bounds((0, side), (0, side))},
        "period": "2023-06-01/2023-06-30",
        "source": world.source,
        "model": str(card),
        "tile": {"block": BLOCK, "step": BLOCK},
        **changes,
    }
    path = folder / "job.json"
    path.write_text(json.dumps(plain))
    return path


def read(job: Path, output: Path | str, **changes: Any) -> Job:
    """The job, to be run in this process."""
    pairs = tuple(f"{key}={json.dumps(value)}" for key, value in changes.items())
    return read_job(job, output=str(output), changes=pairs)


# A shell's background job starts with Ctrl-C ignored, and children inherit that: it is heard again before the command.
HEARD = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from tilewright.flows.cli.main import app; app(prog_name='tilewright')"
)


def command(
    *words: object, env: Mapping[str, str] | None = None, before: str = "", **how: Any
) -> subprocess.Popen[str]:
    """The `tilewright` command under way in a process of its own; ``before`` is Python that runs first."""
    return subprocess.Popen(
        [sys.executable, "-c", f"{before}\n{HEARD}", *map(str, words)],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **how,
    )


def tilewright(*words: object, env: Mapping[str, str] | None = None, **how: Any) -> subprocess.CompletedProcess[str]:
    """The `tilewright` command, ended."""
    process = command(*words, env=env, **how)
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def entries(output: Path) -> dict[str, int]:
    """Names of finished blocks and when their entries were written, in nanoseconds."""
    folder = output / ".tilewright" / "ledger"
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("[!.]*.json")} if folder.is_dir() else {}


def wait_for_blocks(output: Path, n_blocks: int, process: subprocess.Popen[str]) -> None:
    """Return once so many blocks are finished."""
    wait_until(lambda: len(entries(output)) >= n_blocks or process.poll() is not None)
    assert process.poll() is None, process.communicate()


def writing_worker(output: Path | str, settings: WorkerSettings | None = None) -> Worker:
    """A worker that may write blocks into a published product: its blocks wait again, as when it is updated."""
    settings = settings or WorkerSettings(provider="cpu", read_threads=1)
    worker = reopen_worker(str(output), settings)
    declare_product(worker.storage, worker.plan, worker.model.card, zarr_format=3)
    return reopen_worker(str(output), settings)


def wait_until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    """Return once something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.002)


def assert_same_product(output: Path, other: Path) -> None:
    """Zarr objects byte for byte, files pixel for pixel."""
    ours, theirs = _objects(output / "data.zarr"), _objects(other / "data.zarr")
    assert sorted(ours) == sorted(theirs)
    assert [name for name in ours if ours[name] != theirs[name]] == []
    for name in LAYERS:
        assert np.array_equal(layer(output, name), layer(other, name))


def fetched(uri: str, folder: Path) -> Path:
    """The folder, with every object of a product as a file."""
    storage = open_storage(uri, options=storage_options(uri))
    for key in list(storage.keys()):
        content = storage.read(key)
        assert content is not None, key
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(content)
    return folder


def layers_of(output: Path | str) -> dict[str, np.ndarray]:
    """Every COG of a product by its name, (band, y, x)."""
    arrays = {}
    for path in sorted(Path(output).glob("*.tif")):
        with rasterio.open(path) as dataset:
            arrays[path.stem] = dataset.read()
    return arrays


def same_layers(one: Path | str, other: Path | str) -> bool:
    """Whether two products have the same COGs pixel for pixel, and have any."""
    left, right = layers_of(one), layers_of(other)
    return list(left) == list(right) != [] and all(np.array_equal(left[name], right[name]) for name in left)


def _objects(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
