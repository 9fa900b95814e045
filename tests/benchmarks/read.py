"""How fast scenes are read, against the least that decoding costs and against the engines as they come.

    python tests/benchmarks/read.py [--size 2048] [--dates 6] [--threads 2]

Makes simulated granules in a temporary folder, then reads the same pixels seven ways, all in this run: one rasterio
loop (the floor), Tilewright as a run's blocks do, as a lazy cube and on either engine, odc-stac and stackstac plain.
The read factor is pixels decoded over pixels of the file blocks needed; seconds are the best of three.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dask
import numpy as np
import odc.stac
import pystac
import rasterio
import stackstac
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

from tests.support.scenes import asset_of, scene_of, write_raster
from tilewright.catalogs.passes import group_passes
from tilewright.catalogs.scene import Scene
from tilewright.tasks.cube.load import load_cube
from tilewright.tasks.cube.read_pass import FileReads, PassRequest, read_pass
from tilewright.tasks.cube.scene_band import BandRequest
from tilewright.tasks.read.access import Access
from tilewright.tasks.read.counters import ReadStats
from tilewright.tasks.read.reader import close_files

BANDS = ("blue", "red", "nir")
BLOCK = 512
LEFT, TOP = 400_000.0, 5_400_000.0


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--dates", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    wish = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scenes = make_granules(Path(folder), wish.size, wish.dates)
        items = [item_of(scene) for scene in scenes]
        dask.config.set(scheduler="threads", num_workers=wish.threads)
        aligned = GeoBox((wish.size, wish.size), Affine(10, 0, LEFT, 0, -10, TOP), "EPSG:32633")
        union = GeoBox((wish.size, wish.size * 3 // 2), Affine(10, 0, LEFT, 0, -10, TOP), "EPSG:32633")
        west = [number for number, scene in enumerate(scenes) if scene.id.startswith("west")]
        one = [scenes[number] for number in west], [items[number] for number in west]
        compare("aligned grid, one granule", *one, aligned)
        compare("union grid, two granules that overlap by half", scenes, items, union)
        laea = GeoBox.from_bbox(tuple(aligned.to_crs("EPSG:3035").boundingbox), "EPSG:3035", resolution=10)
        compare("warped to EPSG:3035, bilinear, one date", one[0][:1], one[1][:1], laea)
        blocks(one[0], wish.size)


def make_granules(folder: Path, size: int, n_dates: int) -> list[Scene]:
    """Per date a western and an eastern granule that overlap by half, three bands each, smooth ground with noise."""
    random = np.random.default_rng(1)
    ground = np.add.outer(np.linspace(500, 3000, size), np.linspace(0, 2000, size))
    scenes = []
    for date in range(n_dates):
        for name, left in (("west", LEFT), ("east", LEFT + size * 5)):
            assets = []
            for band in BANDS:
                values = (ground + random.normal(0, 60, ground.shape)).clip(1).astype(np.uint16)
                path = write_raster(folder / f"{name}{date}{band}.tif", values, left=left, block=BLOCK)
                assets.append(asset_of(path, band, scale=1e-4))
            scenes.append(scene_of(*assets, day=f"2023-06-{date + 1:02}", name=f"{name}{date}"))
    return scenes


def item_of(scene: Scene) -> pystac.Item:
    """The scene as the item another engine takes."""
    first = scene.assets[0]
    shared = {"proj:epsg": 32633, "proj:shape": list(first.shape or ()), "proj:transform": list(first.transform or ())}
    item = pystac.Item(scene.id, scene.geometry or None, list(scene.bbox), scene.datetime, dict(shared))
    item.stac_extensions.append("https://stac-extensions.github.io/projection/v1.1.0/schema.json")
    for asset in scene.assets:
        bands = [{"data_type": "uint16", "nodata": 0}]
        item.add_asset(
            asset.band, pystac.Asset(asset.href, media_type="image/tiff", extra_fields={"raster:bands": bands})
        )
    return item


def compare(title: str, scenes: Sequence[Scene], items: Sequence[pystac.Item], geobox: GeoBox) -> None:
    """One table: seconds of each way to read the scenes on the geobox."""
    stats = ReadStats()
    bounds, box = tuple(geobox.boundingbox), {"epsg": geobox.crs.to_epsg(), "resolution": 10}
    resampling = {"odc": "bilinear", "stackstac": rasterio.enums.Resampling.bilinear}
    ways: dict[str, Callable[[], object]] = {
        "rasterio, sequential decode": lambda: [decode(asset.href) for scene in scenes for asset in scene.assets],
        "tilewright": lambda: read_stack(scenes, geobox),
        "tilewright, as a lazy cube": lambda: load_cube(scenes, geobox, BANDS).compute(),
        "tilewright on odc": lambda: load_cube(scenes, geobox, BANDS, engine="odc").compute(),
        "tilewright on stackstac": lambda: load_cube(scenes, geobox, BANDS, engine="stackstac").compute(),
        "odc-stac, plain": lambda: odc.stac.load(
            items, bands=BANDS, geobox=geobox, chunks={}, groupby="solar_day", resampling=resampling["odc"]
        ).compute(),
        "odc-stac, to reflectance": lambda: as_reflectance(
            odc.stac.load(
                items, bands=BANDS, geobox=geobox, chunks={}, groupby="solar_day", resampling=resampling["odc"]
            )
        ).compute(),
        "stackstac, plain": lambda: stackstac.stack(
            [item.to_dict() for item in items],
            assets=list(BANDS),
            bounds=bounds,
            resampling=resampling["stackstac"],
            chunksize=max(geobox.shape),
            dtype="uint16",
            fill_value=np.uint16(0),
            rescale=False,
            **box,
        ).compute(),
    }
    print(f"\n{title}: {len(scenes)} scenes x {len(BANDS)} bands on {geobox.shape[0]} x {geobox.shape[1]} px")
    seconds = {name: best_of_three(way) for name, way in ways.items()}
    close_files()
    load_cube(scenes, geobox, BANDS, access=Access(stats=stats)).compute()
    ours = seconds["tilewright"]
    for name, (wall, busy) in seconds.items():
        shares = f"{ours[0] / wall:5.2f} of its time, {ours[1] / busy:5.2f} of its processor time"
        print(f"  {name:30s} {wall:7.2f} s {busy:7.2f} cpu-s   Tilewright takes {shares}")
    print(f"  read factor {stats.read_factor:.3f}, {stats.needed_pixels / 1e6:.0f} Mpx needed")


def read_stack(scenes: Sequence[Scene], geobox: GeoBox, access: Access | None = None) -> np.ndarray:
    """The passes of scenes (band, pass, y, x) as a run's blocks read them."""
    request = PassRequest(
        bands=tuple(BandRequest(band=band, unit="reflectance", resampling="bilinear") for band in BANDS)
    )
    passes, reads = group_passes(scenes), FileReads(geobox, access or Access())
    stack = np.empty((len(BANDS), len(passes), *geobox.shape.yx), dtype=np.float32)
    with ThreadPoolExecutor(dask.config.get("num_workers", 2)) as pool:
        made = [
            pool.submit(read_pass, one.scenes, reads, request, out=stack[:, number], threads=2 // len(passes) or 1)
            for number, one in enumerate(passes)
        ]
        for each in made:
            each.result()
    return stack


def blocks(scenes: Sequence[Scene], size: int) -> None:
    """The read factor of an area cut into blocks with a halo, one after another, read as a run reads them."""
    print("\nthe same granule in blocks with a halo of 32 px, one after another")
    for block in (size // 4, size // 2):
        stats = ReadStats()
        close_files()
        started = time.perf_counter()
        for row in range(0, size, block):
            for col in range(0, size, block):
                side, left, top = block + 64, LEFT + (col - 32) * 10, TOP - (row - 32) * 10
                geobox = GeoBox((side, side), Affine(10, 0, left, 0, -10, top), "EPSG:32633")
                read_stack(scenes, geobox, Access(stats=stats))
        print(f"  block {block:5d}: {time.perf_counter() - started:6.2f} s, read factor {stats.read_factor:.3f}")


def as_reflectance(dn: xr.Dataset) -> xr.Dataset:
    """What Tilewright's cube holds: float32 reflectance, NaN for nodata."""
    return dn.where(dn != 0).astype("float32") * np.float32(1e-4)


def decode(href: str) -> np.ndarray:
    """A file decoded at once."""
    with rasterio.open(href) as source:
        return source.read(1)


def best_of_three(way: Callable[[], object]) -> tuple[float, float]:
    """(seconds, processor seconds), each of the best of three calls; files are closed before."""
    taken = []
    for _ in range(3):
        close_files()
        started = time.perf_counter(), time.process_time()
        way()
        taken.append((time.perf_counter() - started[0], time.process_time() - started[1]))
    return min(wall for wall, _ in taken), min(busy for _, busy in taken)


if __name__ == "__main__":
    main()
