"""How fast products are written, against GDAL alone on the same pixels, and in how much memory.

    python tests/benchmarks/write.py [--sizes 4096 8192 16384 32768] [--run 2048]

Each size is written in a process of its own, block by block as a run does: the store with checksums and ledger
entries, its pyramid, the COG from the store; then by GDAL alone, a tiled GeoTIFF and a COG from it. Seconds are of this
run, memory is the peak of the process less what it took before the first pixel. The ledger's and store's share is of
the CPU seconds of a whole job of that side. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.windows import Window

from tests.support.graphs import unet
from tests.support.worlds import World, area, bounds, write_card
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.cog.spec import CogClass, CogSpec
from tilewright.tasks.cog.write import ENCODINGS, write_cog
from tilewright.tasks.grid.grid import Grid
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.storage.ledger import BlockEntry, read_entries, write_entry
from tilewright.tasks.storage.storage import open_storage
from tilewright.tasks.zarr.declare import StoredLayer, declare_store
from tilewright.tasks.zarr.pyramid import write_pyramid
from tilewright.tasks.zarr.store import array_sha256, open_store

BLOCK = 1024
CRS = "EPSG:32633"
CLASSES = tuple(CogClass(value=value, name=f"kind{value}") for value in range(6))
SPEC = CogSpec(name="class", dtype="uint8", nodata=255, kind="class", classes=CLASSES)
RANDOM = np.random.default_rng(1)
FIELD = np.kron(RANDOM.integers(0, 6, (128, 128)), np.ones((8, 8))).astype(np.uint8)
SPECKLE = (RANDOM.random((BLOCK, BLOCK)) < 0.03).astype(np.uint8)


def main() -> None:
    """Print the line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, nargs="+", default=[4096, 8192, 16384, 32768])
    parser.add_argument("--run", type=int, default=2048)
    parser.add_argument("--one", choices=("ours", "gdal"))
    wish = parser.parse_args()
    if wish.one:
        print(json.dumps(one(wish.one, wish.sizes[0])))
        return
    sizes = {size: {who: apart(who, size) for who in ("ours", "gdal")} for size in wish.sizes}
    print(json.dumps({"block": BLOCK, "sizes": sizes, "share_of_a_run": share_of_a_run(wish.run)}))


