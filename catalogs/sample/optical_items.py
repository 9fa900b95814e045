"""STAC Items of the simulated Sentinel-2 granules, worded as Earth Search v1 words its own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tilewright.catalogs.sample.calendar import Delivery, Pass, sun_position
from tilewright.catalogs.sample.landscape.grid import GRANULES, HEIGHT, NORTH, RESOLUTION, WEST, Granule
from tilewright.catalogs.sample.optical import swath_edge
from tilewright.catalogs.sample.stac import Outline, box, new_asset, new_item, stamp

if TYPE_CHECKING:
    from pathlib import Path

    import pystac


@dataclass(frozen=True, slots=True, kw_only=True)
class OpticalAsset:
    """An asset: its sensor band, title, pixel size in metres, centre and full width at half maximum in micrometres."""

    band: str
    title: str
    resolution: int
    centre: float = 0.0
    width: float = 0.0


# By asset key. Source: Sentinel-2 spectral responses (COPE-GSEG-EOPG-TN-15-0007), rounded as Earth Search v1 has them.
OPTICAL_ASSETS = {
    "blue": OpticalAsset(band="B02", title="Blue (band 2)", resolution=10, centre=0.49, width=0.098),
    "green": OpticalAsset(band="B03", title="Green (band 3)", resolution=10, centre=0.56, width=0.045),
    "red": OpticalAsset(band="B04", title="Red (band 4)", resolution=10, centre=0.665, width=0.038),
    "nir": OpticalAsset(band="B08", title="NIR 1 (band 8)", resolution=10, centre=0.842, width=0.145),
    "swir16": OpticalAsset(band="B11", title="SWIR 1 (band 11)", resolution=20, centre=1.61, width=0.143),
    "swir22": OpticalAsset(band="B12", title="SWIR 2 (band 12)", resolution=20, centre=2.19, width=0.242),
    "scl": OpticalAsset(band="SCL", title="Scene classification map (SCL)", resolution=20),
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


def optical_item(
    flight: Pass, delivery: Delivery, granule: Granule, folder: Path, scl: npt.NDArray[np.uint8]
) -> pystac.Item:
    """The Item of one delivered granule whose files lie in `folder`, in the manner of Earth Search v1."""
    item = new_item(
        scene_id(flight, delivery, granule),
        _optical_footprint(flight, granule),
        flight.time,
        ("eo/v1.1.0", "file/v2.1.0", "grid/v1.1.0", "mgrs/v1.0.0", "raster/v1.1.0", "view/v1.0.0"),
        old_projection=flight.old_projection,
    )
    item.properties |= _optical_properties(flight, delivery, granule) | _shares(scl)
    for key, kind in OPTICAL_ASSETS.items():
        title = f"{kind.title} - {kind.resolution}m"
        asset = new_asset(folder / f"{kind.band}.tif", title, granule.west, granule.size * RESOLUTION, kind.resolution)
        asset.roles = ["data", "reflectance"]
        if key == "scl":
            asset.extra_fields["raster:bands"] = [{"nodata": 0, "data_type": "uint8", "spatial_resolution": 20}]
        else:
            asset.extra_fields |= _reflectance_fields(key, kind)
        item.add_asset(key, asset)
    return item


def _optical_properties(flight: Pass, delivery: Delivery, granule: Granule) -> dict[str, Any]:
    elevation, azimuth = sun_position(flight.time)
    made = datetime.combine(delivery.created, time(14, 30, 12), tzinfo=UTC)
    baseline = delivery.baseline.replace(".", "")
    product = f"{flight.platform}_MSIL2A_{flight.time:%Y%m%dT%H%M%S}_N{baseline}_R{flight.orbit:03d}_T{granule.name}"
    applied = {} if delivery.applied is None else {"earthsearch:boa_offset_applied": delivery.applied}
    return {
        "created": stamp(made + timedelta(hours=4)),
        "updated": stamp(made + timedelta(hours=4)),
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
        "s2:generation_time": stamp(made),
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


def _reflectance_fields(key: str, kind: OpticalAsset) -> dict[str, Any]:
    """Fields of a reflectance asset. The offset stands on every item, needed or not, as in Earth Search v1."""
    return {
        "gsd": kind.resolution,
        "eo:bands": [
            {
                "name": key,
                "common_name": key,
                "description": kind.title,
                "center_wavelength": kind.centre,
                "full_width_half_max": kind.width,
            }
        ],
        "raster:bands": [
            {
                "nodata": 0,
                "data_type": "uint16",
                "bits_per_sample": 15,
                "spatial_resolution": kind.resolution,
                "scale": 0.0001,
                "offset": -0.1,
            }
        ],
    }


def _optical_footprint(flight: Pass, granule: Granule) -> Outline:
    """Outline of what the granule shows, in the sample's CRS; the swath's edge cuts it where there is one."""
    south, east = NORTH - granule.size * RESOLUTION, granule.west + granule.size * RESOLUTION
    edge = [WEST + 20 * float(swath_edge(np.array(row))) for row in (0, HEIGHT // 2)]
    if not flight.wedge or granule is not GRANULES[0]:
        return box(granule.west, south, east, NORTH)
    return [(edge[0], NORTH), (east, NORTH), (east, south), (edge[1], south)]
