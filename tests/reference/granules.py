"""Granules of random worlds: rectangles of a zone, the part of them that was seen, and their footprints."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from affine import Affine
from pyproj import Transformer
from shapely import Polygon, box, contains_xy, transform
from shapely.affinity import rotate, translate
from shapely.geometry import mapping, shape

Bounds = tuple[float, float, float, float]
Blob = tuple[float, float, float]
"""x, y and radius of a disc."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The grid's CRS, bounds and pixel size, and the two zones that meet there."""

    crs: str
    bounds: Bounds
    size: float
    zones: tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Granule:
    """A rectangle of whole 60 m pixels in a zone, and the part of it that the satellite saw."""

    crs: str
    bounds: Bounds
    seen: Polygon

    def shape(self, size: int) -> tuple[int, int]:
        """(height, width) at a pixel size."""
        left, bottom, right, top = self.bounds
        return round((top - bottom) / size), round((right - left) / size)

    def transform(self, size: int) -> Affine:
        """The transform at a pixel size."""
        return Affine(size, 0, self.bounds[0], 0, -size, self.bounds[3])

    def outside(self, size: int) -> np.ndarray:
        """Where the satellite saw nothing, (height, width)."""
        return ~contains_xy(self.seen, *self._centres(size))

    def inside(self, blobs: list[Blob], size: int) -> np.ndarray:
        """Where any of the discs is, (height, width)."""
        x, y = self._centres(size)
        found = np.zeros(x.shape, bool)
        for at_x, at_y, radius in blobs:
            found |= (x - at_x) ** 2 + (y - at_y) ** 2 < radius**2
        return found

    def blobs(self, random: np.random.Generator, n: int) -> list[Blob]:
        """So many random discs."""
        left, bottom, right, top = self.bounds
        lows, highs = (left, bottom, 30), (right, top, 200)
        return [tuple(float(number) for number in random.uniform(lows, highs)) for _ in range(n)]

    def wider(self, by: float) -> Granule:
        """The rectangle grown at each side, or shrunk."""
        left, bottom, right, top = self.bounds
        return Granule(crs=self.crs, bounds=(left - by, bottom - by, right + by, top + by), seen=self.seen)

    def footprint(self) -> dict[str, Any]:
        """The item's geometry, a little larger than what was seen, and its bbox."""
        shape = geographic(self.seen.buffer(50, join_style="mitre"), self.crs)
        return {"geometry": mapping(shape), "bbox": list(_bbox(shape))}

    def _centres(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        height, width = self.shape(size)
        cols, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
        return self.bounds[0] + cols * size, self.bounds[3] - rows * size


def whole_granule(ground: Ground, random: np.random.Generator) -> Granule:
    """A granule of the grid's zone that holds most of the grid, as a rule all of it; cut at times."""
    spans = [(start - 400, stop + 400) for start, stop in _sides(ground, ground.zones[0])]
    return _cut(_snapped(ground.zones[0], spans, 0.0), ground, random)


def random_granule(ground: Ground, crs: str, random: np.random.Generator, *, shift: float) -> Granule:
    """A granule of a zone that holds some of the grid, its corner so far off the lattice; cut at times."""
    spans = []
    for start, stop in _sides(ground, crs):
        half = (stop - start) / 2
        begin = start - 400 + random.random() * (half + 500)
        spans.append((begin, begin + 0.8 * half + random.random() * 2 * half + 500))
    return _cut(_snapped(crs, spans, shift), ground, random)


def _sides(ground: Ground, crs: str) -> list[tuple[float, float]]:
    """The grid's spans along x and y in a zone."""
    to_zone = Transformer.from_crs(ground.crs, crs, always_xy=True)
    west, south, east, north = to_zone.transform_bounds(*ground.bounds)
    return [(west, east), (south, north)]


def _snapped(crs: str, spans: list[tuple[float, float]], shift: float) -> Granule:
    (west, east), (south, north) = [
        (math.floor(start / 60) * 60 + shift, math.ceil(stop / 60) * 60 + shift) for start, stop in spans
    ]
    return Granule(crs=crs, bounds=(west, south, east, north), seen=box(west, south, east, north))


def _cut(granule: Granule, ground: Ground, random: np.random.Generator) -> Granule:
    """At times: the granule with all beyond a slanting line unseen, where enough of the grid stays in it."""
    angle, beside = random.random() * 360, (random.random() - 0.5) * 300
    if random.random() >= 0.4:
        return granule
    (west, east), (south, north) = _sides(ground, granule.crs)
    line = translate(box(0, -1e5, 1e5, 1e5), (west + east) / 2 + beside, (south + north) / 2)
    part = granule.seen.intersection(rotate(line, angle, origin=((west + east) / 2, (south + north) / 2)))
    enough = part.intersection(box(west + 100, south + 100, east - 100, north - 100)).area > 200 * 200
    return Granule(crs=granule.crs, bounds=granule.bounds, seen=part if enough else granule.seen)


def around(bounds: Bounds, crs: str, grow: float) -> dict[str, Any]:
    """The GeoJSON of a box of a CRS, a little larger."""
    left, bottom, right, top = bounds
    return dict(mapping(geographic(box(left - grow, bottom - grow, right + grow, top + grow), crs)))


def geographic(shape: Polygon, crs: str) -> Any:
    """The shape in EPSG:4326, cut in two where it crosses 180 degrees; it is small."""
    to_lonlat = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)

    def project(points: np.ndarray) -> np.ndarray:
        lon, lat = to_lonlat.transform(points[:, 0], points[:, 1])
        crosses = lon.max() - lon.min() > 180
        return np.column_stack([np.where(crosses & (lon < 0), lon + 360, lon), lat])

    whole = transform(shape, project)
    if whole.bounds[2] <= 180:
        return whole
    east = whole.intersection(box(0, -90, 180, 90))
    west = translate(whole.intersection(box(180, -90, 540, 90)), xoff=-360)
    return east.union(west)


def _bbox(shape: Any) -> Bounds:
    """West, south, east, north; west is the greater where the shape crosses 180 degrees."""
    west, south, east, north = shape.bounds
    if east - west > 180:
        parts = [part.bounds for part in shape.geoms]
        west = min(bounds[0] for bounds in parts if bounds[0] > 0)
        east = max(bounds[2] for bounds in parts if bounds[0] < 0)
    return west, south, east, north


def shares(item: Mapping[str, Any], other: Mapping[str, Any]) -> list[float]:
    """How much of two items' footprints is common, by the ways one may measure it: in shares of each, of both."""
    found = []
    for one, two in (
        [shape(each["geometry"]) for each in (item, other)],
        [_plain_box(each["bbox"]) for each in (item, other)],
    ):
        common = one.intersection(two).area
        found += [common / one.area, common / two.area, common / one.union(two).area]
    return found


def _plain_box(bounds: Bounds) -> Any:
    west, south, east, north = bounds
    return box(west, south, east if west <= east else east + 360, north)
