"""Polygons of a class layer: ours, strip by strip, against GDAL on the whole array and the usual way by tiles.

`python -m tests.benchmarks.polygons [--side 4096] [--sigma 3.8] [--ways ours gdal tiles] [--rounds 3] [--simplify 15]`
prints one JSON line per way, each run in a process of its own: rows, points, CPU seconds and peak memory, without the
making of the layer. That is patches of four classes, 70 000 at 4096 px and sigma 3.8. `gdal` is
`rasterio.features.shapes`, its rows written by geopandas; `tiles` the same per tile of 1024 px, and then dissolved
where they touch. `--equal` compares ours with GDAL's as sets. `--simplify` metres: `ours` and `gdal` do so, too, the
latter by `shapely.coverage_simplify`, which goes by the areas of triangles, so that its points are others.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyarrow.parquet as pq
import rasterio.features
import shapely
from affine import Affine
from scipy import ndimage

from tilewright.flows.machine import peak_memory
from tilewright.tasks.grid.grid import Grid
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.vector.layer_polygons import STRIP_PIXELS
from tilewright.tasks.vector.polygon_table import PolygonTable
from tilewright.tasks.vector.shapes import ShapeStream
from tilewright.tasks.vector.vertices import Vertices

CRS, SIZE, ROW, COL = "EPSG:32633", 10.0, -500_000, 40_000
PIECE, TILE = 2048, 1024
NAMES = {0: "water", 1: "forest", 2: "field", 3: "town"}


def strips(side: int, sigma: float, step: int | None = None) -> Iterator[np.ndarray]:
    """Rows of the layer, `step` of them at a time or as many as `ensure_polygons` takes: squares of PIECE pixels of
    patches side by side, four different ones.
    """
    made = []
    for seed in range(4):
        noise = np.random.default_rng(seed).random((PIECE, PIECE), dtype=np.float32)
        smooth = ndimage.gaussian_filter(noise, sigma, mode="wrap")
        made.append(np.digitize(smooth, np.quantile(smooth, [0.25, 0.5, 0.75])).astype(np.uint8))
    del noise, smooth
    n, step = -(-side // PIECE), step or max(1, STRIP_PIXELS // side)
    for row in range(n):
        several = [made[(row * 3 + col) % 4] for col in range(n)]
        for start in range(0, min(PIECE, side - row * PIECE), step):
            stop = min(start + step, PIECE, side - row * PIECE)
            yield np.concatenate([each[start:stop] for each in several], axis=1)[:, :side]


def ours(side: int, sigma: float, path: Path, simplify: float, *, width: int | None = None) -> int:
    """The table by Tilewright, of so many columns of the layer, or all."""
    width = width or side
    grid = Grid(crs=CRS, resolution=SIZE, extent=PixelBox.at(ROW, COL, shape=(side, width)))
    vertices = Vertices(path.parent, row=ROW, col=COL, width=width + 1) if simplify else None
    stream = ShapeStream(row=ROW, col=COL, width=width, vertices=vertices)
    with PolygonTable(path.parent, grid=grid, names=NAMES, simplify=simplify, vertices=vertices) as table:
        for given in strips(side, sigma):
            cut = given[:, :width]
            values = cut.astype(np.int32) if simplify else cut
            edge = np.zeros(values.shape, dtype=bool)
            for some in stream.take(values, np.ones(values.shape, dtype=bool), edge=edge):
                table.add(some)
                del some
        for some in stream.end():
            table.add(some)
        return table.write(path)


def shapes_of(values: np.ndarray, transform: Affine) -> geopandas.GeoDataFrame:
    """GDAL's polygons of an array."""
    found = rasterio.features.shapes(values, transform=transform)
    geometries, kinds = zip(*((shapely.geometry.shape(plain), int(value)) for plain, value in found), strict=True)
    return geopandas.GeoDataFrame({"value": kinds}, geometry=list(geometries), crs=CRS)


