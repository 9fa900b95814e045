"""What all STAC Items of the embedded sample share: footprint, CRS, assets, and the word that they are simulated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pystac
from rasterio.warp import transform as reproject_points

from catalogs.sample_files import COG_TYPE, file_fields
from catalogs.sample_grid import CRS, HEIGHT, NORTH, RESOLUTION

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

EXTENSIONS = "https://stac-extensions.github.io"
Outline = Sequence[tuple[float, float]]


def new_item(
    identifier: str,
    outline: Outline,
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


def box(west: float, south: float, east: float, north: float) -> Outline:
    """The outline of a box, clockwise from its north-western corner."""
    return [(west, north), (east, north), (east, south), (west, south)]


def stamp(when: datetime) -> str:
    """The time as the providers write it."""
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def _lonlat(outline: Outline) -> Outline:
    """The closed ring in EPSG:4326, counter-clockwise, to 7 decimals (a centimetre)."""
    ring = [*outline[::-1], outline[-1]]
    longitudes, latitudes = reproject_points(CRS, "EPSG:4326", *zip(*ring, strict=True))
    return [(round(x, 7), round(y, 7)) for x, y in zip(longitudes, latitudes, strict=True)]
