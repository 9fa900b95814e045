"""STAC Items of the embedded sample, worded as the real providers word theirs and marked as simulated."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pystac
from rasterio.warp import transform as reproject_points

from catalogs.sample_calendar import Delivery, Pass, RadarPass, sun_position
from catalogs.sample_files import COG_TYPE, file_fields
from catalogs.sample_grid import CRS, DEM_FACTOR, GRANULES, HEIGHT, NORTH, RESOLUTION, WEST, WIDTH, Granule
from catalogs.sample_optical import swath_edge
from catalogs.sample_radar import RADAR_NODATA, radar_edge

EXTENSIONS = "https://stac-extensions.github.io"
SIMULATED = {"tw:simulated": True}
# Asset key -> sensor band, title, resolution, centre wavelength and full width at half maximum in micrometres.
# Source: Sentinel-2 MSI spectral responses (COPE-GSEG-EOPG-TN-15-0007) as Earth Search v1 rounds them.
OPTICAL_ASSETS: dict[str, tuple[str, str, int, float, float]] = {
    "blue": ("B02", "Blue (band 2)", 10, 0.49, 0.098),
    "green": ("B03", "Green (band 3)", 10, 0.56, 0.045),
    "red": ("B04", "Red (band 4)", 10, 0.665, 0.038),
    "nir": ("B08", "NIR 1 (band 8)", 10, 0.842, 0.145),
    "swir16": ("B11", "SWIR 1 (band 11)", 20, 1.61, 0.143),
    "swir22": ("B12", "SWIR 2 (band 12)", 20, 2.19, 0.242),
    "scl": ("SCL", "Scene classification map (SCL)", 20, 0.0, 0.0),
}
# Scene class -> the property that counts it.
SCL_SHARES = {
    "s2:saturated_defective_pixel_percentage": 1,
    "s2:dark_features_percentage": 2,
    "s2:cloud_shadow_percentage": 3,
    "s2:vegetation_percentage": 4,
    "s2:not_vegetated_percentage": 5,
    "s2:water_percentage": 6,
    "s2:unclassified_percentage": 7,
    "s2:medium_proba_clouds_percentage": 8,
    "s2:high_proba_clouds_percentage": 9,
    "s2:thin_cirrus_percentage": 10,
    "s2:snow_ice_percentage": 11,
}


def scene_id(flight: Pass, delivery: Delivery, granule: Granule) -> str:
    """The id of one delivery of one granule, such as S2B_33UVP_20210617_0_L2A."""
    return f"{flight.platform}_{granule.name}_{flight.time:%Y%m%d}_{delivery.sequence}_L2A"


def radar_id(flight: RadarPass) -> str:
    """The id of one radar scene, such as S1A_IW_GRDH_1SDV_20210616T165021_20210616T165046_038369_rtc."""
    end = flight.time + timedelta(seconds=25)
    return f"S1A_IW_GRDH_1SDV_{flight.time:%Y%m%dT%H%M%S}_{end:%Y%m%dT%H%M%S}_{flight.absolute_orbit:06d}_rtc"


def optical_item(
    flight: Pass, delivery: Delivery, granule: Granule, folder: Path, scl: npt.NDArray[np.uint8]
) -> pystac.Item:
    """The Item of one delivered granule whose files lie in `folder`, in the manner of Earth Search v1."""
    item = _item(
        scene_id(flight, delivery, granule),
        _optical_footprint(flight, granule),
        flight.time,
        ("eo/v1.1.0", "file/v2.1.0", "grid/v1.1.0", "mgrs/v1.0.0", "raster/v1.1.0", "view/v1.0.0"),
        old_projection=flight.old_projection,
    )
    item.properties |= _optical_properties(flight, delivery, granule) | _shares(scl)
    for key, (band, title, resolution, centre, width) in OPTICAL_ASSETS.items():
        asset = _asset(folder / f"{band}.tif", f"{title} - {resolution}m", granule.west, granule.size * 10, resolution)
        if key == "scl":
            asset.extra_fields["raster:bands"] = [{"nodata": 0, "data_type": "uint8", "spatial_resolution": 20}]
            asset.roles = ["data", "reflectance"]
        else:
            asset.extra_fields |= _reflectance_band(key, title, resolution, centre, width)
            asset.roles = ["data", "reflectance"]
        item.add_asset(key, asset)
    return item


def radar_item(flight: RadarPass, folder: Path) -> pystac.Item:
    """The Item of one radar scene whose files lie in `folder`, in the manner of Planetary Computer's sentinel-1-rtc."""
    east_top, east_bottom = (WEST + _radar_columns(flight, row) * 10 for row in (0, HEIGHT))
    south = NORTH - HEIGHT * RESOLUTION
    outline = [(WEST, NORTH), (east_top, NORTH), (east_bottom, south), (WEST, south)]
    item = _item(radar_id(flight), outline, flight.time, ("file/v2.1.0", "raster/v1.1.0", "sar/v1.0.0", "sat/v1.0.0"))
    item.properties |= _radar_properties(flight)
    for key, name in (("vh", "VH: vertical transmit, horizontal receive"), ("vv", "VV: vertical transmit, vertical receive")):
        asset = _asset(folder / f"{key}.rtc.tiff", name, WEST, WIDTH * RESOLUTION, RESOLUTION)
        asset.description = "Simulated terrain-corrected gamma naught values of backscatter, linear power."
        asset.extra_fields["raster:bands"] = [
            {"nodata": RADAR_NODATA, "data_type": "float32", "spatial_resolution": 10.0, "unit": "1"}
        ]
        item.add_asset(key, asset)
    return item


