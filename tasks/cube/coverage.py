"""Which scenes may have pixels in a box: what a block reads, what its key holds, and so what an update redoes."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import shapely
from affine import Affine
from shapely.geometry import shape

from tilewright.tasks.grid.crs import same_crs, transformer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry

    from tilewright.catalogs.scene import BandAsset, Scene
    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.grid.pixel_box import PixelBox


Bounds = tuple[float, float, float, float]

FOOTPRINT_SLACK = 0.02
"""Degrees, about 2 km: published footprints are simplified by up to some hundred metres, radar's by more."""

KERNEL_PIXELS = 2
"""File pixels that a resampling kernel may reach beyond a file's edge."""

EDGE_POINTS = 21
"""Points per side of a file in another CRS, and the share of its extent that their straight lines may miss."""

EDGE_SHARE = 0.001


MARGIN = 0.01
"""Share of a footprint's extent by which it is grown, for what projecting its edges may miss."""


def scenes_near(scenes: Sequence[Scene], grid: Grid, box: PixelBox) -> tuple[Scene, ...]:
    """The scenes that may have a pixel in a box, in their order.

    A footprint within FOOTPRINT_SLACK of the box may; unless the files' own extents, which are exact where they are
    given, end before it. Extents that do not hold the footprint contradict it and are not believed.
    """
    left, bottom, right, top = grid.geobox_of(box).boundingbox.bbox
    place = (left, bottom, right, top)
    outline = _outline(place, grid.crs)
    across = shapely.affinity.translate(outline, xoff=-360.0)
    return tuple(
        scene
        for scene in scenes
        if _meets(_grown_footprint(scene), outline, across) and _files_reach(scene, place, grid)
    )


def _meets(footprint: BaseGeometry, outline: BaseGeometry, across: BaseGeometry) -> bool:
    return bool(footprint.intersects(outline) or footprint.intersects(across))


@lru_cache(maxsize=1024)
def _outline(place: Bounds, crs: str) -> BaseGeometry:
    """A box's bounds in EPSG:4326; beyond 180 degrees where it crosses the antimeridian."""
    west, south, east, north = transformer(crs, "EPSG:4326").transform_bounds(*place, densify_pts=EDGE_POINTS)
    return shapely.box(west, south, east + 360.0 if east < west else east, north)


@lru_cache(maxsize=16384)
def _grown_footprint(scene: Scene) -> BaseGeometry:
    grown = shape(scene.geometry).buffer(FOOTPRINT_SLACK)
    shapely.prepare(grown)
    return grown


def _files_reach(scene: Scene, place: Bounds, grid: Grid) -> bool:
    """False only where every file says where it lies, together they hold the footprint, and none reaches the box."""
    extent = _files_extent(scene, grid.crs)
    if extent is None:
        return True
    margin = grid.resolution
    return (
        extent[0] - margin < place[2]
        and place[0] < extent[2] + margin
        and extent[1] - margin < place[3]
        and place[1] < extent[3] + margin
    )


@lru_cache(maxsize=16384)
def _files_extent(scene: Scene, target: str) -> Bounds | None:
    """Bounds in the target CRS that hold all files of a scene; None where one does not say, or they contradict it."""
    found = [_file_extent(asset, target) for asset in scene.assets]
    known = [extent for extent in found if extent is not None]
    if not known or len(known) < len(found):
        return None
    whole = _around(known)
    back = transformer(target, "EPSG:4326").transform_bounds(*whole, densify_pts=EDGE_POINTS)
    holds = shapely.box(*back).buffer(FOOTPRINT_SLACK).contains(shape(scene.geometry)) if back[0] < back[2] else False
    return whole if holds else None


def _file_extent(asset: BandAsset, target: str) -> Bounds | None:
    if asset.shape is None or asset.transform is None or not asset.crs:
        return None
    affine, (height, width) = Affine(*asset.transform[:6]), asset.shape
    reach = KERNEL_PIXELS
    corners = [affine * (x, y) for x in (-reach, width + reach) for y in (-reach, height + reach)]
    xs, ys = zip(*corners, strict=True)
    bounds = (min(xs), min(ys), max(xs), max(ys))
    if same_crs(asset.crs, target):
        return bounds
    minx, miny, maxx, maxy = transformer(asset.crs, target).transform_bounds(*bounds, densify_pts=EDGE_POINTS)
    dx, dy = EDGE_SHARE * (maxx - minx), EDGE_SHARE * (maxy - miny)
    return (minx - dx, miny - dy, maxx + dx, maxy + dy) if maxx > minx else None


def _around(extents: Sequence[Bounds]) -> Bounds:
    minx, miny, maxx, maxy = zip(*extents, strict=True)
    return min(minx), min(miny), max(maxx), max(maxy)


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
