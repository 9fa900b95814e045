"""Small worlds of known values: GeoTIFFs on a lattice of 10 m, the source that lists them, cards around small graphs.

A world's upper left corner lies at absolute pixel (ROW, COL) of EPSG:32633 at 10 m, so that a test can say in pixels
what a product must hold.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import rasterio
from pyproj import Transformer

from tests.support.scenes import write_raster
from tilewright.flows.job.job import Job, make_job
from tilewright.flows.run.outcome import Outcome
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.models.card.schema import CARD_EXTENSIONS

CRS = "EPSG:32633"
COL, ROW = 40_064, -540_032
"""The world's corner in absolute pixels of 10 m, off the multiples of a block and on those of 64."""


class World:
    """A folder of GeoTIFFs and the list that makes a source of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.files: list[dict[str, Any]] = []

    def add(
        self,
        values: np.ndarray,
        band: str,
        *,
        day: str = "2023-06-10",
        collection: str = "optics",
        size: float = 10.0,
        at: tuple[int, int] = (0, 0),
        nodata: float | None = float("nan"),
        **said: Any,
    ) -> None:
        """A band (height, width) of one day, its corner `at` (row, col) pixels of its own `size` from the world's."""
        name = f"{collection}-{day}-{band}-{len(self.files)}.tif"
        left, top = COL * 10.0 + at[1] * size, -ROW * 10.0 - at[0] * size
        write_raster(self.folder / name, values, left=left, top=top, size=size, nodata=nodata, crs=CRS, block=256)
        entry = {"href": str(self.folder / name), "band": band, "datetime": f"{day}T10:00:00Z"}
        self.files.append({**entry, "collection": collection, **said})

    @property
    def source(self) -> dict[str, Any]:
        """What a job names as its source."""
        return {"files": self.files}


def area(rows: tuple[int, int], cols: tuple[int, int]) -> dict[str, Any]:
    """The polygon (EPSG:4326) around a box of the world's pixels; it may cover a pixel more or less at its rim."""
    to_lonlat = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
    left, right = ((COL + col) * 10.0 for col in cols)
    top, bottom = (-(ROW + row) * 10.0 for row in rows)
    corners = [(left, top), (left, bottom), (right, bottom), (right, top), (left, top)]
    return {"type": "Polygon", "coordinates": [[list(to_lonlat.transform(*corner)) for corner in corners]]}


def bounds(rows: tuple[int, int], cols: tuple[int, int]) -> list[float]:
    """A box of the world's pixels as `grid.bounds`."""
    return [(COL + cols[0]) * 10.0, -(ROW + rows[1]) * 10.0, (COL + cols[1]) * 10.0, -(ROW + rows[0]) * 10.0]


def pixel_job(
    world: World, card: Path, output: Path, *, rows: tuple[int, int], cols: tuple[int, int], **changes: Any
) -> Job:
    """A job over exactly that box of the world's pixels."""
    plain = {
        "name": "world",
        # A little more than the box: the bounds cut it to the pixel.
        "area": area((rows[0] - 4, rows[1] + 4), (cols[0] - 4, cols[1] + 4)),
        "period": "2023-06-01/2023-06-30",
        **({} if "sources" in changes else {"source": world.source}),
        "model": str(card),
        **changes,
    }
    plain["grid"] = {"crs": CRS, "bounds": bounds(rows, cols), **changes.get("grid", {})}
    return make_job(plain, base=output.parent, output=str(output))


def run(job: Job, *, workers: int = 1) -> Outcome:
    """The job done."""
    return run_job(job, RunOptions(workers=workers))


def layer(output: Path | str, name: str) -> np.ndarray:
    """A layer's pixels."""
    with rasterio.open(Path(output) / f"{name}.tif") as dataset:
        found: np.ndarray = dataset.read(1)
    return found


def write_card(
    folder: Path,
    model: onnx.ModelProto,
    *,
    inputs: Sequence[Mapping[str, Any]],
    outputs: Sequence[Mapping[str, Any]],
    tile: Mapping[str, Any] | None = None,
    name: str = "small",
    properties: Mapping[str, Any] | None = None,
) -> Path:
    """The folder of a card around a graph; shapes and types are read from the graph.

    An input is {name, bands, dims, ...}, an output {name, dims, classes?, ...}; further entries are card fields.
    `properties` are further ones of the Item.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = model.SerializeToString(deterministic=True)
    (folder / "model.onnx").write_bytes(content)
    ports = {port.name: port for port in (*model.graph.input, *model.graph.output)}
    bands = {band for entry in inputs for band in entry.get("bands", ()) if isinstance(band, str)}
    # An index that is declared would be a band of that name; left out, it is derived.
    declared = sorted(bands - {"ndvi"})
    card = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": list(CARD_EXTENSIONS),
        "id": name,
        "geometry": None,
        "properties": {
            "datetime": "2026-01-01T00:00:00Z",
            "mlm:name": name,
            "mlm:architecture": "test graph",
            "mlm:framework": "ONNX",
            "mlm:tasks": ["semantic-segmentation"],
            "bands": [{"name": band} for band in declared],
            "mlm:input": [_input(entry, ports) for entry in inputs],
            "mlm:output": [_output(entry, ports) for entry in outputs],
            "tw:tile": {key: size for key, size in {"step": 64, **(tile or {})}.items() if size is not None},
            **(properties or {}),
        },
        "assets": {
            "model": {
                "href": "./model.onnx",
                "roles": ["mlm:model"],
                "mlm:artifact_type": "onnx",
                "file:checksum": "1220" + hashlib.sha256(content).hexdigest(),
            }
        },
        "links": [],
    }
    (folder / "card.json").write_text(json.dumps(card))
    return folder


def _array(port: Any, dims: Sequence[str]) -> dict[str, Any]:
    tensor = port.type.tensor_type
    shape = [each.dim_value or -1 for each in tensor.shape.dim]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    return {"shape": shape, "dim_order": list(dims), "data_type": dtype}


def _input(entry: Mapping[str, Any], ports: Mapping[str, Any]) -> dict[str, Any]:
    known = {key: value for key, value in entry.items() if key not in {"name", "bands", "dims"}}
    dims = entry.get("dims", ("batch", "bands", "height", "width"))
    pixels = {"tw:collection": "optics", "tw:unit": "reflectance", "tw:resolution": 10}
    return {
        "name": entry["name"],
        "bands": list(entry.get("bands", ())),
        "input": _array(ports[entry["name"]], dims),
        **({} if "tw:extra" in known else pixels),
        **known,
    }


def _output(entry: Mapping[str, Any], ports: Mapping[str, Any]) -> dict[str, Any]:
    known = {key: value for key, value in entry.items() if key not in {"name", "classes", "dims"}}
    dims = entry.get("dims", ("batch", "class", "height", "width"))
    classes = [{"value": value, "name": word} for value, word in enumerate(entry.get("classes", ()))]
    return {
        "name": entry["name"],
        "tasks": ["semantic-segmentation" if classes else "regression"],
        "result": _array(ports[entry["name"]], dims),
        **({"classification:classes": classes} if classes else {}),
        **known,
    }
