"""The pixels of a sample as a job composites them, and its truth, for training and scoring the sample models.

Pixels come from the `tilewright` command itself, with a card whose model returns its input. A model is therefore
trained on the values on which it will run: same masks, same composites, same grid.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import rasterio
from onnx import TensorProto, helper
from rasterio.warp import transform_bounds

from tilewright.models.export.card import card_json
from tilewright.models.export.facts import ExportFacts, InputFacts, OutputFacts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray


BUILD = "import sys; from pathlib import Path; from tilewright.catalogs.sample.build import build_sample; "

BUILD += "build_sample(Path(sys.argv[1]), seed=int(sys.argv[2]))"

# Degrees by which the job's area extends beyond the sample; the sample's own bounds fix the grid.
MARGIN = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One simulated sample: its folder, its seed, and a folder for products of jobs on it."""

    folder: Path
    seed: int
    jobs: Path

    @property
    def catalog(self) -> Path:
        """Path of its STAC catalog."""
        return self.folder / "catalog.json"

    @property
    def version(self) -> str:
        """The version of the generator that built it."""
        return str(json.loads((self.folder / "sample.json").read_text())["version"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Aligned pixels and their classes.

    `inputs` by name are (step, band, y, x) float32 in physical units, NaN = none; at 20 m with half as many rows and
    columns as at 10 m. `truth` is (y, x) uint8 class values at 10 m, 255 = unknown.
    """

    inputs: Mapping[str, NDArray[np.float32]]
    truth: NDArray[np.uint8] = field(repr=False)


def open_sample(work: Path, seed: int) -> Sample:
    """The sample of a seed under `work`, built if it does not exist."""
    folder = work / f"sample-{seed}"
    _call([sys.executable, "-c", BUILD, str(folder), str(seed)])
    return Sample(folder=folder, seed=seed, jobs=work / f"jobs-{seed}")


def read_truth(sample: Sample, name: str) -> NDArray[np.uint8]:
    """A truth raster of the sample, (y, x) at 10 m: `landcover_start`, `landcover_end` or `change`."""
    with rasterio.open(sample.folder / "truth" / f"{name}.tif") as file:
        pixels: NDArray[np.uint8] = file.read(1)
    return pixels


def load_composite(sample: Sample, entry: InputFacts, period: str) -> NDArray[np.float32]:
    """The pixels of this input for a period, before filling and scaling: (1, band, y, x) float32, NaN = none."""
    facts = _echo_facts(entry)
    folder = sample.jobs / f"{facts.name}-{period.replace('/', '-')}"
    model = sample.jobs / facts.name
    model.mkdir(parents=True, exist_ok=True)
    graph = _echo_graph(entry)
    (model / "model.onnx").write_bytes(graph)
    (model / "card.json").write_text(json.dumps(card_json(facts, graph), indent=2))
    make_product(sample, model=str(model.resolve()), period=period, output=folder, resolution=entry.resolution)
    return np.stack([read_layer(folder, band) for band in entry.bands])[None].astype(np.float32)


def make_product(
    sample: Sample, *, model: str, period: str | Mapping[str, str], output: Path, resolution: float = 10.0
) -> None:
    """Makes a product of the whole sample under `output` with the `tilewright` command; a complete one is kept."""
    with rasterio.open(sample.folder / "truth" / "change.tif") as file:
        bounds = file.bounds
        west, south, east, north = transform_bounds(file.crs, "EPSG:4326", *bounds)
        crs = str(file.crs)
    job: dict[str, Any] = {
        "name": output.name,
        "area": [west - MARGIN, south - MARGIN, east + MARGIN, north + MARGIN],
        "period": dict(period) if not isinstance(period, str) else period,
        "source": str(sample.catalog.resolve()),
        "model": model,
        "grid": {"crs": crs, "resolution": resolution, "bounds": list(bounds)},
    }
    path = output.with_suffix(".job.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(job, indent=2))
    command("run", str(path), "--output", str(output))


def read_layer(product: Path, name: str) -> NDArray[Any]:
    """A layer of a product, (y, x) in its stored dtype."""
    with rasterio.open(product / f"{name}.tif") as file:
        pixels: NDArray[Any] = file.read(1)
    return pixels


def _echo_facts(entry: InputFacts) -> ExportFacts:
    name = f"echo-{entry.collection}-{entry.resolution:g}m-{'-'.join(entry.bands)}"
    echoed = InputFacts(
        name="image",
        bands=entry.bands,
        collection=entry.collection,
        unit=entry.unit,
        resolution=entry.resolution,
        resampling=entry.resampling,
        dates=type(entry.dates)(kind="composite", reducer=entry.dates.reducer),
    )
    return ExportFacts(
        name=name,
        title="Pixels as they are",
        description="Gives its input back.",
        architecture="identity",
        inputs=(echoed,),
        outputs=(OutputFacts(name="pixels", values=entry.bands),),
    )


def _echo_graph(entry: InputFacts) -> bytes:
    shape: list[str | int | None] = ["batch", len(entry.bands), "height", "width"]
    image, pixels = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("image", "pixels"))
    graph = helper.make_graph([helper.make_node("Identity", ["image"], ["pixels"])], "echo", [image], [pixels])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised


def command(*words: str) -> None:
    """Run the `tilewright` command in a process of its own. Raises RuntimeError with what it said if it fails."""
    _call([sys.executable, "-P", "-m", "tilewright.flows.cli", *words])


def _call(words: list[str]) -> None:
    process = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603  our own interpreter
    if process.returncode:
        raise RuntimeError(f"{' '.join(words[1:5])} ended with {process.returncode}: {process.stderr[-2000:]}")
