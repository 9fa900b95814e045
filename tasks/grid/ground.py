"""Areas on the ground of the pixels of any grid, whatever its projection does to them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pyproj

from tilewright.tasks.grid.crs import geographic_crs, is_geographic, metres_per_unit, transformer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.grid.pixel_box import PixelBox


NODE_PX = 64
"""Pixels between the places where a projection is looked at; areas between them are interpolated."""

NODE_METRES = 20_000.0
"""Metres between these places at most: the areas of Mercator's pixels at 80 degrees are then right to 2e-5."""

PROBE_METRES = 500.0
"""Metres from such a place to the corners of the square whose area is taken: coordinates have an error of 1e-4 m."""

UNIFORM = 1e-3
"""Share by which the pixels of an area may differ and still count as equal, so that no pixel need be read again."""

BOXES_AT_ONCE = 1000
"""Boxes of which the projection is asked at a time: one call costs as much as a hundred more boxes in it."""

LOOKS = 33
"""Places along each side of a box at which its least and its largest pixel are sought."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ellipsoid:
    """An ellipsoid by its semi-major axis in km and its eccentricity, with the radius of its authalic sphere in km."""

    axis: float
    eccentricity: float
    radius: float


def _zone(sine: np.ndarray, *, eccentricity: float) -> np.ndarray:
    """Snyder's q of the sine of a latitude; twice the sine on a sphere.

    Source: J. P. Snyder, Map Projections (1987), equation 3-12.
    """
    if eccentricity == 0:
        return 2 * sine
    scaled = eccentricity * sine
    total: np.ndarray = sine / (1 - scaled**2) + np.arctanh(scaled) / eccentricity
    return (1 - eccentricity**2) * total


def pixel_km2(grid: Grid, box: PixelBox) -> np.ndarray:
    """The area on the ground of every pixel of a box of absolute pixels in km2, (height, width) float64.

    It is (height, 1) in a geographic CRS, where the pixels of a row are equal. A pixel has the same area in every box,
    to the last digits.
    """
    if is_geographic(grid.crs):
        return _row_km2(grid, range(box.row_start, box.row_stop))[:, None]
    step = max(1, min(NODE_PX, int(NODE_METRES / (grid.resolution * metres_per_unit(grid.crs)))))
    rows, down = _between(box.row_start, box.row_stop, step)
    cols, across = _between(box.col_start, box.col_stop, step)
    areas: np.ndarray = down @ _areas_at(grid, rows, cols) @ across.T
    return areas


def mean_pixel_km2(grid: Grid, box: PixelBox) -> float:
    """The mean area on the ground of the pixels of a box in km2, from a few of them.

    Source: Simpson's rule in both directions.
    """
    return mean_pixels_km2(grid, [box])[0]


def mean_pixels_km2(grid: Grid, boxes: Sequence[PixelBox]) -> list[float]:
    """``mean_pixel_km2`` of each of many boxes, for which the projection is asked for a thousand at a time."""
    if is_geographic(grid.crs):
        return [float(_row_km2(grid, range(box.row_start, box.row_stop)).mean()) for box in boxes]
    weights, found = np.array([1.0, 4.0, 1.0]) / 6, list[float]()
    for first in range(0, len(boxes), BOXES_AT_ONCE):
        some = boxes[first : first + BOXES_AT_ONCE]
        rows = np.linspace([box.row_start for box in some], [box.row_stop for box in some], 3, axis=1) - 0.5
        cols = np.linspace([box.col_start for box in some], [box.col_stop for box in some], 3, axis=1) - 0.5
        places = np.broadcast_arrays(rows[:, :, None], cols[:, None, :])
        squares, plane = _squares(grid, *places)
        found += [float(weights @ _filled(areas, plane) @ weights) for areas in squares]
    return found


def is_uniform(grid: Grid) -> bool:
    """True if no two pixels of the grid's extent differ by more than `UNIFORM` in area; never in a geographic CRS."""
    if is_geographic(grid.crs):
        return False
    extent = grid.extent
    areas = _areas_at(
        grid,
        np.linspace(extent.row_start, extent.row_stop, LOOKS) - 0.5,
        np.linspace(extent.col_start, extent.col_stop, LOOKS) - 0.5,
    )
    return bool(areas.max() <= areas.min() * (1 + UNIFORM))


