"""How costs grow with a product's size: reading and removing its ledger, and areas of many parts.

`python -m tests.benchmarks.growth FOLDER [--sizes 1000 4000 16000]` prints one JSON line per kind of work: CPU seconds
at each size and the exponent, the slope of log seconds over log size: 1 is a cost that grows with the work alone.
The ledger is also read from a bucket of a server on this machine that answers after 20 ms, at the smallest size: one
after the other its entries would take 20 ms each, many at once take what the server does.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from tests.support.chaos.places import BUCKET, KEYS, bucket_behind_faults, s3_server
from tilewright.flows.job.areas.outline import Outline, joined
from tilewright.tasks.grid.area_mask import area_mask
from tilewright.tasks.grid.areas import covered_share
from tilewright.tasks.grid.blocks import plan_blocks
from tilewright.tasks.grid.cells import PreparedArea, parts_with_pixels
from tilewright.tasks.grid.grid import Grid
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.inventory.record import FIXED_FILES, ProductRecord, remove_recorded
from tilewright.tasks.storage.ledger import ENTRIES, BlockEntry, read_entries, remove_entries, write_entry
from tilewright.tasks.storage.storage import Storage, json_bytes, open_storage

if TYPE_CHECKING:
    from collections.abc import Callable

    from shapely.geometry.base import BaseGeometry

ENTRY = BlockEntry(
    row=0,
    col=0,
    key="a" * 64,
    written=True,
    checksums={"class": "b" * 64, "confidence": "c" * 64, "observations": "d" * 64},
    windows_run=64,
    observed={"optical": ((1_000_000, 10_000_000),)},
    seconds={"read": 1.5, "infer": 0.4, "write": 0.1},
    scenes=tuple(f"S2A_32UAB_202101{day:02}_0_L2A" for day in range(1, 25)),
)
LATENCY = 0.02
"""Seconds before the bucket's server is asked."""

WIDE = 300
"""Blocks of a row."""


def build_ledger(folder: Path, n_blocks: int) -> Storage:
    """A product's ledger of so many entries."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / ENTRIES).mkdir(parents=True)
    for entry in entries(n_blocks):
        (folder / ENTRIES / f"{entry.name}.json").write_bytes(json_bytes(entry.to_json()))
    return open_storage(str(folder))


def entries(n_blocks: int) -> list[BlockEntry]:
    """So many different entries."""
    return [replace(ENTRY, row=number // WIDE, col=number % WIDE) for number in range(n_blocks)]


def area_of(n_parts: int) -> BaseGeometry:
    """Square fields of 100 m on a lattice of 250 m, in metres."""
    side = math.isqrt(n_parts)
    xs, ys = (axis.ravel() * 250.0 for axis in np.meshgrid(np.arange(side), np.arange(side)))
    return shapely.multipolygons(shapely.box(400_000 + xs, 5_000_000 + ys, 400_100 + xs, 5_000_100 + ys))


def works(folder: Path, size: int) -> dict[str, Callable[[], object]]:
    """The works of a size by name, each prepared."""
    storage = build_ledger(folder / "ledger", size)
    area = area_of(size)
    minx, miny, maxx, maxy = (round(each / 10) for each in area.bounds)
    extent = PixelBox(row_start=-maxy, row_stop=-miny, col_start=minx, col_stop=maxx)
    grid = Grid(crs="EPSG:32633", resolution=10.0, extent=extent)
    degrees = shapely.transform(area, lambda places: places / [100_000, 100_000] + [5, -5])
    squares = [shapely.box(x, y, x + 1.1, y + 1.1) for x in range(5, 12) for y in range(40, 48)] * 20
    record = ProductRecord(files=frozenset(FIXED_FILES), layers=frozenset({"class"}))
    corner = PixelBox.at(extent.row_start, extent.col_start, shape=(1024, 1024))
    return {
        "ledger_read": lambda: read_entries(storage),
        "ledger_list": lambda: list(storage.keys(ENTRIES)),
        "area_join": lambda: joined([Outline(geometry=degrees)]),
        "area_blocks": lambda: plan_blocks(grid, block=128, halo=0, area=area),
        "area_parts": lambda: parts_with_pixels(grid, area),
        "area_share": lambda: covered_share(degrees, squares),
        "area_mask_of_one_block": lambda: area_mask(grid, corner, PreparedArea(area)),
        "clean": lambda: remove_recorded(storage, record, list(storage.keys(ENTRIES))),
    }


def slope(sizes: list[int], seconds: list[float]) -> float:
    """The exponent with which seconds grow."""
    return float(np.polyfit(np.log(sizes), np.log(np.maximum(seconds, 1e-6)), 1)[0])


def in_bucket(folder: Path, n_blocks: int) -> dict[str, Any]:
    """Seconds to read and remove a ledger in a bucket of this machine whose answers take 20 ms and more."""
    with s3_server(folder / "server.log") as server, bucket_behind_faults(server, seed=0) as bucket:
        bucket.proxy.before = lambda _method, _path: time.sleep(LATENCY)
        address = bucket.proxy.url
        keys = {"access_key_id": KEYS["AWS_ACCESS_KEY_ID"], "secret_access_key": KEYS["AWS_SECRET_ACCESS_KEY"]}
        options = {**keys, "endpoint": address, "region": KEYS["AWS_REGION"]}
        storage = open_storage(f"s3://{BUCKET}/ledger", options=options)
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda entry: write_entry(storage, entry), entries(n_blocks)))
        began = time.perf_counter()
        found = read_entries(storage)
        read = time.perf_counter() - began
        remove_entries(storage, found)
        removed = time.perf_counter() - began - read
        assert len(found) == n_blocks, "an entry was lost"
        assert not list(storage.keys(ENTRIES)), "an entry is left"
    return {
        "blocks": n_blocks,
        "one_by_one_seconds": n_blocks * LATENCY,
        "read_seconds": round(read, 2),
        "remove_seconds": round(removed, 2),
    }


def main() -> None:
    """Measure and print the lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 4000, 16000])
    asked = parser.parse_args()
    folder = asked.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    seconds: dict[str, list[float]] = {}
    for size in asked.sizes:
        for name, work in works(folder, size).items():
            began = time.process_time()
            work()
            seconds.setdefault(name, []).append(time.process_time() - began)
    for name, each in seconds.items():
        answer = {"benchmark": "growth", "work": name, "sizes": asked.sizes}
        answer |= {"cpu_seconds": [round(one, 3) for one in each], "exponent": round(slope(asked.sizes, each), 2)}
        print(json.dumps(answer))
    print(json.dumps({"benchmark": "growth", "work": "bucket", **in_bucket(folder, asked.sizes[0])}))


if __name__ == "__main__":
    main()
