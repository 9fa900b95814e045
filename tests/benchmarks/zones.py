"""Statistics of zones over a large product: ours, and exactextract run on the layer's file by hand.

`python -m tests.benchmarks.zones [--side 32768] [--zones 4000] [--reach 60] [--ways ours hand] [--large]` prints one
JSON line per way, each run in a process of its own: CPU seconds, seconds and peak memory, without the making of the
product. Its layers are a class map of four patchy classes and float32 values. Zones are polygons of 8 to 40 corners,
`--reach` pixels from their middle to their farthest corner in the mean; `--large` adds one over the whole product.
`hand` opens the two layers as GeoTIFFs in 512 px tiles with rasterio and asks for frac, mean, stdev, min, max, median
and sum.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import rasterio
import shapely
from affine import Affine

from tests.benchmarks.polygons import strips
from tests.support.layers import write_layers
from tilewright.flows.ask.zones import zone_statistics
from tilewright.flows.machine import peak_memory
from tilewright.tasks.tables.convert import write_as

CRS, SIZE, CORNER = "EPSG:32633", 10.0, (300_000.0, 5_400_000.0)
NAMES = ("water", "forest", "field", "town")
ZONES = "zones.parquet"


def values(side: int) -> Iterator[np.ndarray]:
    """Rows of a layer of values, 512 at a time."""
    noise = np.random.default_rng(9).normal(size=(512, side)).astype(np.float32)
    for row in range(0, side, 512):
        yield noise[: side - row] + np.float32(row / side)


def make(folder: Path, side: int, n_zones: int, reach: float, *, large: bool) -> None:
    """The product, its layers as GeoTIFFs, and the zones."""
    shape = (side, side)
    layers: dict[str, Any] = {
        "class": ("uint8", shape, lambda: strips(side, 3.8)),
        "height": ("float32", shape, lambda: values(side)),
    }
    write_layers(folder, layers, classes={"class": NAMES}, crs=CRS, resolution=SIZE, corner=CORNER)
    for name, (dtype, _, rows) in layers.items():
        profile = {"driver": "GTiff", "height": side, "width": side, "count": 1, "dtype": dtype, "crs": CRS}
        tiles = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "zstd"}
        transform = Affine(SIZE, 0, CORNER[0], 0, -SIZE, CORNER[1])
        nodata = 255 if dtype == "uint8" else np.nan
        with rasterio.open(
            folder / f"{name}.tif", "w", **profile, **tiles, transform=transform, nodata=nodata, bigtiff="yes"
        ) as file:
            top = 0
            for some in rows():
                file.write(some, 1, window=((top, top + len(some)), (0, side)))
                top += len(some)
    drawn = drawn_zones(n_zones, side, reach)
    if large:
        rim = shapely.Point(side / 2, side / 2).buffer(side / 2, quad_segs=200)
        drawn.append(rim)
    placed = shapely.transform(np.array(drawn), lambda at: at * [SIZE, -SIZE] + CORNER)
    geopandas.GeoDataFrame({"key": range(len(placed))}, geometry=placed, crs=CRS).to_parquet(folder / ZONES)


def drawn_zones(n: int, side: int, reach: float) -> list[Any]:
    """Polygons in pixels."""
    rng = np.random.default_rng(5)
    found = []
    while len(found) < n:
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(8, 40)))
        radii = reach * rng.uniform(0.4, 1.6, len(angles))
        middle = rng.uniform(0, side, 2)
        polygon = shapely.Polygon(np.column_stack([np.cos(angles), np.sin(angles)]) * radii[:, None] + middle)
        found += [polygon] if polygon.is_valid else []
    return found


def ours(folder: Path) -> int:
    """The table by Tilewright."""
    table = zone_statistics(str(folder), folder / ZONES)
    write_as(table, folder.parent / "ours.parquet")
    return table.columns.num_rows


def hand(folder: Path) -> int:
    """The table that a person makes by hand."""
    from exactextract import exact_extract

    zones = geopandas.read_parquet(folder / ZONES)
    shares = exact_extract(str(folder / "class.tif"), zones, ["frac", "unique"], output="pandas")
    wanted = ["mean", "stdev", "min", "max", "median", "sum"]
    figures = exact_extract(str(folder / "height.tif"), zones, wanted, output="pandas")
    figures.join(shares.drop(columns=["frac", "unique"])).to_parquet(folder.parent / "hand.parquet")
    return len(figures)


def measured(way: str, folder: Path) -> None:
    """Run one way in this process and print its line."""
    began, cpu = time.monotonic(), time.process_time()
    n_rows = {"ours": ours, "hand": hand}[way](folder)
    print(
        json.dumps(
            {
                "way": way,
                "zones": n_rows,
                "seconds": round(time.monotonic() - began, 2),
                "cpu_seconds": round(time.process_time() - cpu, 2),
                "peak_mb": round(peak_memory() / 1e6),
            }
        ),
        flush=True,
    )


def main() -> None:
    """Print one line per way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=32768)
    parser.add_argument("--zones", type=int, default=4000)
    parser.add_argument("--reach", type=float, default=60.0)
    parser.add_argument("--ways", nargs="+", default=["ours", "hand"])
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--measure", nargs=2)
    asked = parser.parse_args()
    if asked.measure:
        measured(asked.measure[0], Path(asked.measure[1]))
        return
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "product"
        folder.mkdir()
        make(folder, asked.side, asked.zones, asked.reach, large=asked.large)
        for way in asked.ways:
            command = [sys.executable, "-m", "tests.benchmarks.zones", "--measure", way, str(folder)]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
