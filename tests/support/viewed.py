"""Small finished products written by hand, of any raster and CRS, and their page as a browser asks for it."""

from __future__ import annotations

import io
import json
import re
import signal
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image
from pyproj import Transformer

from tests.support.products import command
from tilewright.tasks.cog.spec import CogClass, CogSpec
from tilewright.tasks.cog.write import write_cog

CLASSES = ({"value": 0, "name": "land", "color": "D9D4C7"}, {"value": 1, "name": "water", "color": "2E86DE"},
           {"value": 2, "name": "forest", "color": "117733"})  # fmt: skip

COLOURS = {int(each["value"]): tuple(bytes.fromhex(each["color"])) for each in CLASSES}

UTM = Affine(10, 0, 400_640, 0, -10, 5_400_320)


def put_layer(
    folder: Path, name: str, values: np.ndarray, *, crs: str = "EPSG:32633", transform: Affine = UTM
) -> dict[str, Any]:
    """A layer of classes (uint8, 255 is no value) or of values (float, NaN is none) as a COG, and its row of a
    report.
    """
    of_classes = values.dtype == np.uint8
    classes = tuple(CogClass(value=each["value"], name=each["name"], color=each["color"]) for each in CLASSES)
    spec = CogSpec(
        name=name,
        dtype=values.dtype.name,
        nodata=255 if of_classes else float("nan"),
        kind="class" if of_classes else "value",
        classes=classes if of_classes else (),
        unit="1" if of_classes else "m",
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_cog(
        folder / f"{name}.tif",
        rows=lambda first, stop: values[first:stop],
        shape=values.shape,
        transform=transform,
        crs=crs,
        spec=spec,
    )
    told = {"classes": [dict(each) for each in CLASSES]} if of_classes else {"display": [0.0, 100.0]}
    return {"name": name, "kind": spec.kind, "href": f"{name}.tif", "unit": spec.unit, **told}


def put_product(folder: Path, layers: Sequence[Mapping[str, Any]], *, name: str = "small", **report: Any) -> Path:
    """The documents of a product beside its layers."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = {each["name"]: {"href": f"./{each['file']}", "type": "application/vnd.apache.parquet"}
              for each in report.get("tables", ())}  # fmt: skip
    assets = {"data": {"href": "./data.zarr"}, "plan": {"href": "./.tilewright/plan.json"}, **tables}
    item = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": name,
        "properties": {"processing:expression": {}},
        "assets": assets,
        "links": [],
        "bbox": [0, 0, 1, 1],
        "geometry": {},
    }
    (folder / "item.json").write_text(json.dumps(item))
    (folder / "report.json").write_text(json.dumps({"name": name, "layers": list(layers), **report}))
    return folder


def patches(shape: tuple[int, int], *, seed: int = 0) -> np.ndarray:
    """Classes in single pixels, some without a value."""
    return np.random.default_rng(seed).choice(np.array([0, 1, 2, 255], dtype=np.uint8), shape)


def looked_at(*words: object) -> list[str]:
    """The names of the products that the command shows, in a process of its own, which Ctrl-C then ends well."""
    process = command("view", *words, "--no-browser")
    assert process.stdout is not None
    address = re.match(r"(http://127\.0\.0\.1:\d+/\S+/)  \(Ctrl-C ends it\)", process.stdout.readline())
    assert address is not None, process.communicate(timeout=10)
    names = [str(each["name"]) for each in Page(address[1]).json("products.json")]
    process.send_signal(signal.SIGINT)
    said, complaints = process.communicate(timeout=20)
    assert (process.returncode, said, complaints) == (0, "Ended.\n", "")
    return names


@contextmanager
def page_of(*outputs: object, **how: Any) -> Iterator[Page]:
    """The page of products, served. Skips the test with a reason where the extra is not installed."""
    pytest.importorskip("js_lib_leaflet", reason="the extra `view` is not installed")
    from tilewright.flows.view.serve import served

    with served([str(each) for each in outputs], **how) as server:
        yield Page(server.address)


class Page:
    """What a browser gets at an address."""

    def __init__(self, address: str) -> None:
        self.address = address

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.address + path, timeout=30) as answer:  # noqa: S310 -- http, as served
            return bytes(answer.read())

    def json(self, path: str) -> Any:
        return json.loads(self.get(path))

    def status(self, path: str) -> int:
        try:
            with urllib.request.urlopen(self.address + path, timeout=30) as answer:  # noqa: S310 -- http, as served
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def tile(self, product: int, layer: int | str, zoom: int, col: int, row: int) -> np.ndarray:
        """RGBA (256, 256, 4)."""
        return np.asarray(Image.open(io.BytesIO(self.get(f"tiles/{product}/{layer}/{zoom}/{col}/{row}.png"))))

    def values(self, lon: float, lat: float) -> list[list[dict[str, Any]]]:
        return list(self.json(f"values.json?lon={lon!r}&lat={lat!r}"))


def tile_of(lon: float, lat: float, zoom: int) -> tuple[int, int]:
    """(column, row) of the tile that holds a place. Source: OSM wiki, Slippy map tilenames."""
    share = (1 - np.arcsinh(np.tan(np.radians(lat))) / np.pi) / 2
    return int(((lon + 180) / 360 % 1) * 2**zoom), int(share * 2**zoom)


def tile_centres(zoom: int, col: int, row: int) -> tuple[np.ndarray, np.ndarray]:
    """Longitudes and latitudes (256, 256) of the centres of a tile's pixels, by the same formulas."""
    across, down = (np.arange(256) + 0.5) / 256 + col, (np.arange(256) + 0.5) / 256 + row
    lons = across / 2**zoom * 360 - 180
    lats = np.degrees(np.arctan(np.sinh(np.pi * (1 - 2 * down / 2**zoom))))
    return tuple(np.meshgrid(lons, lats))


def expected_tile(path: Path, zoom: int, col: int, row: int) -> tuple[np.ndarray, np.ndarray]:
    """The pixels of a raster that hold the centres of a tile's pixels, and how far each centre is from its border.

    Values outside the raster are 255; distances are in parts of a pixel.
    """
    with rasterio.open(path) as dataset:
        pixels, affine, crs = dataset.read(1), dataset.transform, dataset.crs
    lons, lats = tile_centres(zoom, col, row)
    xs, ys = Transformer.from_crs("EPSG:4326", crs.to_wkt(), always_xy=True).transform(lons, lats)
    cols, rows = ~affine * (xs, ys)
    inside = (cols >= 0) & (rows >= 0) & (cols < pixels.shape[1]) & (rows < pixels.shape[0])
    found = np.full(cols.shape, 255, dtype=pixels.dtype)
    found[inside] = pixels[np.floor(rows[inside]).astype(int), np.floor(cols[inside]).astype(int)]
    border = np.minimum.reduce([cols % 1, 1 - cols % 1, rows % 1, 1 - rows % 1])
    return found, border
