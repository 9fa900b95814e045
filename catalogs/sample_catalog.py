"""The STAC catalog of the embedded sample: three collections that say what they are, written with relative hrefs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pystac

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

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
