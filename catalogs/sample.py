"""The embedded sample: a simulated Sentinel-1/-2 catalog with known truth, built once into a folder."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import pystac

from catalogs.errors import CatalogError
from catalogs.landscape import Landscape, build_landscape
from catalogs.sample_calendar import CHANGE_DATE, PASSES, RADAR_PASSES, Delivery, Pass, RadarPass
from catalogs.sample_catalog import NOTICE, save_catalog
from catalogs.sample_files import write_cog
from catalogs.sample_grid import DEM_FACTOR, GRANULES, NORTH, RESOLUTION, WEST, Granule
from catalogs.sample_items import (
    OPTICAL_ASSETS,
    elevation_item,
    optical_item,
    radar_id,
    radar_item,
    scene_id,
)
from catalogs.sample_optical import OpticalScene, digital_numbers, simulate_pass
from catalogs.sample_radar import RADAR_NODATA, simulate_radar
from catalogs.sample_surfaces import CHANGES, COVER_NODATA, COVERS, Cover

__all__ = [
    "CHANGE_DATE",
    "SAMPLE_AREA",
    "SAMPLE_CHANGE_AFTER",
    "SAMPLE_CHANGE_BEFORE",
    "SAMPLE_VERSION",
    "SAMPLE_WATER_PERIOD",
    "build_sample",
]

# Raise it whenever what the folder holds changes: older folders are then built anew.
SAMPLE_VERSION = "1"
# minx, miny, maxx, maxy in EPSG:4326: reservoir, clear-cuts, town and both granules lie in it.
SAMPLE_AREA = (14.948, 48.668, 15.072, 48.742)
# Periods hold both ends. The reservoir is full in the first; the other two are the same season of two years.
SAMPLE_WATER_PERIOD = "2022-06-10/2022-07-31"
SAMPLE_CHANGE_BEFORE = "2021-06-10/2021-07-31"
SAMPLE_CHANGE_AFTER = "2022-06-10/2022-07-31"
MARKER = "sample.json"
WORKERS = 2
T = TypeVar("T")
Progress = Callable[[str], None]


def build_sample(folder: Path, *, seed: int = 7, progress: Progress | None = None) -> Path:
    """Path of the catalog.json of a complete sample in the folder; one of the same version and seed is used as it is.

    The sample is built beside the folder and moved into place when complete, so that a folder holds all of it or nothing.

    Raises:
        CatalogError: the folder holds something that is not a sample.
    """
    if _marked(folder) == _mark(seed):
        return folder / "catalog.json"
    if folder.exists() and _marked(folder) is None and (not folder.is_dir() or any(folder.iterdir())):
        raise CatalogError(f"{folder} holds something that is not a sample; give an empty or a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    workplace = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _write_sample(workplace / "new", seed, progress or (lambda _: None))
        _move_into_place(workplace, folder, seed)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
    return folder / "catalog.json"


def _write_sample(folder: Path, seed: int, progress: Progress) -> None:
    """Everything the sample holds, the marker last."""
    progress("landscape: relief, river, fields, forest, towns")
    landscape = build_landscape(seed)
    with ThreadPoolExecutor(WORKERS) as pool:
        optical = [pool.submit(_write_pass, folder, landscape, one, seed, n) for n, one in enumerate(PASSES)]
        radar = [pool.submit(_write_radar, folder, landscape, one, seed, n) for n, one in enumerate(RADAR_PASSES)]
        _write_truth(folder / "truth", landscape)
        elevation = _write_elevation(folder, landscape)
        scenes = [item for job in _reported(optical, "Sentinel-2 pass", progress) for item in job.result()]
        radar_scenes = [job.result() for job in _reported(radar, "Sentinel-1 pass", progress)]
    progress("catalog")
    save_catalog(folder, {"sentinel-2-l2a": scenes, "sentinel-1-rtc": radar_scenes, "cop-dem-glo-30": [elevation]})
    (folder / MARKER).write_text(json.dumps(_mark(seed), indent=2) + "\n")


def _write_pass(folder: Path, landscape: Landscape, flight: Pass, seed: int, number: int) -> list[pystac.Item]:
    """The Items of one pass of Sentinel-2, its files written."""
    scene = simulate_pass(landscape, flight, seed=seed, number=number)
    wanted = [
        (delivery, granule)
        for delivery in flight.deliveries
        for granule in GRANULES
        if not delivery.granules or granule.name in delivery.granules
    ]
    return [_write_scene(folder, scene, flight, delivery, granule) for delivery, granule in wanted]


def _write_scene(folder: Path, scene: OpticalScene, flight: Pass, delivery: Delivery, granule: Granule) -> pystac.Item:
    """The Item of one delivered granule, its files written."""
    place = folder / "sentinel-2-l2a" / scene_id(flight, delivery, granule)
    place.mkdir(parents=True)
    rows = granule.columns(20)
    scl = np.where(scene.seen, scene.scl, 0).astype(np.uint8)[:, rows]
    for key, (band, _, resolution, _, _) in OPTICAL_ASSETS.items():
        columns = granule.columns(resolution)
        seen = scene.seen if resolution == 20 else np.repeat(np.repeat(scene.seen, 2, axis=0), 2, axis=1)
        raster = (
            scl
            if key == "scl"
            else digital_numbers(scene.bands[key][:, columns], seen[:, columns], offset=delivery.offset_in_dn)
        )
        write_cog(
            place / f"{band}.tif",
            raster,
            west=granule.west,
            north=NORTH,
            resolution=resolution,
            nodata=0,
            categorical=key == "scl",
        )
    return optical_item(flight, delivery, granule, place, scl)


def _write_radar(folder: Path, landscape: Landscape, flight: RadarPass, seed: int, number: int) -> pystac.Item:
    """The Item of one pass of Sentinel-1, its files written."""
    place = folder / "sentinel-1-rtc" / radar_id(flight)
    place.mkdir(parents=True)
    for key, power in simulate_radar(landscape, flight, seed=seed, number=number).items():
        path = place / f"{key}.rtc.tiff"
        write_cog(path, power, west=WEST, north=NORTH, resolution=RESOLUTION, nodata=RADAR_NODATA)
    return radar_item(flight, place)


def _write_elevation(folder: Path, landscape: Landscape) -> pystac.Item:
    """The Item of the elevation model, its file written: the relief before the reservoir, mean of 3 x 3 pixels."""
    fine = landscape.terrain.elevation
    rows, columns = (size // DEM_FACTOR for size in fine.shape)
    coarse = fine.reshape(rows, DEM_FACTOR, columns, DEM_FACTOR).mean(axis=(1, 3)).round(2)
    place = folder / "cop-dem-glo-30" / "Copernicus_DSM_COG_10_N48_00_E014_00_DEM"
    place.mkdir(parents=True)
    write_cog(place / "elevation.tif", coarse, west=WEST, north=NORTH, resolution=RESOLUTION * DEM_FACTOR, nodata=None)
    return elevation_item(place)


def _write_truth(folder: Path, landscape: Landscape) -> None:
    """The truth rasters (y, x) uint8 on the union grid at 10 m, and the table of their classes."""
    folder.mkdir(parents=True)
    for name, raster, classes in (
        ("landcover_start", landscape.cover(end=False), COVERS),
        ("landcover_end", landscape.cover(end=True), COVERS),
        ("change", landscape.change(), CHANGES),
    ):
        write_cog(
            folder / f"{name}.tif",
            raster,
            west=WEST,
            north=NORTH,
            resolution=RESOLUTION,
            nodata=COVER_NODATA,
            categorical=True,
            colors={one.value: _rgba(one) for one in classes},
        )
    table = {
        "description": f"Classes of the truth rasters. {NOTICE}",
        "change_date": CHANGE_DATE.isoformat(),
        "nodata": COVER_NODATA,
        "landcover": [_described(one) for one in COVERS],
        "change": [_described(one) for one in CHANGES],
    }
    (folder / "classes.json").write_text(json.dumps(table, indent=2) + "\n")


def _described(one: Cover) -> dict[str, object]:
    return {"value": one.value, "name": one.name, "color": one.color, "description": one.description}


def _rgba(one: Cover) -> tuple[int, int, int, int]:
    red, green, blue = bytes.fromhex(one.color)
    return red, green, blue, 255


def _reported(jobs: list[Future[T]], name: str, progress: Progress) -> Iterable[Future[T]]:
    for number, job in enumerate(jobs, 1):
        progress(f"{name} {number} of {len(jobs)}")
        yield job


def _mark(seed: int) -> dict[str, object]:
    return {"sample": "tilewright-sample", "version": SAMPLE_VERSION, "seed": seed, "simulated": True}


def _marked(folder: Path) -> dict[str, object] | None:
    """What the folder's marker says; None where there is none of ours."""
    try:
        mark = json.loads((folder / MARKER).read_text())
    except (OSError, ValueError):
        return None
    return mark if isinstance(mark, dict) and mark.get("sample") == "tilewright-sample" else None


def _move_into_place(workplace: Path, folder: Path, seed: int) -> None:
    """Makes the new sample the folder; an older one goes, one finished meanwhile by somebody else stays."""
    if folder.exists():
        if _marked(folder) == _mark(seed):
            return
        folder.rename(workplace / "old")
    (workplace / "new").rename(folder)
