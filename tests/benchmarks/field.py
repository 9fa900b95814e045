"""What the benchmarks map: a synthetic square of four bands and three dates, and a U-Net with its card."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine

from tests.support.graphs import Draft, save
from tilewright.models.card.schema import CARD_EXTENSIONS

BANDS = ("blue", "green", "red", "nir")
DATES = ("2021-06-05", "2021-06-15", "2021-06-25")
LEFT, TOP, PIXEL = 399_360.0, 5_401_600.0, 10.0
WIDTH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """The folder of a benchmark: scenes, card, job; ``side`` pixels."""

    folder: Path
    side: int

    @property
    def card(self) -> Path:
        return self.folder / "unet" / "card.json"

    @property
    def job(self) -> Path:
        return self.folder / "job.yaml"

    def scene(self, date: str, band: str) -> Path:
        return self.folder / f"{date}-{band}.tif"


def build_field(folder: Path, *, side: int = 4096) -> Field:
    """The files of the benchmark, made once."""
    field = Field(folder=folder, side=side)
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(7)
    coarse = random.integers(400, 3000, (side // 16, side // 16), dtype=np.uint16)
    base = coarse.repeat(16, axis=0).repeat(16, axis=1)
    for date in DATES:
        for band in BANDS:
            if not field.scene(date, band).exists():
                noise = random.integers(0, 60, (side, side), dtype=np.uint16)
                _write_cog(field.scene(date, band), base + noise)
    write_model(field)
    _write_job(field)
    return field


def _write_cog(path: Path, values: np.ndarray) -> None:
    part = path.with_suffix(".part.tif")
    profile = {"driver": "COG", "dtype": "uint16", "count": 1, "nodata": 0, "crs": "EPSG:32633", "compress": "DEFLATE"}
    with rasterio.open(
        part, "w", height=values.shape[0], width=values.shape[1],
        transform=Affine(PIXEL, 0, LEFT, 0, -PIXEL, TOP), blocksize=512, **profile,
    ) as target:  # fmt: skip
        target.write(values, 1)
    part.rename(path)


def unet_graph() -> Any:
    """A U-Net of stride 4, radius about 28 pixels, about 80 kFLOP per pixel, with seeded weights."""
    draft = Draft(3)
    return draft.model(unet_nodes(draft, "x", n_in=len(BANDS), width=WIDTH), n_in=len(BANDS), n_out=3)


def unet_nodes(draft: Draft, x: str, *, n_in: int, width: int) -> str:
    """The nodes of a U-Net of stride 4 over `n_in` channels; the name of its scores of three classes."""
    w = width

    def convs(x: str, *channels: int) -> str:
        for before, after in itertools.pairwise(channels):
            x = draft.node("Relu", draft.conv(x, before, after))
        return x

    def pointwise(x: str, channels: int) -> str:
        wide = draft.node("Relu", draft.conv(x, channels, 4 * channels, (1, 1)))
        return draft.node("Relu", draft.conv(wide, 4 * channels, channels, (1, 1)))

    top = convs(x, n_in, w, w, w)
    middle = convs(draft.node("MaxPool", top, kernel_shape=[2, 2], strides=[2, 2]), w, 2 * w, 2 * w)
    middle = pointwise(middle, 2 * w)
    bottom = convs(draft.node("MaxPool", middle, kernel_shape=[2, 2], strides=[2, 2]), 2 * w, 4 * w, 4 * w, 4 * w)
    middle = convs(draft.node("Concat", middle, draft.up(bottom), axis=1), 6 * w, 2 * w, 2 * w)
    middle = pointwise(middle, 2 * w)
    top = convs(draft.node("Concat", top, draft.up(middle), axis=1), 3 * w, w, w, w)
    return draft.conv(top, w, 3, (1, 1))


def flops_per_pixel() -> float:
    """Multiplications and additions of ``unet_graph`` for one output pixel."""
    w, n = WIDTH, len(BANDS)
    top = n * w + 2 * w * w + 3 * w * w + 2 * w * w
    middle = (2 * w * w + 4 * w * w + 12 * w * w + 4 * w * w) / 4
    bottom = (8 * w * w + 16 * w * w + 16 * w * w) / 16
    wide = 2 * 2 * (2 * w * 8 * w) / 4
    return 2 * (9 * (top + middle + bottom) + wide + 3 * w)


def write_model(field: Field) -> None:
    """The U-Net and its card."""
    folder = field.card.parent
    folder.mkdir(parents=True, exist_ok=True)
    path = save(unet_graph(), folder)
    model = {
        "href": "./model.onnx",
        "type": "application/octet-stream; application=onnx",
        "roles": ["mlm:model"],
        "mlm:artifact_type": "onnx",
        "file:checksum": "1220" + hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    free = [-1, -1]
    layout = {"dim_order": ["batch", "bands", "height", "width"], "data_type": "float32"}
    image = {
        "name": "x",
        "bands": list(BANDS),
        "input": {"shape": [-1, len(BANDS), *free], **layout},
        "value_scaling": [{"type": "z-score", "mean": 0.15, "stddev": 0.08}],
        "tw:collection": "sentinel-2-l2a",
        "tw:unit": "reflectance",
        "tw:resolution": PIXEL,
        "tw:dates": {"kind": "composite", "reducer": "median"},
    }
    output = {
        "name": "y",
        "tasks": ["semantic-segmentation"],
        "result": {"shape": [-1, 3, *free], **layout, "dim_order": ["batch", "class", "height", "width"]},
        "classification:classes": [{"value": value, "name": f"class-{value}"} for value in range(3)],
        "tw:activation": "softmax",
        "tw:layers": ["class"],
    }
    properties = {
        "datetime": "2026-01-01T00:00:00Z",
        "mlm:name": "benchmark-unet",
        "mlm:architecture": "U-Net",
        "mlm:framework": "ONNX",
        "mlm:tasks": ["semantic-segmentation"],
        "bands": [{"name": band, "eo:common_name": band} for band in BANDS],
        "mlm:input": [image],
        "mlm:output": [output],
    }
    card = {
        "type": "Feature", "stac_version": "1.1.0", "stac_extensions": list(CARD_EXTENSIONS), "id": "benchmark-unet",
        "geometry": None, "properties": properties, "assets": {"model": model}, "links": [],
    }  # fmt: skip
    field.card.write_text(json.dumps(card))


def _write_job(field: Field) -> None:
    side = field.side * PIXEL
    files = [{"href": field.scene(date, band).name, "band": band, "datetime": date} for date in DATES for band in BANDS]
    source = {
        "kind": "files",
        "collection": "sentinel-2-l2a",
        "defaults": {"scale": 0.0001, "offset": 0, "unit": "reflectance", "baseline": "03.01"},
        "files": files,
    }
    job = {
        "name": "benchmark",
        "area": [12.5, 47.0, 15.5, 49.2],
        "period": "2021-06-01/2021-06-30",
        "source": source,
        "model": str(field.card),
        "grid": {"crs": "EPSG:32633", "bounds": [LEFT, TOP - side, LEFT + side, TOP]},
    }
    field.job.write_text(json.dumps(job))


def measured(command: list[str], *, stdout: Path = Path(os.devnull)) -> dict[str, float]:
    """Wall and CPU seconds and the peak memory in MB of a command, run to its end in a process of its own.

    Its output goes to the file ``stdout``.
    """
    script = (
        "import json, resource, subprocess, sys, time; began = time.perf_counter(); "
        "done = subprocess.run(sys.argv[2:], stdout=open(sys.argv[1], 'wb')); wall = time.perf_counter() - began; "
        "used = resource.getrusage(resource.RUSAGE_CHILDREN); "
        "print(json.dumps({'wall': wall, 'cpu': used.ru_utime + used.ru_stime, 'peak_mb': used.ru_maxrss * 1024 / 1e6, "
        "'code': done.returncode}))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script, str(stdout), *command], capture_output=True, text=True, check=True
    )
    figures = json.loads(answer.stdout.strip().splitlines()[-1])
    if figures["code"]:
        raise SystemExit(f"{' '.join(command)} failed:\n{answer.stderr}")
    return figures


def stopwatch() -> Any:
    """A function that tells the seconds since now."""
    began = time.perf_counter()
    return lambda: time.perf_counter() - began