def _row_km2(grid: Grid, rows: range) -> np.ndarray:
    """The area of one pixel in each of the rows of a geographic grid, (n_rows,) float64 in km2.

    Source: Snyder (1987), equation 3-15: the zone between two parallels.
    """
    ellipsoid = _ellipsoid(grid.crs)
    edges = np.clip(-np.arange(rows.start, rows.stop + 1) * grid.resolution, -90, 90)
    zones = _zone(np.sin(np.radians(edges)), eccentricity=ellipsoid.eccentricity)
    areas: np.ndarray = (zones[:-1] - zones[1:]) * math.radians(grid.resolution) / 2
    return areas * ellipsoid.axis**2


def _between(start: int, stop: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """(pixels at multiples of `step` that enclose the range, weights (n_pixels, n_nodes) of linear interpolation)."""
    nodes = np.arange(start // step, -(-(stop - 1) // step) + 1) * step
    places = np.arange(start, stop)
    left = np.minimum((places - nodes[0]) // step, max(len(nodes) - 2, 0))
    share = (places - nodes[left]) / step
    weights = np.zeros((len(places), len(nodes)))
    weights[np.arange(len(places)), left] = 1 - share
    if len(nodes) > 1:
        weights[np.arange(len(places)), left + 1] = share
    return nodes.astype(float), weights


def _areas_at(grid: Grid, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """The area in km2 of the pixels at the crossings of absolute rows and columns, which may be fractions.

    It is that of a square around the pixel's centre, as a flat one between points on a sphere as large as the
    ellipsoid, to which latitudes are moved so that no area changes. Where the projection has no such square the area
    of the next pixel is taken, or that of the plane if there is none.
    """
    squares, plane = _squares(grid, *np.meshgrid(rows, cols, indexing="ij"))
    return _filled(squares, plane)


def _squares(grid: Grid, rows: np.ndarray, cols: np.ndarray) -> tuple[np.ndarray, float]:
    """The areas in km2 of pixels at absolute rows and columns of any one shape, NaN without one; that of the plane."""
    size = grid.resolution
    half = max(size / 2, PROBE_METRES / metres_per_unit(grid.crs))
    y, x = -(rows + 0.5) * size, (cols + 0.5) * size
    corners = [_on_sphere(grid.crs, x + dx * half, y + dy * half) for dx, dy in ((-1, 1), (1, -1), (-1, -1), (1, 1))]
    first, second = corners[1] - corners[0], corners[3] - corners[2]
    squares = np.linalg.norm(np.cross(first, second), axis=-1) / 2
    areas: np.ndarray = squares * _ellipsoid(grid.crs).radius ** 2 * (size / (2 * half)) ** 2
    return areas, (size * metres_per_unit(grid.crs) / 1000) ** 2


def _on_sphere(crs: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Unit vectors (..., 3) of points of a CRS on its authalic sphere; NaN beyond the projection.

    Source: Snyder (1987), equations 3-11 and 3-12.
    """
    lon, lat = transformer(crs, geographic_crs(crs)).transform(x, y)
    lon, lat = np.where(np.isfinite(lon), lon, np.nan), np.where(np.isfinite(lat), lat, np.nan)
    eccentricity = _ellipsoid(crs).eccentricity
    poles = _zone(np.array([1.0]), eccentricity=eccentricity)[0]
    height = np.clip(_zone(np.sin(np.radians(lat)), eccentricity=eccentricity) / poles, -1, 1)
    width, turn = np.sqrt(1 - height**2), np.radians(lon)
    return np.stack([width * np.cos(turn), width * np.sin(turn), height], axis=-1)


def _filled(areas: np.ndarray, plane: float) -> np.ndarray:
    """The areas with the last known one of the row, then of the column, in place of NaN."""
    if np.isfinite(areas).all():
        return areas
    for turned in (areas, areas[:, ::-1], areas.T, areas.T[:, ::-1]):
        known = np.isfinite(turned)
        last = np.maximum.accumulate(np.where(known, np.arange(turned.shape[1]), 0), axis=1)
        turned[...] = np.take_along_axis(turned, last, axis=1)
    return np.where(np.isfinite(areas), areas, plane)


@lru_cache(maxsize=64)
def _ellipsoid(crs: str) -> _Ellipsoid:
    found = pyproj.CRS.from_user_input(crs).ellipsoid
    assert found is not None, "a CRS of the ground has an ellipsoid"
    axis = found.semi_major_metre / 1000
    eccentricity = math.sqrt(max(0.0, 1 - (found.semi_minor_metre / found.semi_major_metre) ** 2))
    poles = float(_zone(np.array([1.0]), eccentricity=eccentricity)[0])
    return _Ellipsoid(axis=axis, eccentricity=eccentricity, radius=axis * math.sqrt(poles / 2))