def elevation_item(folder: Path) -> pystac.Item:
    """The Item of the simulated elevation model, keyed as Planetary Computer and Earth Search key Copernicus DEM GLO-30."""
    step = RESOLUTION * DEM_FACTOR
    outline = _box(WEST, NORTH - HEIGHT * RESOLUTION, WEST + WIDTH * RESOLUTION, NORTH)
    when = datetime(2021, 4, 22, tzinfo=UTC)
    item = _item("Copernicus_DSM_COG_10_N48_00_E014_00_DEM", outline, when, ("file/v2.1.0", "raster/v1.1.0"))
    item.properties |= {"gsd": 30, "platform": "TanDEM-X", "created": _stamp(when), "updated": _stamp(when)}
    asset = _asset(folder / "elevation.tif", "Simulated elevation", WEST, WIDTH * RESOLUTION, step)
    asset.description = "Simulated surface model on the sample's UTM grid; the real GLO-30 is in EPSG:4326."
    asset.extra_fields["raster:bands"] = [{"data_type": "float32", "spatial_resolution": step, "unit": "metre"}]
    item.add_asset("data", asset)
    return item


def _item(
    identifier: str,
    outline: list[tuple[float, float]],
    when: datetime,
    extensions: tuple[str, ...],
    *,
    old_projection: bool = False,
) -> pystac.Item:
    """An Item with footprint and CRS; `outline` is in the sample's CRS. `old_projection` words the CRS as proj:epsg."""
    projection = "projection/v1.1.0" if old_projection else "projection/v2.0.0"
    code: dict[str, Any] = {"proj:epsg": int(CRS.split(":")[1])} if old_projection else {"proj:code": CRS}
    ring = _lonlat(outline)
    longitudes, latitudes = zip(*ring, strict=True)
    return pystac.Item(
        id=identifier,
        geometry={"type": "Polygon", "coordinates": [[list(point) for point in ring]]},
        bbox=[min(longitudes), min(latitudes), max(longitudes), max(latitudes)],
        datetime=when,
        properties={**code, **SIMULATED},
        stac_extensions=[f"{EXTENSIONS}/{name}/schema.json" for name in sorted((*extensions, projection))],
    )


def _optical_properties(flight: Pass, delivery: Delivery, granule: Granule) -> dict[str, Any]:
    elevation, azimuth = sun_position(flight.time)
    made = datetime.combine(delivery.created, time(14, 30, 12), tzinfo=UTC)
    baseline = delivery.baseline.replace(".", "")
    product = f"{flight.platform}_MSIL2A_{flight.time:%Y%m%dT%H%M%S}_N{baseline}_R{flight.orbit:03d}_T{granule.name}"
    applied = {} if delivery.applied is None else {"earthsearch:boa_offset_applied": delivery.applied}
    return {
        "created": _stamp(made + timedelta(hours=4)),
        "updated": _stamp(made + timedelta(hours=4)),
        "platform": f"sentinel-{flight.platform[1:].lower()}",
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "gsd": 10,
        "mgrs:utm_zone": int(granule.name[:2]),
        "mgrs:latitude_band": granule.name[2],
        "mgrs:grid_square": granule.name[3:],
        "grid:code": f"MGRS-{granule.name}",
        "view:sun_azimuth": round(azimuth, 4),
        "view:sun_elevation": round(elevation, 4),
        "s2:degraded_msi_data_percentage": 0,
        "s2:product_type": "S2MSI2A",
        "s2:processing_baseline": delivery.baseline,
        "s2:product_uri": f"{product}_{made:%Y%m%dT%H%M%S}.SAFE",
        "s2:generation_time": _stamp(made),
        "s2:datatake_type": "INS-NOBS",
        "s2:sequence": str(delivery.sequence),
        **applied,
    }


