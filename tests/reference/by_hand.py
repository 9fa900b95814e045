"""Worlds of a few pixels: scenes typed as lists, answered by the program and by the reference, as lists again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from affine import Affine
from onnx import TensorProto
from shapely.geometry import shape

from tests.reference.compare import FILL, filled
from tests.reference.granules import around
from tests.reference.looks import Mask, Question
from tests.reference.rasters import open_new
from tests.reference.reference import answer
from tests.support.graphs import Draft
from tests.support.worlds import layer, run, write_card
from tilewright.flows.job.job import make_job

CRS, LEFT, TOP, SIZE = "EPSG:32633", 500_000.0, 5_400_000.0, 10.0

_ = np.nan
Rows = Sequence[Sequence[float]]
Item = dict[str, Any]
Layers = dict[str, np.ndarray]

FLOAT = TensorProto.FLOAT

JUNE, JULY, AUGUST = (datetime(2023, month, 1, tzinfo=UTC) for month in (6, 7, 8))
INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """A scene: its moment, or first and last; its satellite and orbit; its bands as rows: `quality` 1 is a cloud."""

    id: str
    when: str | tuple[str, str]
    bands: Mapping[str, Rows]
    platform: str = "one"
    orbit: int = 1
    col: int = 0

    def item(self, folder: Path) -> Item:
        """The scene's item, its files written."""
        assets = {}
        for band, rows in self.bands.items():
            path = folder / f"{self.id}-{band}.tif"
            write_file(path, np.array(rows, np.uint8 if band == "quality" else np.float32), col=self.col)
            assets[band] = asset(path, unit="class" if band == "quality" else "reflectance")
        height, width = np.shape(next(iter(self.bands.values())))
        when: dict[str, Any] = {"datetime": self.when}
        if not isinstance(self.when, str):
            when = {"datetime": None, "start_datetime": self.when[0], "end_datetime": self.when[1]}
        said = {"platform": self.platform, "sat:relative_orbit": self.orbit}
        return item_of(self.id, {**when, **said}, assets, size=(height, width), col=self.col)


def item_of(
    name: str,
    properties: dict[str, Any],
    assets: dict[str, Any],
    *,
    size: tuple[int, int],
    col: int = 0,
    collection: str = "optics",
) -> Item:
    """An item over so many pixels of the world."""
    geometry = around(box_of(size, col), CRS, 0.1)
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": name,
        "collection": collection,
        "geometry": geometry,
        "bbox": list(shape(geometry).bounds),
        "properties": properties,
        "links": [],
        "assets": assets,
    }


def asset(path: Path, *, unit: str = "reflectance", **said: Any) -> dict[str, Any]:
    """The asset of a file of one band."""
    entry = {"unit": unit, **said}
    return {"href": str(path), "type": "image/tiff; application=geotiff", "raster:bands": [entry]}


def write_file(
    path: Path, numbers: np.ndarray, *, pixel: float = SIZE, col: int = 0, header: float | None = None
) -> None:
    """A file with the world's corner, or so many pixels east of it."""
    corner = Affine(pixel, 0, LEFT + col * SIZE, 0, -pixel, TOP)
    with open_new(path, numbers, transform=corner, crs=CRS, header=header) as file:
        file.write(numbers, 1)


def box_of(size: tuple[int, int], col: int = 0) -> tuple[float, float, float, float]:
    """Bounds of so many pixels from the world's corner, or from so many pixels east of it."""
    left = LEFT + col * SIZE
    return left, TOP - size[0] * SIZE, left + size[1] * SIZE, TOP


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked of a world: a composite of June, or (`kind`) a pair or series of June and July; means by default.

    The model hands its input on, or its inputs of one band each (`apart`): layers are `red`, or `red_0`, `red_1` by
    step. Where a step has none of a pixel that is mapped, it is given -1.
    """

    size: tuple[int, int]
    bands: tuple[str, ...] = ("red",)
    kind: str = "composite"
    reducer: str = "mean"
    collection: str = "optics"
    apart: bool = False
    clouds: bool = False
    dilation: float = 0.0

    @property
    def n_steps(self) -> int:
        """The number of steps."""
        return 1 if self.kind == "composite" else 2

    @property
    def layers(self) -> list[str]:
        """Names of the layers in the order of the model's channels."""
        steps = range(self.n_steps)
        return [f"{band}_{step}" if self.n_steps > 1 else band for step in steps for band in self.bands]


