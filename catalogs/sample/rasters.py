"""The rasters of the embedded sample written to their places, and the Items that describe them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from tilewright.catalogs.sample.calendar import CHANGE_DATE, Delivery, Pass, RadarPass
from tilewright.catalogs.sample.cog import write_cog
from tilewright.catalogs.sample.landscape.grid import DEM_FACTOR, GRANULES, NORTH, RESOLUTION, WEST, Granule
from tilewright.catalogs.sample.landscape.surfaces import CHANGES, COVER_NODATA, COVERS, Cover
from tilewright.catalogs.sample.optical import OpticalScene, digital_numbers, simulate_pass
from tilewright.catalogs.sample.optical_items import OPTICAL_ASSETS, optical_item, scene_id
from tilewright.catalogs.sample.radar import RADAR_NODATA, simulate_radar
from tilewright.catalogs.sample.radar_items import ELEVATION_ID, elevation_item, radar_id, radar_item
from tilewright.catalogs.sample.stac import NOTICE

if TYPE_CHECKING:
    from pathlib import Path

    import pystac

    from tilewright.catalogs.sample.landscape.landscape import Landscape


def write_pass(folder: Path, landscape: Landscape, flight: Pass, seed: int, number: int) -> list[pystac.Item]:
    """The Items of one pass of Sentinel-2, one per delivery and granule, their files written."""
    scene = simulate_pass(landscape, flight, seed=seed, number=number)
    return [
        _write_scene(folder, scene, flight, delivery, granule)
        for delivery in flight.deliveries
        for granule in GRANULES
        if not delivery.granules or granule.name in delivery.granules
    ]


def write_radar(folder: Path, landscape: Landscape, flight: RadarPass, seed: int, number: int) -> pystac.Item:
    """The Item of one pass of Sentinel-1, its files written."""
    place = folder / "sentinel-1-rtc" / radar_id(flight)
    place.mkdir(parents=True, exist_ok=True)
    for key, power in simulate_radar(landscape, flight, seed=seed, number=number).items():
        path = place / f"{key}.rtc.tiff"
        write_cog(path, power, west=WEST, north=NORTH, resolution=RESOLUTION, nodata=RADAR_NODATA)
    return radar_item(flight, place)


def write_elevation(folder: Path, landscape: Landscape) -> pystac.Item:
    """The Item of the elevation model, its file written: metres before the reservoir, mean of 3 x 3 pixels."""
    fine = landscape.terrain.elevation
    rows, columns = (size // DEM_FACTOR for size in fine.shape)
    coarse = fine.reshape(rows, DEM_FACTOR, columns, DEM_FACTOR).mean(axis=(1, 3)).round(2)
    place = folder / "cop-dem-glo-30" / ELEVATION_ID
    place.mkdir(parents=True, exist_ok=True)
    write_cog(place / "elevation.tif", coarse, west=WEST, north=NORTH, resolution=RESOLUTION * DEM_FACTOR, nodata=None)
    return elevation_item(place)


def write_truth(folder: Path, landscape: Landscape) -> list[pystac.Item]:
    """No Items: truth rasters (y, x) uint8 on the union grid at 10 m and their class table, beside the catalog."""
    place = folder / "truth"
    place.mkdir(parents=True, exist_ok=True)
    for name, raster, classes in (
        ("landcover_start", landscape.cover(end=False), COVERS),
        ("landcover_end", landscape.cover(end=True), COVERS),
        ("change", landscape.change(), CHANGES),
    ):
        write_cog(
            place / f"{name}.tif",
            raster,
            west=WEST,
            north=NORTH,
            resolution=RESOLUTION,
            nodata=COVER_NODATA,
            colors={one.value: (*bytes.fromhex(one.color), 255) for one in classes},
        )
    table = {
        "description": f"Classes of the truth rasters. {NOTICE}",
        "change_date": CHANGE_DATE.isoformat(),
        "nodata": COVER_NODATA,
        "landcover": [_described(one) for one in COVERS],
        "change": [_described(one) for one in CHANGES],
    }
    (place / "classes.json").write_text(json.dumps(table, indent=2) + "\n")
    return []


def _write_scene(folder: Path, scene: OpticalScene, flight: Pass, delivery: Delivery, granule: Granule) -> pystac.Item:
    """The Item of one delivered granule, its files written."""
    place = folder / "sentinel-2-l2a" / scene_id(flight, delivery, granule)
    place.mkdir(parents=True, exist_ok=True)
    scl = np.where(scene.seen[20], scene.scl, 0).astype(np.uint8)[:, granule.columns(20)]
    for key, asset in OPTICAL_ASSETS.items():
        columns = granule.columns(asset.resolution)
        seen = scene.seen[asset.resolution]
        numbers = None
        if key != "scl":
            numbers = digital_numbers(scene.bands[key][:, columns], seen[:, columns], offset=delivery.offset_in_dn)
        path = place / f"{asset.band}.tif"
        write_cog(
            path,
            scl if numbers is None else numbers,
            west=granule.west,
            north=NORTH,
            resolution=asset.resolution,
            nodata=0,
        )
    return optical_item(flight, delivery, granule, place, scl)


def _described(one: Cover) -> dict[str, object]:
    return {"value": one.value, "name": one.name, "color": one.color, "description": one.description}
