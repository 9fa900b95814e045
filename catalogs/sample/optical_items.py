"""STAC Items of the simulated Sentinel-2 granules, in the form of Earth Search v1."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tilewright.catalogs.sample.calendar import Delivery, Overpass, sun_position
from tilewright.catalogs.sample.landscape.grid import GRANULES, HEIGHT, NORTH, RESOLUTION, WEST, Granule
from tilewright.catalogs.sample.optical import swath_edge
from tilewright.catalogs.sample.stac import Outline, box_outline, new_asset, new_item, timestamp

if TYPE_CHECKING:
    from pathlib import Path

    import pystac


@dataclass(frozen=True, slots=True, kw_only=True)
class OpticalAsset:
    """One asset: sensor band, title, pixel size in metres, centre and full width at half maximum in micrometres."""

    band: str
    title: str
    resolution: int
    centre: float = 0.0
    width: float = 0.0


# By asset key. Source: Sentinel-2 spectral responses (COPE-GSEG-EOPG-TN-15-0007), rounded as in Earth Search v1.
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


def scene_id(overpass: Overpass, delivery: Delivery, granule: Granule) -> str:
    """The id of one delivery of one granule, such as S2B_33UVP_20210617_0_L2A."""
    return f"{overpass.platform}_{granule.name}_{overpass.time:%Y%m%d}_{delivery.sequence}_L2A"


def optical_item(
    overpass: Overpass, delivery: Delivery, granule: Granule, folder: Path, scl: npt.NDArray[np.uint8]
) -> pystac.Item:
    """The Item of one delivered granule with its files in `folder`, in the form of Earth Search v1."""
    item = new_item(
        scene_id(overpass, delivery, granule),
        _optical_footprint(overpass, granule),
        overpass.time,
        ("eo/v1.1.0", "file/v2.1.0", "grid/v1.1.0", "mgrs/v1.0.0", "raster/v1.1.0", "view/v1.0.0"),
        old_projection=overpass.old_projection,
    )
    item.properties |= _optical_properties(overpass, delivery, granule) | _scene_class_shares(scl)
    for key, spec in OPTICAL_ASSETS.items():
        title = f"{spec.title} - {spec.resolution}m"
        asset = new_asset(folder / f"{spec.band}.tif", title, granule.west, granule.size * RESOLUTION, spec.resolution)
        asset.roles = ["data", "reflectance"]
        if key == "scl":
            asset.extra_fields["raster:bands"] = [{"nodata": 0, "data_type": "uint8", "spatial_resolution": 20}]
        else:
            asset.extra_fields |= _reflectance_fields(key, spec)
        item.add_asset(key, asset)
    return item


def _optical_properties(overpass: Overpass, delivery: Delivery, granule: Granule) -> dict[str, Any]:
    elevation, azimuth = sun_position(overpass.time)
    made = datetime.combine(delivery.created, time(14, 30, 12), tzinfo=UTC)
    baseline = delivery.baseline.replace(".", "")
    product = (
        f"{overpass.platform}_MSIL2A_{overpass.time:%Y%m%dT%H%M%S}_N{baseline}_R{overpass.orbit:03d}_T{granule.name}"
    )
    applied = {} if delivery.applied is None else {"earthsearch:boa_offset_applied": delivery.applied}
    return {
        "created": timestamp(made + timedelta(hours=4)),
        "updated": timestamp(made + timedelta(hours=4)),
        "platform": f"sentinel-{overpass.platform[1:].lower()}",
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
        "s2:generation_time": timestamp(made),
        "s2:datatake_type": "INS-NOBS",
        "s2:sequence": str(delivery.sequence),
        **applied,
    }


def _scene_class_shares(scl: npt.NDArray[np.uint8]) -> dict[str, Any]:
    """Percentages of the covered pixels per scene class, and `eo:cloud_cover`: classes 8, 9 and 10 together."""
    counts = np.bincount(scl.ravel(), minlength=12)
    n_covered = max(int(counts[1:].sum()), 1)
    shares = {name: round(100 * int(counts[value]) / n_covered, 6) for name, value in SCL_SHARES.items()}
    cloudy = round(100 * int(counts[8:11].sum()) / n_covered, 6)
    nodata = round(100 * int(counts[0]) / scl.size, 6)
    return {"eo:cloud_cover": cloudy, "s2:nodata_pixel_percentage": nodata, **shares}


def _reflectance_fields(key: str, spec: OpticalAsset) -> dict[str, Any]:
    """Fields of a reflectance asset. Every item states the offset, needed or not, as in Earth Search v1."""
    return {
        "gsd": spec.resolution,
        "eo:bands": [
            {
                "name": key,
                "common_name": key,
                "description": spec.title,
                "center_wavelength": spec.centre,
                "full_width_half_max": spec.width,
            }
        ],
        "raster:bands": [
            {
                "nodata": 0,
                "data_type": "uint16",
                "bits_per_sample": 15,
                "spatial_resolution": spec.resolution,
                "scale": 0.0001,
                "offset": -0.1,
            }
        ],
    }


def _optical_footprint(overpass: Overpass, granule: Granule) -> Outline:
    """Outline of the granule's pixels in the sample's CRS, cut at the edge of a partial swath."""
    south, east = NORTH - granule.size * RESOLUTION, granule.west + granule.size * RESOLUTION
    edge = [WEST + 20 * float(swath_edge(np.array(row))) for row in (0, HEIGHT // 2)]
    if not overpass.partial_swath or granule is not GRANULES[0]:
        return box_outline(granule.west, south, east, NORTH)
    return [(edge[0], NORTH), (east, NORTH), (east, south), (edge[1], south)]
