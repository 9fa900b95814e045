"""Search for the vectors most alike, against numpy that holds all of them in memory.

`python -m tests.benchmarks.find [--number 1000000] [--length 256] [--times 5] [--keep FOLDER]` prints one JSON line:
seconds and bytes of the table and of the index, milliseconds of a query of ours (all vectors read and compared; by the
index) and of numpy's product over one array in memory, their ratios, and the recall. Vectors lie around some thousands
of centres, as those of ground do.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import shapely
import zarr

from tilewright.flows.maintain.find import find_alike
from tilewright.tasks.cog.write import file_multihash
from tilewright.tasks.embeddings.window_table import window_squares
from tilewright.tasks.tables.geoparquet import Rows, hilbert_places, write_geoparquet

CRS, SIZE, TOP, LEFT = "EPSG:32633", 320.0, -17_000, 1_300

CENTRES, SPREAD, SQUARE = 4000, 0.35, 128

K = 10


def write_product(folder: Path, number: int, length: int) -> None:
    """A finished product of about so many windows, without a run."""
    side = round(number**0.5)
    random = np.random.default_rng(1)
    centres = random.normal(size=(CENTRES, length)).astype(np.float32)
    group = zarr.open_group(folder / "data.zarr", mode="w")
    array = group.create_array(
        "ground", shape=(side, side, length), dtype="float16", chunks=(64, 64, length), shards=(512, 512, length),
        fill_value=np.nan,
    )  # fmt: skip
    for row in range(0, side, 512):
        rows = min(512, side - row)
        kind = random.integers(0, CENTRES, (rows, side))
        noise = random.normal(scale=SPREAD, size=(rows, side, length)).astype(np.float32)
        array[row : row + rows] = (centres[kind] + noise).astype(np.float16)
    edge = LEFT * SIZE, -(TOP + side) * SIZE, (LEFT + side) * SIZE, -TOP * SIZE
    write_geoparquet(
        folder / "ground.parquet", _rows(array, side, length), crs=CRS, kinds=("Polygon",), bounds=np.array(edge),
        columns={"id": "int64", "vector": pa.list_(pa.float16(), length)}, plain=["vector"],
    )  # fmt: skip
    table = {
        "href": "./ground.parquet", "type": "application/vnd.apache.parquet",
        "file:checksum": file_multihash(folder / "ground.parquet"),
    }  # fmt: skip
    assets = {"data": {"href": "./data.zarr"}, "plan": {"href": "./.tilewright/plan.json"}, "ground": table}
    item = {
        "type": "Feature", "stac_version": "1.1.0", "id": "made", "properties": {"processing:expression": {}},
        "geometry": {"type": "Point", "coordinates": [0, 0]}, "bbox": [0, 0, 0, 0], "links": [], "assets": assets,
    }  # fmt: skip
    (folder / "item.json").write_text(json.dumps(item))
    told = {"name": "ground", "of": "windows", "dimensions": length, "storage": "float16", "metric": "cosine"}
    grid = {"crs": CRS, "resolution": SIZE, "shape": [side, side], "bounds": list(edge)}
    (folder / "report.json").write_text(json.dumps({"grid": grid, "layers": [], "embeddings": [told], "key": "made"}))


def _rows(array: zarr.Array, side: int, length: int):
    done = 0
    for row in range(0, side, SQUARE):
        for col in range(0, side, SQUARE):
            part = np.asarray(array[row : row + SQUARE, col : col + SQUARE])
            rows, cols = (each.reshape(-1) for each in np.indices(part.shape[:2]))
            order = np.argsort(hilbert_places(cols + col + LEFT, rows + row + TOP))
            rows, cols = rows[order], cols[order]
            shapes = window_squares(SIZE, rows + row + TOP, cols + col + LEFT)
            flat = pa.array(np.ascontiguousarray(part[rows, cols]).reshape(-1))
            columns = {
                "id": np.arange(done + 1, done + len(rows) + 1),
                "vector": pa.FixedSizeListArray.from_arrays(flat, length),
            }
            done += len(rows)
            yield Rows(geometry=shapely.to_wkb(shapes, byte_order=1), bounds=shapely.bounds(shapes), columns=columns)


def in_memory(folder: Path, times: int) -> tuple[list[float], list[np.ndarray], list[list[tuple[float, float]]]]:
    """Milliseconds of numpy's queries once all unit vectors are an array, the queries, and the places found."""
    array = np.asarray(zarr.open_group(folder / "data.zarr", mode="r")["ground"])
    side, length = array.shape[0], array.shape[2]
    vectors = array.reshape(-1, length).astype(np.float32)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = vectors[np.random.default_rng(7).integers(0, len(vectors), times)].copy()
    took, found = [], []
    for query in queries:
        began = time.perf_counter()
        scores = units @ (query / np.linalg.norm(query))
        best = np.argpartition(scores, -K)[-K:]
        took.append(1000 * (time.perf_counter() - began))
        found.append([(int(each) // side, int(each) % side) for each in best])
    return took, list(queries), found


def ours(folder: Path, queries: list[np.ndarray], index: Path | None) -> tuple[list[float], list[set[tuple[int, int]]]]:
    """Milliseconds of our queries, and the places found."""
    took, found = [], []
    for query in queries:
        began = time.perf_counter()
        best = find_alike(str(folder), vector=query, k=K, index=index)
        took.append(1000 * (time.perf_counter() - began))
        left, _, _, top = shapely.bounds(best.table.geometries).T
        found.append({*zip((-top / SIZE - TOP).round().astype(int).tolist(),
                           (left / SIZE - LEFT).round().astype(int).tolist(), strict=True)})  # fmt: skip
    return took, found


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--number", type=int, default=1_000_000)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--keep", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = asked.keep or Path(made)
        if not (folder / "report.json").exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_product(folder, asked.number, asked.length)
        exact, compared = None, None
        index = folder.with_name(folder.name + ".index")
        index.unlink(missing_ok=True)
        query = np.ones(asked.length)
        began = time.perf_counter()
        nearly = find_alike(str(folder), vector=query, index=index)
        build = time.perf_counter() - began
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        plain, queries, wanted = in_memory(folder, asked.times)
        exact, compared = ours(folder, queries, None)
        fast, near = ours(folder, queries, index)
        shares = [len({*places} & found) / K for places, found in zip(wanted, near, strict=True)]
        same = sum({*places} == found for places, found in zip(wanted, compared, strict=True))
        figures = {
            name: statistics.median(each) for name, each in (("numpy", plain), ("exact", exact), ("index", fast))
        }
        print(
            json.dumps(
                {
                    "vectors": round(asked.number**0.5) ** 2,
                    "length": asked.length,
                    "table_bytes": (folder / "ground.parquet").stat().st_size,
                    "index_bytes": index.stat().st_size,
                    "index_seconds": round(build, 1),
                    "index_peak_mb": round(before / 1024),
                    "recall_said": nearly.recall,
                    "recall_of_these": statistics.mean(shares),
                    "exact_equal": f"{same} of {asked.times}",
                    **{f"{name}_ms": round(each, 1) for name, each in figures.items()},
                    "exact_to_numpy": round(figures["exact"] / figures["numpy"], 2),
                    "index_to_numpy": round(figures["index"] / figures["numpy"], 3),
                }
            )
        )


if __name__ == "__main__":
    main()
