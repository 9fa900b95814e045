"""Whether a scene can have pixels on a geobox, told from metadata alone."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

from affine import Affine

from tasks.align import transformer

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from catalogs.items import BandAsset, Scene

Bounds = tuple[float, float, float, float]

MARGIN = 0.01
"""Share of a footprint's extent by which it is grown, for what projecting its edges may miss."""


def touches(scene: Scene, asset: BandAsset, geobox: GeoBox) -> bool:
    """False only if neither the file's extent nor the scene's bbox reaches the geobox; a doubt counts as True."""
    target, box = str(geobox.crs), geobox.boundingbox.bbox
    if _overlap(_scene_bounds(scene.bbox, target), box):
        return True
    if asset.shape is None or asset.transform is None or not asset.crs:
        return False
    return _overlap(_file_bounds(asset.crs, asset.shape, asset.transform, target), box)


def _overlap(one: Bounds | None, other: Bounds) -> bool:
    if one is None:
        return True
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


@lru_cache(maxsize=4096)
def _file_bounds(crs: str, shape: tuple[int, int], transform: tuple[float, ...], target: str) -> Bounds | None:
    affine = Affine(*transform[:6])
    corners = [affine * point for point in ((0, 0), (shape[1], 0), (0, shape[0]), (shape[1], shape[0]))]
    xs, ys = zip(*corners, strict=True)
    return _projected((min(xs), min(ys), max(xs), max(ys)), crs, target)


@lru_cache(maxsize=4096)
def _scene_bounds(bbox: Bounds, target: str) -> Bounds | None:
    """The bbox (EPSG:4326) in `target`; None where it crosses the antimeridian or leaves the CRS."""
    return None if bbox[0] > bbox[2] else _projected(bbox, "EPSG:4326", target)


def _projected(bounds: Bounds, source: str, target: str) -> Bounds | None:
    """Bounds in another CRS, a little grown; None where they are not finite."""
    minx, miny, maxx, maxy = transformer(source, target).transform_bounds(*bounds, densify_pts=21)
    if not all(math.isfinite(value) for value in (minx, miny, maxx, maxy)) or minx > maxx:
        return None
    dx, dy = (maxx - minx) * MARGIN, (maxy - miny) * MARGIN
    return minx - dx, miny - dy, maxx + dx, maxy + dy
