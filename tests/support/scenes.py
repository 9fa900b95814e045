"""Small rasters and the scenes that own them, for tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from tilewright.catalogs.scene import BandAsset, Scene

UTM = "EPSG:32633"
LEFT, TOP = 400_000.0, 5_400_000.0


def grid(
    height: int, width: int, *, left: float = LEFT, top: float = TOP, size: float = 10.0, crs: str = UTM
) -> GeoBox:
    return GeoBox((height, width), Affine(size, 0, left, 0, -size, top), crs)


def write_raster(
    path: Path,
    values: np.ndarray,
    *,
    left: float = LEFT,
    top: float = TOP,
    size: float = 10.0,
    nodata: float | None = 0,
    crs: str = UTM,
    block: int = 64,
    overviews: Sequence[int] = (),
) -> Path:
    """The values as a tiled GeoTIFF."""
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=values.shape[0],
        width=values.shape[1],
        count=1,
        dtype=values.dtype,
        crs=crs,
        transform=Affine(size, 0, left, 0, -size, top),
        nodata=nodata,
        tiled=True,
        blockxsize=block,
        blockysize=block,
        compress="deflate",
    ) as target:
        target.write(values, 1)
    if overviews:
        with rasterio.open(path, "r+") as target:
            target.build_overviews(list(overviews), rasterio.enums.Resampling.average)
    return path


def asset_of(
    path: Path,
    band: str = "red",
    *,
    href: str | None = None,
    scale: float = 1.0,
    offset: float = 0.0,
    unit: str = "reflectance",
) -> BandAsset:
    """The band asset of a file, its metadata read from the file."""
    with rasterio.open(path) as source:
        return BandAsset(
            band=band,
            key=band,
            href=href or str(path),
            index=1,
            dtype=source.dtypes[0],
            nodata=source.nodata,
            scale=scale,
            offset=offset,
            unit=unit,
            crs=str(source.crs),
            shape=source.shape,
            transform=tuple(source.transform)[:6],
            checksum=None,
        )


def scene_of(*assets: BandAsset, day: str = "2023-06-01", name: str | None = None, cloud: float | None = None) -> Scene:
    """A scene of those assets on that day; its footprint is the first asset's."""
    first = assets[0]
    assert first.shape is not None
    assert first.transform is not None
    affine = Affine(*first.transform)
    corners = [affine @ point for point in ((0, 0), (first.shape[1], first.shape[0]))]
    (left, top), (right, bottom) = corners
    bbox = Transformer.from_crs(first.crs, "EPSG:4326", always_xy=True).transform_bounds(left, bottom, right, top)
    return Scene(
        id=name or f"scene-{day}",
        collection="sentinel-2-l2a",
        source="test",
        datetime=datetime.fromisoformat(f"{day}T10:00:00").replace(tzinfo=UTC),
        solar_day=day,
        geometry={"type": "Polygon", "coordinates": []},
        bbox=bbox,
        platform=None,
        granule=None,
        orbit_state=None,
        relative_orbit=None,
        cloud_cover=cloud,
        baseline=None,
        state="not-applicable",
        state_reason="test",
        assets=tuple(assets),
    )


def real_scenes(folder: Path, pattern: str) -> tuple[Scene, ...]:
    """The scenes of the real windows whose item files match, by date: their DN, scale and offset as written there."""
    units = {"scl": "class", "vv": "linear", "vh": "linear", "aot": "1"}
    found = []
    for path in sorted(folder.glob(pattern)):
        item = json.loads(path.read_text())
        bands = {key: asset["raster:bands"][0] for key, asset in item["assets"].items()}
        assets = [
            asset_of(
                path.parent / f"{key}.tif",
                key,
                scale=entry.get("scale", 1),
                offset=entry.get("offset", 0),
                unit=units.get(key, "reflectance"),
            )
            for key, entry in bands.items()
        ]
        day = item["properties"]["datetime"][:10]
        found.append(scene_of(*assets, day=day, name=item["id"], cloud=item["properties"].get("eo:cloud_cover")))
    return tuple(found)
