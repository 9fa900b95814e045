"""One scene of a random world: its granule, footprint, files and item."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from pyproj import Transformer
from shapely import Polygon, box, transform
from shapely.affinity import translate
from shapely.geometry import mapping

from tests.reference.rasters import open_new, write_band

Bounds = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The grid's CRS and bounds, and the neighbouring zone."""

    crs: str
    other: str
    bounds: Bounds


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenery:
    """How a scene is drawn: which bands it may lack, how its files speak, in which zone."""

    bands: tuple[str, ...]
    absent: float
    no_classes: float
    signs: tuple[str, ...]
    fine_nir: bool
    tame: bool
    zone: str
    shift: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Granule:
    """A rectangle of whole 60 m pixels in a zone, and the part of it that the satellite saw."""

    crs: str
    bounds: Bounds
    seen: Polygon

    def centres(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """(x, y) of the pixel centres at that pixel size."""
        left, bottom, right, top = self.bounds
        x = np.arange(left + size / 2, right, size)
        y = np.arange(top - size / 2, bottom, -size)
        return np.meshgrid(x, y)


def write_scene(
    folder: Path, name: str, moment: datetime, said: Mapping[str, Any], scenery: Scenery, ground: Ground,
    random: np.random.Generator,
) -> dict[str, Any]:  # fmt: skip
    """The scene's files under the folder; returns its item."""
    granule = _granule(scenery, ground, random)
    old = bool(random.random() < 0.5)
    present = [band for band in scenery.bands if random.random() >= scenery.absent] or [scenery.bands[0]]
    shared = _blobs(granule, random, int(random.integers(0, 3)))
    tells_grid = bool(random.random() < 0.5)
    assets = {}
    for band in present:
        own = _blobs(granule, random, 1) if random.random() < 0.3 and not scenery.tame else []
        size = 20 if band == "swir16" or (band == "nir" and not scenery.fine_nir) else 10
        assets[band] = _band(folder / f"{name}-{band}.tif", granule, size, shared + own, scenery, random)
        # Old baselines have no offset, and some catalogs advertise one all the same.
        assets[band]["raster:bands"][0]["offset"] = -0.1 if not old or random.random() < 0.5 else 0
        if tells_grid:
            assets[band] |= _grid(granule, size)
    if random.random() >= scenery.no_classes:
        assets["scl"] = _classes(folder / f"{name}-scl.tif", granule, scenery, random)
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": name,
        "collection": "sentinel-2-l2a",
        **_footprint(granule),
        "properties": {
            "datetime": moment.isoformat().replace("+00:00", "Z"),
            "s2:processing_baseline": "02.14" if old else "05.09",
            **said,
        },
        "links": [],
        "assets": assets,
    }


def _granule(scenery: Scenery, ground: Ground, random: np.random.Generator) -> Granule:
    """A rectangle that holds some of the grid; the grid and more where the world is tame."""
    left, bottom, right, top = ground.bounds
    x, y = Transformer.from_crs(ground.crs, scenery.zone, always_xy=True).transform((left + right) / 2, (bottom + top) / 2)
    spans = []
    for middle, half in ((x, (right - left) / 2), (y, (top - bottom) / 2)):
        start = middle - half - 400 + random.random() * (0.0 if scenery.tame else half + 500)
        length = 0.8 * half + random.random() * 2 * half + 500
        start = math.floor(start / 60) * 60 + scenery.shift
        spans.append((start, start + math.ceil(length / 60) * 60 + (1200 if scenery.tame else 0)))
    (west, east), (south, north) = spans
    whole = box(west, south, east, north)
    seen = whole
    if random.random() < 0.4:
        angle, reach = random.random() * 2 * math.pi, 1e5
        near = (west + east) / 2 + (random.random() - 0.5) * 300, (south + north) / 2 + (random.random() - 0.5) * 300
        half_plane = Polygon([(0, -reach), (reach, -reach), (reach, reach), (0, reach)])
        turned = transform(half_plane, lambda points: _turned(points, angle, near))
        part = whole.intersection(turned)
        middle = box(x - (right - left) / 2 + 100, y - (top - bottom) / 2 + 100, x + (right - left) / 2 - 100, y + (top - bottom) / 2 - 100)
        if part.intersection(middle).area > 200 * 200:
            seen = part
    return Granule(crs=scenery.zone, bounds=(west, south, east, north), seen=seen)


def _turned(points: np.ndarray, angle: float, at: tuple[float, float]) -> np.ndarray:
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return points @ turn + np.array(at)


def _blobs(granule: Granule, random: np.random.Generator, n: int) -> list[tuple[float, float, float]]:
    left, bottom, right, top = granule.bounds
    return [
        (float(random.uniform(left, right)), float(random.uniform(bottom, top)), float(random.uniform(30, 200)))
        for _ in range(n)
    ]


