"""The scenes that may have a pixel in a box, decided from metadata alone: one rule, with a spatial index.

A block reads the scenes that touch its outer box, its key holds them, and so an update redoes the blocks they touch.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import shapely
from affine import Affine
from shapely.geometry import shape

from tilewright.tasks.grid.crs import same_crs, transformer
from tilewright.tasks.read.resample.source_window import EDGE_POINTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shapely.geometry.base import BaseGeometry

    from tilewright.catalogs.scene import BandAsset, Scene
    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.grid.pixel_box import PixelBox

Bounds = tuple[float, float, float, float]

FOOTPRINT_SLACK = 0.02
"""Degrees, about 2 km: published footprints are simplified by some hundred metres, those of radar scenes by more."""

KERNEL_PIXELS = 2
"""File pixels that a resampling kernel may reach beyond a file's edge."""

EDGE_SHARE = 0.001
"""Margin on a projected extent, as a share of it, for the curvature between these points."""


class Coverage:
    """The scenes of one input with a spatial index over a grid.

    A scene touches a box if its footprint, buffered by FOOTPRINT_SLACK, intersects the box, unless the extents of its
    files do not reach it. File extents are exact where they are given; extents that do not contain the footprint
    contradict it and are ignored. An R-tree of the footprints makes a query cost about as much as its result.
    """

    def __init__(self, scenes: Sequence[Scene], grid: Grid) -> None:
        self.scenes = tuple(scenes)
        self._grid = grid
        self._tree = shapely.STRtree([shape(scene.geometry).buffer(FOOTPRINT_SLACK) for scene in self.scenes])
        # Filled on demand: a worker that does a few blocks of a country needs a few of its scenes.
        self._extents: dict[int, Bounds | None] = {}

    def indices(self, box: PixelBox) -> list[int]:
        """The indices in ``scenes`` of those that touch a box of the grid's pixels, ascending."""
        left, bottom, right, top = self._grid.geobox_of(box).boundingbox.bbox
        bounds = (left, bottom, right, top)
        outline = outline_of(bounds, self._grid.crs)
        across = shapely.affinity.translate(outline, xoff=-360.0)
        found = {int(index) for one in (outline, across) for index in self._tree.query(one, predicate="intersects")}
        return [index for index in sorted(found) if self._files_reach(index, bounds)]

    def touching(self, box: PixelBox) -> tuple[Scene, ...]:
        """The scenes that touch a box of the grid's pixels, in their order."""
        return tuple(self.scenes[index] for index in self.indices(box))

    def _files_reach(self, index: int, bounds: Bounds) -> bool:
        """False only if all files have extents, which together contain the footprint, and none reaches the box."""
        if index not in self._extents:
            self._extents[index] = _files_extent(self.scenes[index], self._grid.crs)
        extent, margin = self._extents[index], self._grid.resolution
        return extent is None or (
            extent[0] - margin < bounds[2]
            and bounds[0] < extent[2] + margin
            and extent[1] - margin < bounds[3]
            and bounds[1] < extent[3] + margin
        )


@lru_cache(maxsize=1024)
def outline_of(bounds: Bounds, crs: str) -> BaseGeometry:
    """A box's bounds in EPSG:4326; beyond 180 degrees where it crosses the antimeridian.

    The whole Earth for a box that reaches beyond the domain of its CRS.
    """
    west, south, east, north = transformer(crs, "EPSG:4326").transform_bounds(*bounds, densify_pts=EDGE_POINTS)
    if not all(map(math.isfinite, (west, south, east, north))):
        return shapely.box(-180, -90, 180, 90)
    return shapely.box(west, south, east + 360.0 if east < west else east, north)


def is_bounded_by_files(scene: Scene, target: str) -> bool:
    """True if a scene touches boxes in a CRS only where its files do, by their items' places for them."""
    return _files_extent(scene, target) is not None


def _files_extent(scene: Scene, target: str) -> Bounds | None:
    """Bounds of all files of a scene in the target CRS; None if one has none, or they contradict the footprint."""
    found = [_file_extent(asset, target) for asset in scene.assets]
    known = [extent for extent in found if extent is not None]
    if not known or len(known) < len(found):
        return None
    minx, miny, maxx, maxy = zip(*known, strict=True)
    whole = (min(minx), min(miny), max(maxx), max(maxy))
    outline = _buffered_outline(whole, target)
    return whole if outline is not None and outline.contains(shape(scene.geometry)) else None


@lru_cache(maxsize=4096)
def _buffered_outline(bounds: Bounds, crs: str) -> BaseGeometry | None:
    """Bounds as a polygon in EPSG:4326, buffered by FOOTPRINT_SLACK; None if they cross the antimeridian."""
    west, south, east, north = transformer(crs, "EPSG:4326").transform_bounds(*bounds, densify_pts=EDGE_POINTS)
    if not west < east:
        return None
    return shapely.box(west, south, east, north).buffer(FOOTPRINT_SLACK)


def _file_extent(asset: BandAsset, target: str) -> Bounds | None:
    """Bounds of a file in the target CRS, with the reach of resampling; None if its metadata has no extent."""
    if asset.shape is None or asset.transform is None or not asset.crs:
        return None
    return _projected_extent(asset.crs, asset.shape, asset.transform, target)


@lru_cache(maxsize=4096)
def _projected_extent(crs: str, shape: tuple[int, int], transform: tuple[float, ...], target: str) -> Bounds | None:
    affine, (height, width) = Affine(*transform[:6]), shape
    reach = KERNEL_PIXELS
    corners = [affine * (x, y) for x in (-reach, width + reach) for y in (-reach, height + reach)]
    xs, ys = zip(*corners, strict=True)
    bounds = (min(xs), min(ys), max(xs), max(ys))
    if same_crs(crs, target):
        return bounds
    minx, miny, maxx, maxy = transformer(crs, target).transform_bounds(*bounds, densify_pts=EDGE_POINTS)
    dx, dy = EDGE_SHARE * (maxx - minx), EDGE_SHARE * (maxy - miny)
    return (minx - dx, miny - dy, maxx + dx, maxy + dy) if maxx > minx else None