def _shares(scl: npt.NDArray[np.uint8]) -> dict[str, Any]:
    """Percentages of the seen pixels per scene class, and `eo:cloud_cover`: classes 8, 9 and 10 together."""
    counts = np.bincount(scl.ravel(), minlength=12)
    seen = max(int(counts[1:].sum()), 1)
    shares = {name: round(100 * int(counts[value]) / seen, 6) for name, value in SCL_SHARES.items()}
    cloudy = round(100 * int(counts[8:11].sum()) / seen, 6)
    nodata = round(100 * int(counts[0]) / scl.size, 6)
    return {"eo:cloud_cover": cloudy, "s2:nodata_pixel_percentage": nodata, **shares}


def _reflectance_band(key: str, title: str, resolution: int, centre: float, width: float) -> dict[str, Any]:
    """Fields of a reflectance asset. The offset stands on every item, needed or not, as in Earth Search v1."""
    return {
        "gsd": resolution,
        "eo:bands": [
            {
                "name": key,
                "common_name": key,
                "description": title,
                "center_wavelength": centre,
                "full_width_half_max": width,
            }
        ],
        "raster:bands": [
            {
                "nodata": 0,
                "data_type": "uint16",
                "bits_per_sample": 15,
                "spatial_resolution": resolution,
                "scale": 0.0001,
                "offset": -0.1,
            }
        ],
    }


def _radar_properties(flight: RadarPass) -> dict[str, Any]:
    made = flight.time + timedelta(days=1)
    return {
        "created": _stamp(made),
        "updated": _stamp(made),
        "start_datetime": _stamp(flight.time),
        "end_datetime": _stamp(flight.time + timedelta(seconds=25)),
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
        "sat:orbit_state": flight.state,
        "sat:relative_orbit": flight.orbit,
        "sat:absolute_orbit": flight.absolute_orbit,
        "s1:resolution": "high",
        "s1:processing_level": "1",
        "s1:product_timeliness": "Fast-24h",
    }


def _asset(path: Path, title: str, west: float, extent: int, resolution: int) -> pystac.Asset:
    shape = [HEIGHT * RESOLUTION // resolution, extent // resolution]
    return pystac.Asset(
        href=str(path),
        title=title,
        media_type=COG_TYPE,
        roles=["data"],
        extra_fields={
            "proj:shape": shape,
            "proj:transform": [resolution, 0, west, 0, -resolution, NORTH],
            **file_fields(path),
        },
    )


def _optical_footprint(flight: Pass, granule: Granule) -> list[tuple[float, float]]:
    """Outline of what the granule shows, in the sample's CRS; the swath's edge cuts it where there is one."""
    south, east = NORTH - granule.size * RESOLUTION, granule.west + granule.size * RESOLUTION
    edge = [WEST + 20 * float(swath_edge(np.array(row))) for row in (0, HEIGHT // 2)]
    if not flight.wedge or granule is not GRANULES[0]:
        return _box(granule.west, south, east, NORTH)
    return [(edge[0], NORTH), (east, NORTH), (east, south), (edge[1], south)]


def _radar_columns(flight: RadarPass, row: int) -> float:
    return min(float(radar_edge(np.array(row))), WIDTH) if flight.state == "descending" else WIDTH


def _box(west: float, south: float, east: float, north: float) -> list[tuple[float, float]]:
    return [(west, north), (east, north), (east, south), (west, south)]


def _lonlat(outline: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The closed ring in EPSG:4326, counter-clockwise, to 7 decimals (a centimetre)."""
    ring = [*outline[::-1], outline[-1]]
    longitudes, latitudes = reproject_points(CRS, "EPSG:4326", *zip(*ring, strict=True))
    return [(round(x, 7), round(y, 7)) for x, y in zip(longitudes, latitudes, strict=True)]


def _stamp(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")