def apart(who: str, size: int) -> dict[str, float]:
    """One size in a process of its own."""
    words = [sys.executable, "-m", "tests.benchmarks.write", "--one", who, "--sizes", str(size)]
    answer = subprocess.run(words, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    found: dict[str, float] = json.loads(answer.stdout)
    return found


def one(who: str, size: int) -> dict[str, float]:
    """Seconds per step and the peak of memory above the start, in MB."""
    before = peak_mb()
    with tempfile.TemporaryDirectory() as folder:
        found = (ours if who == "ours" else gdal)(Path(folder), size)
    return {**{name: round(seconds, 2) for name, seconds in found.items()}, "peak_mb": round(peak_mb() - before)}


def pixels(row: int, col: int) -> np.ndarray:
    """The block (BLOCK, BLOCK) at that place: fields of 80 m with some noise, another cut for every block."""
    return np.roll(FIELD, (131 * row, 57 * col), axis=(0, 1)) ^ np.roll(SPECKLE, 17 * row + 5 * col, axis=1)


def ours(folder: Path, size: int) -> dict[str, float]:
    """Store, pyramid and COG as a run makes them."""
    box = PixelBox(row_start=0, row_stop=size, col_start=0, col_stop=size)
    grid = Grid(crs=CRS, resolution=10, extent=box)
    storage = open_storage(str(folder), create=True)
    declare_store(
        storage,
        grid=grid,
        box=box,
        block=BLOCK,
        layers=[StoredLayer(name="class", dtype="uint8", nodata=255)],
        attributes={},
    )
    store = open_store(storage, box=box, extent=box, block=BLOCK)
    clock = Clock()
    for row in range(size // BLOCK):
        for col in range(size // BLOCK):
            block = pixels(row, col)
            clock.leave_out()
            inner = PixelBox(
                row_start=row * BLOCK, row_stop=(row + 1) * BLOCK, col_start=col * BLOCK, col_stop=(col + 1) * BLOCK
            )
            store.write_block(inner, {"class": block})
            write_entry(
                storage, BlockEntry(row=row, col=col, key="k", written=True, checksums={"class": array_sha256(block)})
            )
            clock.count("store")
    write_pyramid(store, grid=grid, kinds={"class": "class"}, threads=2)
    clock.count("pyramid")

    def rows(start: int, stop: int) -> np.ndarray:
        return store.read_box("class", PixelBox(row_start=start, row_stop=stop, col_start=0, col_stop=size))

    write_cog(
        folder / "class.tif",
        rows=rows,
        shape=(size, size),
        transform=grid.transform_of(box),
        crs=CRS,
        spec=SPEC,
        threads=2,
    )
    clock.count("cog")
    return clock.seconds


def gdal(folder: Path, size: int) -> dict[str, float]:
    """A tiled GeoTIFF of the same pixels at the same compression, and a COG from it, checked by nobody."""
    clock = Clock()
    tiles = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "ZSTD", "zstd_level": 1}
    profile = {
        "driver": "GTiff",
        "count": 1,
        "dtype": "uint8",
        "nodata": 255,
        "crs": CRS,
        "BIGTIFF": "IF_SAFER",
        **tiles,
    }
    with rasterio.Env(GDAL_CACHEMAX=128 * 2**20):
        with rasterio.open(folder / "plain.tif", "w", width=size, height=size, **profile) as target:
            for row in range(size // BLOCK):
                for col in range(size // BLOCK):
                    block = pixels(row, col)
                    clock.leave_out()
                    target.write(block, 1, window=Window(col * BLOCK, row * BLOCK, BLOCK, BLOCK))
                    clock.count("store")
        clock.count("store")
        how = {
            "BLOCKSIZE": 512,
            "BIGTIFF": "IF_SAFER",
            "NUM_THREADS": 2,
            "OVERVIEW_RESAMPLING": "MODE",
            **ENCODINGS["class"],
        }
        rasterio.shutil.copy(folder / "plain.tif", folder / "cog.tif", driver="COG", **how)
    clock.count("cog")
    return clock.seconds


class Clock:
    """Seconds by name since the last look at it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.last = time.perf_counter()

    def leave_out(self) -> None:
        """Forget the time since the last look."""
        self.last = time.perf_counter()

    def count(self, name: str) -> None:
        """Add the time since the last look to a name."""
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self.last
        self.last = now


def peak_mb() -> float:
    """The process's peak resident memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def share_of_a_run(size: int) -> float:
    """Seconds of writing (shards, checksums, ledger) over the CPU seconds of a whole job with a small U-Net."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder) / "scenes")
        for band in ("blue", "green", "red", "nir"):
            world.add(
                np.random.default_rng(2).random((size, size), dtype=np.float32), band, scene="one", unit="reflectance"
            )
        bands = {"name": "x", "bands": ("blue", "green", "red", "nir")}
        head = {
            "name": "y",
            "classes": ("a", "b", "c"),
            "tw:activation": "softmax",
            "tw:layers": ["class", "confidence"],
        }
        card = write_card(
            Path(folder) / "card", unet(depth=3, width=16), inputs=[bands], outputs=[head], tile={"step": 512}
        )
        from tilewright.flows.job.job import make_job

        job = make_job(
            {
                "name": "share",
                "area": area((0, size), (0, size)),
                "grid": {"crs": CRS, "bounds": bounds((0, size), (0, size))},
                "period": "2023-06-01/2023-06-30",
                "source": world.source,
                "model": str(card),
            },
            base=Path(folder),
            output=str(Path(folder) / "out"),
        )
        began = time.process_time()
        outcome = run_job(job, RunOptions(workers=2))
        busy = time.process_time() - began
        blocks = read_entries(open_storage(outcome.output)).values()
    # Blocks are written while others are inferred: all but the least disturbed one waited for a core as well.
    return round(len(blocks) * min(entry.seconds["write"] for entry in blocks if entry.written) / busy, 4)


if __name__ == "__main__":
    main()