def by_program(folder: Path, items: Sequence[Item], wish: Wish) -> Layers:
    """The layers and `observations` of a whole run."""
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": list(items)}))
    periods = {"composite": "2023-06", "pair": {"before": "2023-06", "after": "2023-07"}, "series": "2023-06/2023-07"}
    mask: dict[str, Any] = {"kind": "none"}
    if wish.clouds:
        mask = {"kind": "values", "band": "quality", "drop": [1], "dilation": wish.dilation}
    plain = {
        "name": "world",
        "area": around(box_of(wish.size), CRS, 30.0),
        "period": periods[wish.kind],
        "source": str(folder / "items.json"),
        "model": str(_card(folder / "card", wish)),
        "grid": {"crs": CRS, "bounds": list(box_of(wish.size))},
        "mask": mask,
    }
    run(make_job(plain, base=folder, output=str(folder / "out")))
    found = {name: layer(folder / "out", name) for name in wish.layers}
    return {**found, "observations": observations(folder / "out", box_of(wish.size))}


def by_reference(_folder: Path, items: Sequence[Item], wish: Wish) -> Layers:
    """The same by the slow reference. Raises ValueError where it refuses."""
    question = Question(
        items=items,
        bands=wish.bands,
        steps=((JUNE, JULY - INSTANT), (JULY, AUGUST - INSTANT))[: wish.n_steps],
        every_step=wish.kind == "pair",
        reducer=wish.reducer,
        mask=Mask(band="quality", drop=frozenset({1})) if wish.clouds else None,
        dilation=wish.dilation,
        crs=CRS,
        bounds=box_of(wish.size),
    )
    found = answer(question)
    if found.refused:
        raise ValueError(found.refused)
    return {**dict(zip(wish.layers, filled(found), strict=True)), "observations": found.observations}


ANSWERS: dict[str, Callable[[Path, Sequence[Item], Wish], Layers]] = {
    "program": by_program,
    "reference": by_reference,
}


def _card(folder: Path, wish: Wish) -> Path:
    draft = Draft()
    bands = [[band] for band in wish.bands] if wish.apart else [list(wish.bands)]
    ports = [f"x{number}" for number in range(len(bands))]
    joined = draft.node("Concat", *ports, axis=1) if wish.apart else draft.node("Identity", "x0")
    model = draft.model_many(
        [(port, FLOAT, ["n", wish.n_steps * len(each), "h", "w"]) for port, each in zip(ports, bands, strict=True)],
        [(joined, "y", FLOAT, ["n", len(wish.layers), "h", "w"])],
    )
    dates: dict[str, Any] = {"kind": wish.kind, "reducer": wish.reducer}
    pixels = {
        "tw:collection": wish.collection,
        "tw:resampling": "nearest",
        "tw:dates": dates | ({"steps": 2, "every": "month"} if wish.kind == "series" else {}),
        "tw:missing": {"fill": FILL, "pad": "fill"},
    }
    result = {"name": "y", "dims": ("batch", "channel", "height", "width"), "tw:layers": wish.layers}
    inputs = [{"name": port, "bands": each, **pixels} for port, each in zip(ports, bands, strict=True)]
    return write_card(folder, model, inputs=inputs, outputs=[result])


def assert_rows(found: np.ndarray, expected: Rows) -> None:
    """Equal but for rounding, NaN and all."""
    assert np.allclose(found, np.array(expected, float), rtol=1e-6, atol=1e-6, equal_nan=True), (
        f"{found}: no {expected}"
    )


def observations(output: Path, bounds: tuple[float, float, float, float]) -> np.ndarray:
    """The layer `observations` of a product, cut to the bounds."""
    group = zarr.open_group(str(output / "data.zarr"), mode="r")
    x, y = np.asarray(group["x"]), np.asarray(group["y"])
    inside = (y > bounds[1]) & (y < bounds[3]), (x > bounds[0]) & (x < bounds[2])
    return np.asarray(group["observations"])[np.ix_(*inside)]