def gdal(side: int, sigma: float, path: Path, simplify: float) -> int:
    """The table by GDAL from the whole array."""
    whole = np.concatenate(list(strips(side, sigma, PIECE)))
    frame = shapes_of(whole, _transform(0, 0))
    frame = frame.assign(area_m2=frame.area, perimeter_m=frame.length)
    if simplify:
        frame.geometry = shapely.coverage_simplify(frame.geometry.to_numpy(), simplify)
    frame.to_parquet(path)
    return len(frame)


def tiles(side: int, sigma: float, path: Path, simplify: float) -> int:
    """The usual way: shapes per tile, then those of one class that touch are dissolved."""
    assert not simplify, "tiles are not simplified: their seams would open"
    whole = np.concatenate(list(strips(side, sigma, PIECE)))
    frames = [
        shapes_of(np.ascontiguousarray(whole[row : row + TILE, col : col + TILE]), _transform(row, col))
        for row in range(0, side, TILE)
        for col in range(0, side, TILE)
    ]
    frame = geopandas.pd.concat(frames, ignore_index=True)
    joined = frame.dissolve(by="value").explode(index_parts=False).reset_index()
    joined.assign(area_m2=joined.area, perimeter_m=joined.length).to_parquet(path)
    return len(joined)


def _transform(row: int, col: int) -> Affine:
    return Affine(SIZE, 0, (COL + col) * SIZE, 0, -SIZE, -(ROW + row) * SIZE)


WAYS = {"ours": ours, "gdal": gdal, "tiles": tiles}


def measure(way: str, side: int, sigma: float, path: Path, simplify: float) -> dict[str, Any]:
    """One run in this process: the making of the layer alone is timed first, and taken off."""
    began = time.process_time()
    for _ in strips(side, sigma):
        pass
    making, before = time.process_time() - began, peak_memory() / 1e6
    began = time.process_time()
    n_rows = WAYS[way](side, sigma, path, simplify)
    peak = peak_memory() / 1e6
    taken = time.process_time() - began - making
    n_points = sum(
        int(shapely.get_num_coordinates(shapely.from_wkb(group.column("geometry"))).sum())
        for group in pq.ParquetFile(path).iter_batches(20_000, columns=["geometry"])
    )
    return {"rows": n_rows, "points": n_points, "cpu_seconds": taken, "peak_mb": peak, "layer_mb": before}


def is_equal(one: Path, other: Path) -> bool:
    """True if two tables hold the same values and geometries, in any order and from any point."""
    sets = []
    for path in (one, other):
        frame = geopandas.read_parquet(path, columns=["value", "geometry"])
        sets.append(
            set(zip(frame.value.tolist(), shapely.to_wkb(shapely.normalize(frame.geometry.to_numpy())), strict=True))
        )
    return sets[0] == sets[1]


def main() -> None:
    """Race the ways and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--sigma", type=float, default=3.8)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--simplify", type=float, default=0.0)
    parser.add_argument("--equal", action="store_true")
    parser.add_argument("--one", type=Path, help="run the first way once, in this process, into this file")
    asked = parser.parse_args()
    if asked.one is not None:
        print(json.dumps(measure(asked.ways[0], asked.side, asked.sigma, asked.one, asked.simplify)))
        return
    with tempfile.TemporaryDirectory() as folder:
        files = {way: Path(folder) / f"{way}.parquet" for way in asked.ways}
        for way, path in files.items():
            command = [
                *(sys.executable, "-m", "tests.benchmarks.polygons", "--side", str(asked.side)),
                *("--sigma", str(asked.sigma), "--simplify", str(asked.simplify), "--ways", way, "--one", str(path)),
            ]
            runs = [
                json.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(asked.rounds)
            ]
            figures = {key: round(statistics.median(run[key] for run in runs), 2) for key in runs[0]}
            print(json.dumps({"benchmark": "polygons", "way": way, "side": asked.side, **figures}), flush=True)
        if asked.equal:
            print(json.dumps({"equal": is_equal(files["ours"], files["gdal"])}))


if __name__ == "__main__":
    main()
