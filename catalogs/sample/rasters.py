"""Writes the rasters of the embedded sample, and builds the Items that describe them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from tilewright.catalogs.sample.calendar import CHANGE_DATE, Delivery, Overpass, RadarOverpass
from tilewright.catalogs.sample.cog import write_cog
from tilewright.catalogs.sample.landscape.grid import DEM_FACTOR, GRANULES, NORTH, RESOLUTION, WEST, Granule
from tilewright.catalogs.sample.landscape.surfaces import CHANGES, COVER_NODATA, COVERS, Cover
from tilewright.catalogs.sample.optical import OpticalScene, digital_numbers, simulate_overpass
from tilewright.catalogs.sample.optical_items import OPTICAL_ASSETS, optical_item, scene_id
from tilewright.catalogs.sample.radar import RADAR_NODATA, simulate_radar
from tilewright.catalogs.sample.radar_items import ELEVATION_ID, elevation_item, radar_id, radar_item
from tilewright.catalogs.sample.stac import NOTICE

if TYPE_CHECKING:
    from pathlib import Path

    import pystac

    from tilewright.catalogs.sample.landscape.landscape import Landscape


def write_overpass(folder: Path, landscape: Landscape, overpass: Overpass, seed: int, number: int) -> list[pystac.Item]:
    """The Items of one Sentinel-2 overpass, one per delivery and granule, after writing their files."""
    scene = simulate_overpass(landscape, overpass, seed=seed, number=number)
    return [
        _write_scene(folder, scene, overpass, delivery, granule)
        for delivery in overpass.deliveries
        for granule in GRANULES
        if not delivery.granules or granule.name in delivery.granules
    ]


def write_radar(folder: Path, landscape: Landscape, overpass: RadarOverpass, seed: int, number: int) -> pystac.Item:
    """The Item of one Sentinel-1 overpass, after writing its files."""
    item_folder = folder / "sentinel-1-rtc" / radar_id(overpass)
    item_folder.mkdir(parents=True, exist_ok=True)
    for key, power in simulate_radar(landscape, overpass, seed=seed, number=number).items():
        path = item_folder / f"{key}.rtc.tiff"
        write_cog(path, power, west=WEST, north=NORTH, resolution=RESOLUTION, nodata=RADAR_NODATA)
    return radar_item(overpass, item_folder)


def write_elevation(folder: Path, landscape: Landscape) -> pystac.Item:
    """The Item of the elevation model, after writing its file: metres without the reservoir, mean of 3 x 3 pixels."""
    fine = landscape.terrain.elevation
    rows, columns = (size // DEM_FACTOR for size in fine.shape)
    coarse = fine.reshape(rows, DEM_FACTOR, columns, DEM_FACTOR).mean(axis=(1, 3)).round(2)
    item_folder = folder / "cop-dem-glo-30" / ELEVATION_ID
    item_folder.mkdir(parents=True, exist_ok=True)
    write_cog(
        item_folder / "elevation.tif", coarse, west=WEST, north=NORTH, resolution=RESOLUTION * DEM_FACTOR, nodata=None
    )
    return elevation_item(item_folder)


def write_truth(folder: Path, landscape: Landscape) -> list[pystac.Item]:
    """An empty list, after writing the truth rasters (y, x) uint8 on the union grid at 10 m and their class table.

    They lie next to the catalog and have no Items.
    """
    truth_folder = folder / "truth"
    truth_folder.mkdir(parents=True, exist_ok=True)
    for name, raster, classes in (
        ("landcover_start", landscape.cover(end=False), COVERS),
        ("landcover_end", landscape.cover(end=True), COVERS),
        ("change", landscape.change(), CHANGES),
    ):
        write_cog(
            truth_folder / f"{name}.tif",
            raster,
            west=WEST,
            north=NORTH,
            resolution=RESOLUTION,
            nodata=COVER_NODATA,
            colors={cover.value: (*bytes.fromhex(cover.color), 255) for cover in classes},
        )
    table = {
        "description": f"Classes of the truth rasters. {NOTICE}",
        "change_date": CHANGE_DATE.isoformat(),
        "nodata": COVER_NODATA,
        "landcover": [_cover_json(cover) for cover in COVERS],
        "change": [_cover_json(cover) for cover in CHANGES],
    }
    (truth_folder / "classes.json").write_text(json.dumps(table, indent=2) + "\n")
    return []


def _write_scene(
    folder: Path, scene: OpticalScene, overpass: Overpass, delivery: Delivery, granule: Granule
) -> pystac.Item:
    """The Item of one delivered granule, after writing its files."""
    item_folder = folder / "sentinel-2-l2a" / scene_id(overpass, delivery, granule)
    item_folder.mkdir(parents=True, exist_ok=True)
    scl = np.where(scene.covered[20], scene.scl, 0).astype(np.uint8)[:, granule.columns(20)]
    for key, asset in OPTICAL_ASSETS.items():
        columns = granule.columns(asset.resolution)
        covered = scene.covered[asset.resolution]
        dn = None
        if key != "scl":
            dn = digital_numbers(scene.bands[key][:, columns], covered[:, columns], offset=delivery.offset_in_dn)
        path = item_folder / f"{asset.band}.tif"
        write_cog(
            path,
            scl if dn is None else dn,
            west=granule.west,
            north=NORTH,
            resolution=asset.resolution,
            nodata=0,
        )
    return optical_item(overpass, delivery, granule, item_folder, scl)


def _cover_json(cover: Cover) -> dict[str, object]:
    return {"value": cover.value, "name": cover.name, "color": cover.color, "description": cover.description}
