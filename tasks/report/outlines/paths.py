"""Geometries as paths of a picture: whole numbers of parts of its pixels, in the words of SVG, as short as they can be.

Source: SVG 2, section 9.3, Path data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import shapely

if TYPE_CHECKING:
    from collections.abc import Iterable

PARTS = 4
"""Parts of a pixel of the picture, in which places on it are counted."""

COARSE = PARTS // 2
"""Parts to which corners are rounded, half a pixel, on a picture that is coarser than the product."""

LONGEST_PATH = 200_000
"""Letters of the path of one shape; a longer one is drawn more coarsely."""

COARSER = 6
"""Times that corners are rounded to twice as many parts for a path that is too long, before its box is drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureFrame:
    """The picture on which shapes are drawn: its bounds (minx, miny, maxx, maxy), its shape, and how many of the
    product's pixels a pixel of it stands for along a side; 1 is as fine as the product.
    """

    bounds: tuple[float, float, float, float]
    shape: tuple[int, int]
    shrunk: float

    def placed(self, geometries: np.ndarray) -> np.ndarray:
        """Geometries in parts of the picture's pixels, from its upper left corner to the right and down."""
        minx, miny, maxx, maxy = self.bounds
        scale = np.array([self.shape[1] * PARTS / (maxx - minx), -self.shape[0] * PARTS / (maxy - miny)])
        corner = np.array([minx, maxy])
        return np.asarray(shapely.transform(geometries, lambda points: (points - corner) * scale))

    @property
    def step(self) -> int:
        """Parts to which corners are rounded."""
        return 1 if self.shrunk <= 1 else COARSE


def boxes(placed: np.ndarray) -> np.ndarray:
    """The bounds (shape, 4) int64 of placed geometries, outwards; 0 where there is none."""
    bounds = np.nan_to_num(shapely.bounds(placed), nan=0.0, posinf=0.0, neginf=0.0).reshape(-1, 4)
    return np.hstack([np.floor(bounds[:, :2]), np.ceil(bounds[:, 2:])]).astype(np.int64)


def path(geometry: object, *, step: int) -> str:
    """The path of a placed geometry: its rings, their corners rounded to a step; empty for points, and for one that is
    smaller than a step.

    Corners are rounded, not dropped by their distances, which GEOS does by recursion: too deep for long rings.
    """
    for _ in range(COARSER):
        text = "".join(_ring(points, step) for points in _rings(geometry))
        if len(text) <= LONGEST_PATH:
            return text
        step *= 2
    return "".join(_ring(points, step) for points in _rings(shapely.envelope(geometry)))


def _rings(geometry: object) -> Iterable[np.ndarray]:
    """The rings of polygons (point, 2)."""
    parts = shapely.get_parts(geometry)
    for ring in shapely.get_rings(parts[shapely.get_type_id(parts) == shapely.GeometryType.POLYGON]):
        yield shapely.get_coordinates(ring)


def _ring(places: np.ndarray, step: int) -> str:
    points = np.rint(places / step).astype(np.int64) * step
    steps = np.diff(points, axis=0)
    moved = steps.any(axis=1)
    # Where a line goes on straight there is no corner.
    steps = steps[moved]
    if len(steps) < 3:
        return ""
    before = np.roll(steps, 1, axis=0)
    turns = steps[:, 0] * before[:, 1] != steps[:, 1] * before[:, 0]
    corners = points[:-1][moved][turns]
    if len(corners) < 3:
        return ""
    words = [f"M{corners[0, 0]} {corners[0, 1]}"]
    for across, down in np.diff(corners, axis=0).tolist():
        if not down:
            words.append(f"h{across}")
        elif not across:
            words.append(f"v{down}")
        else:
            words.append(f"l{across}{' ' if down > 0 else ''}{down}")
    return "".join(words) + "z"
