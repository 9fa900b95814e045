"""The parts that all STAC Items of the embedded sample share, and the catalog: footprint, CRS, assets, notice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pystac
from rasterio.warp import transform as reproject_points

from tilewright.catalogs.sample.cog import COG_TYPE, file_fields
from tilewright.catalogs.sample.landscape.grid import CRS, HEIGHT, NORTH, RESOLUTION
from tilewright.catalogs.schemas import EXTENSIONS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path


Outline = Sequence[tuple[float, float]]

NOTICE = (
    "SIMULATED for tests and demonstrations by Tilewright: no satellite saw this place, and the place does not exist."
)

COLLECTIONS = {
    "sentinel-2-l2a": (
        "Simulated Sentinel-2 Level-2A",
        (
            "Simulated surface reflectance with clouds, shadows and scene classes, in the manner of Earth Search v1: "
            "raster:bands advertises the offset -0.1 on every item; earthsearch:boa_offset_applied and the processing "
            "baseline say whether the DN carry it."
        ),
    ),
    "sentinel-1-rtc": (
        "Simulated Sentinel-1 RTC",
        "Simulated terrain-corrected backscatter, gamma0 in linear power, in the manner of Planetary Computer.",
    ),
    "cop-dem-glo-30": (
        "Simulated elevation at 30 m",
        "Simulated surface elevation in metres, keyed like Copernicus DEM GLO-30 but on the sample's UTM grid.",
    ),
}


def new_item(
    identifier: str,
    outline: Outline,
    time: datetime,
    extensions: tuple[str, ...],
    *,
    old_projection: bool = False,
) -> pystac.Item:
    """An Item with footprint and CRS; `outline` is in the sample's CRS, `old_projection` states it as proj:epsg."""
    projection = "projection/v1.1.0" if old_projection else "projection/v2.0.0"
    code: dict[str, Any] = {"proj:epsg": int(CRS.split(":")[1])} if old_projection else {"proj:code": CRS}
    ring = _lonlat(outline)
    longitudes, latitudes = zip(*ring, strict=True)
    return pystac.Item(
        id=identifier,
        geometry={"type": "Polygon", "coordinates": [[list(point) for point in ring]]},
        bbox=[min(longitudes), min(latitudes), max(longitudes), max(latitudes)],
        datetime=time,
        properties={**code, "tw:simulated": True},
        stac_extensions=[f"{EXTENSIONS}/{name}/schema.json" for name in sorted((*extensions, projection))],
    )


def new_asset(path: Path, title: str, west: float, extent: int, resolution: int) -> pystac.Asset:
    """The asset of one COG: its grid, its checksum and its size; `west` and `extent` in metres of the sample's CRS."""
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


def box_outline(west: float, south: float, east: float, north: float) -> Outline:
    """Outline of a box, clockwise from its north-western corner."""
    return [(west, north), (east, north), (east, south), (west, south)]


def timestamp(time: datetime) -> str:
    """The time as text in the format of the providers."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _lonlat(outline: Outline) -> Outline:
    """The closed ring in EPSG:4326, counter-clockwise, to 7 decimals (a centimetre)."""
    ring = [*outline[::-1], outline[-1]]
    longitudes, latitudes = reproject_points(CRS, "EPSG:4326", *zip(*ring, strict=True))
    return [(round(x, 7), round(y, 7)) for x, y in zip(longitudes, latitudes, strict=True)]


def save_catalog(folder: Path, items: Mapping[str, Sequence[pystac.Item]]) -> Path:
    """Path of the catalog.json written under the folder, with a collection.json and the Items of each collection."""
    catalog = pystac.Catalog(
        id="tilewright-sample", title="Tilewright's embedded sample (simulated)", description=NOTICE
    )
    for name, members in items.items():
        catalog.add_child(_collection(name, members))
    catalog.normalize_hrefs(str(folder))
    catalog.make_all_asset_hrefs_relative()
    catalog.save(catalog_type=pystac.CatalogType.SELF_CONTAINED)
    return folder / "catalog.json"


def _collection(name: str, members: Sequence[pystac.Item]) -> pystac.Collection:
    title, description = COLLECTIONS[name]
    collection = pystac.Collection(
        id=name,
        title=title,
        description=f"{description} {NOTICE}",
        extent=pystac.Extent.from_items(members),
        license="CC0-1.0",
        keywords=["simulated", "sample", "tilewright"],
        providers=[pystac.Provider(name="Tilewright (simulated data)", roles=[pystac.ProviderRole.PRODUCER])],
        extra_fields={"tw:simulated": True, "attribution": "Simulated data, no attribution needed."},
    )
    collection.add_items(members)
    return collection