def _inside(x: np.ndarray, y: np.ndarray, blob: tuple[float, float, float]) -> np.ndarray:
    return (x - blob[0]) ** 2 + (y - blob[1]) ** 2 < blob[2] ** 2


def _band(
    path: Path, granule: Granule, size: int, blobs: list[tuple[float, float, float]], scenery: Scenery,
    random: np.random.Generator,
) -> dict[str, Any]:  # fmt: skip
    """The asset of a band: noise, with the blobs and what lies outside the footprint missing."""
    from shapely import contains_xy

    x, y = granule.centres(size)
    numbers = random.integers(1100, 7000, x.shape).astype(np.uint16)
    holes = ~contains_xy(granule.seen, x, y)
    for blob in blobs:
        holes |= _inside(x, y, blob)
    sign = str(random.choice(list(scenery.signs)))
    corner = Affine(size, 0, granule.bounds[0], 0, -size, granule.bounds[3])
    said = write_band(path, numbers, holes, sign, transform=corner, crs=granule.crs)
    entry = {"data_type": "uint16", "scale": 0.0001, **({} if said is None else {"nodata": said})}
    return {"href": str(path), "type": "image/tiff; application=geotiff", "raster:bands": [entry], "title": sign}


def _classes(path: Path, granule: Granule, scenery: Scenery, random: np.random.Generator) -> dict[str, Any]:
    """The asset of scene classes: of 20 or 60 m, and over less or more than the bands."""
    size = int(random.choice([20, 60]))
    more = 0 if scenery.tame else int(random.choice([-180, 0, 0, 120]))
    left, bottom, right, top = granule.bounds
    wide = Granule(crs=granule.crs, bounds=(left - more, bottom - more, right + more, top + more), seen=granule.seen)
    x, y = wide.centres(size)
    classes = random.choice(np.array([4, 5, 6, 7], np.uint8), x.shape)
    for blob in _blobs(wide, random, 8):
        classes[_inside(x, y, blob)] = random.choice([0, 1, 2, 3, 8, 9, 10, 11, 8, 9, 3])
    header = 0 if scenery.tame or random.random() < 0.5 else None
    corner = Affine(size, 0, wide.bounds[0], 0, -size, wide.bounds[3])
    with open_new(path, classes, transform=corner, crs=granule.crs, header=header) as file:
        file.write(classes, 1)
    return {"href": str(path), "type": "image/tiff; application=geotiff", "raster:bands": [{"data_type": "uint8"}]}


def _grid(granule: Granule, size: int) -> dict[str, Any]:
    """The fields of the projection extension."""
    left, bottom, right, top = granule.bounds
    return {
        "proj:code": granule.crs,
        "proj:epsg": int(granule.crs.rpartition(":")[2]),
        "proj:shape": [round((top - bottom) / size), round((right - left) / size)],
        "proj:transform": [size, 0, left, 0, -size, top],
    }


def _footprint(granule: Granule) -> dict[str, Any]:
    shape = geographic(granule.seen.buffer(50, join_style="mitre"), granule.crs)
    return {"geometry": mapping(shape), "bbox": list(_bbox(shape))}


def around(bounds: Bounds, crs: str, grow: float) -> dict[str, Any]:
    """The GeoJSON of a box of a CRS, a little larger."""
    left, bottom, right, top = bounds
    return dict(mapping(geographic(box(left - grow, bottom - grow, right + grow, top + grow), crs)))


def geographic(shape: Polygon, crs: str) -> Any:
    """The shape in EPSG:4326, cut in two where it crosses 180 degrees."""
    to_lonlat = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)

    def project(points: np.ndarray) -> np.ndarray:
        lon, lat = to_lonlat.transform(points[:, 0], points[:, 1])
        # Without a jump at 180 degrees: all shapes here are small.
        return np.column_stack([np.where((lon < 0) & (np.max(lon) - np.min(lon) > 180), lon + 360, lon), lat])

    whole = transform(shape, project)
    if whole.bounds[2] <= 180:
        return whole
    east = whole.intersection(box(0, -90, 180, 90))
    west = translate(whole.intersection(box(180, -90, 540, 90)), xoff=-360)
    return east.union(west)


def _bbox(shape: Any) -> Bounds:
    """West to east, so that west is the greater where the shape crosses 180 degrees."""
    west, south, east, north = shape.bounds
    if east - west > 180:
        parts = [part.bounds for part in shape.geoms]
        west = min(bounds[0] for bounds in parts if bounds[0] > 0)
        east = max(bounds[2] for bounds in parts if bounds[0] < 0)
    return west, south, east, north
