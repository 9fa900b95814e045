"""STAC Items of the simulated radar scenes, in the form of Planetary Computer, and of the elevation model."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.catalogs.sample.landscape.grid import DEM_FACTOR, HEIGHT, NORTH, RESOLUTION, WEST, WIDTH
from tilewright.catalogs.sample.radar import RADAR_NODATA, radar_edge
from tilewright.catalogs.sample.stac import box_outline, new_asset, new_item, timestamp

if TYPE_CHECKING:
    from pathlib import Path

    import pystac

    from tilewright.catalogs.sample.calendar import RadarOverpass


ELEVATION_ID = "Copernicus_DSM_COG_10_N48_00_E014_00_DEM"

RADAR_TITLES = {
    "vh": "VH: vertical transmit, horizontal receive",
    "vv": "VV: vertical transmit, vertical receive",
}


def radar_id(overpass: RadarOverpass) -> str:
    """The id of one radar scene, such as S1A_IW_GRDH_1SDV_20210616T165021_20210616T165046_038369_rtc."""
    end = overpass.time + timedelta(seconds=25)
    return f"S1A_IW_GRDH_1SDV_{overpass.time:%Y%m%dT%H%M%S}_{end:%Y%m%dT%H%M%S}_{overpass.absolute_orbit:06d}_rtc"


def radar_item(overpass: RadarOverpass, folder: Path) -> pystac.Item:
    """The Item of one radar scene with its files in `folder`, in the form of Planetary Computer's sentinel-1-rtc."""
    columns: list[float] = [WIDTH, WIDTH]
    if overpass.state == "descending":
        columns = [min(float(radar_edge(np.array(row))), WIDTH) for row in (0, HEIGHT)]
    east_top, east_bottom = (WEST + column * RESOLUTION for column in columns)
    south = NORTH - HEIGHT * RESOLUTION
    outline = [(WEST, NORTH), (east_top, NORTH), (east_bottom, south), (WEST, south)]
    item = new_item(
        radar_id(overpass), outline, overpass.time, ("file/v2.1.0", "raster/v1.1.0", "sar/v1.0.0", "sat/v1.0.0")
    )
    item.properties |= _radar_properties(overpass)
    for key, title in RADAR_TITLES.items():
        asset = new_asset(folder / f"{key}.rtc.tiff", title, WEST, WIDTH * RESOLUTION, RESOLUTION)
        asset.description = "Simulated terrain-corrected gamma naught values of backscatter, linear power."
        asset.extra_fields["raster:bands"] = [
            {"nodata": RADAR_NODATA, "data_type": "float32", "spatial_resolution": 10.0, "unit": "1"}
        ]
        item.add_asset(key, asset)
    return item


def elevation_item(folder: Path) -> pystac.Item:
    """The Item of the simulated elevation model, keyed as providers key Copernicus DEM GLO-30."""
    resolution = RESOLUTION * DEM_FACTOR
    outline = box_outline(WEST, NORTH - HEIGHT * RESOLUTION, WEST + WIDTH * RESOLUTION, NORTH)
    when = datetime(2021, 4, 22, tzinfo=UTC)
    item = new_item(ELEVATION_ID, outline, when, ("file/v2.1.0", "raster/v1.1.0"))
    item.properties |= {"gsd": 30, "platform": "TanDEM-X", "created": timestamp(when), "updated": timestamp(when)}
    asset = new_asset(folder / "elevation.tif", "Simulated elevation", WEST, WIDTH * RESOLUTION, resolution)
    asset.description = "Simulated surface model on the sample's UTM grid; the real GLO-30 is in EPSG:4326."
    asset.extra_fields["raster:bands"] = [{"data_type": "float32", "spatial_resolution": resolution, "unit": "metre"}]
    item.add_asset("data", asset)
    return item


def _radar_properties(overpass: RadarOverpass) -> dict[str, Any]:
    made = overpass.time + timedelta(days=1)
    return {
        "created": timestamp(made),
        "updated": timestamp(made),
        "start_datetime": timestamp(overpass.time),
        "end_datetime": timestamp(overpass.time + timedelta(seconds=25)),
        "platform": "SENTINEL-1A",
        "constellation": "Sentinel-1",
        "sar:instrument_mode": "IW",
        "sar:frequency_band": "C",
        "sar:center_frequency": 5.405,
        "sar:polarizations": ["VV", "VH"],
        "sar:product_type": "GRD",
        "sar:resolution_range": 20,
        "sar:resolution_azimuth": 22,
        "sar:pixel_spacing_range": 10,
        "sar:pixel_spacing_azimuth": 10,
        "sar:looks_range": 5,
        "sar:looks_azimuth": 1,
        "sar:looks_equivalent_number": 4.4,
        "sar:observation_direction": "right",
        "sat:orbit_state": overpass.state,
        "sat:relative_orbit": overpass.orbit,
        "sat:absolute_orbit": overpass.absolute_orbit,
        "s1:resolution": "high",
        "s1:processing_level": "1",
        "s1:product_timeliness": "Fast-24h",
    }
