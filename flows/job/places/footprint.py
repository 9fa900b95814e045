"""The ground around the places of a job: few boxes that hold all of them, for the search of scenes and the Item."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely

from tilewright.tasks.grid.crs import transformer
from tilewright.tasks.tables.geoparquet import xy_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry

FINEST_CELL = 0.25
"""Degrees; rows within such a cell of a lattice are near each other, and share one box."""

MOST_CELLS = 256
"""Boxes of a footprint; a wider table has larger cells. One search has them all as its area."""

LEAST_MARGIN = 0.001
"""Degrees, about 100 m, around the points of a cell, so that one alone has an extent."""


def lonlats(geometries: NDArray[np.object_], crs: str) -> NDArray[np.float64]:
    """Longitude and latitude (row, 2) of the centroids; NaN without a geometry, and where there is no such place."""
    places = np.column_stack(transformer(crs, "EPSG:4326").transform(*xy_of(shapely.centroid(geometries))))
    with np.errstate(invalid="ignore"):
        places[~(np.isfinite(places).all(axis=1) & (np.abs(places[:, 1]) <= 90))] = np.nan
        places[:, 0] = (places[:, 0] + 180.0) % 360.0 - 180.0
    return places


def middle(places: NDArray[np.float64]) -> tuple[float, float]:
    """Longitude and latitude of the mean direction of places (n, 2) in degrees, wherever they lie around the globe."""
    lon, lat = np.radians(places).T
    x, y, z = (np.cos(lat) * np.cos(lon)).mean(), (np.cos(lat) * np.sin(lon)).mean(), np.sin(lat).mean()
    return float(np.degrees(np.arctan2(y, x))), float(np.degrees(np.arctan2(z, np.hypot(x, y))))


def footprint(places: NDArray[np.float64]) -> BaseGeometry:
    """The boxes in EPSG:4326 that hold the places (n, 2), one at least, none of them NaN."""
    side = FINEST_CELL
    while len(np.unique(np.floor(places / side), axis=0)) > MOST_CELLS:
        side *= 2
    _, cell = np.unique(np.floor(places / side), axis=0, return_inverse=True)
    order = np.argsort(cell.ravel(), kind="stable")
    starts = np.flatnonzero(np.diff(cell.ravel()[order], prepend=-1))
    low, high = (edge.reduceat(places[order], starts, axis=0) for edge in (np.minimum, np.maximum))
    margin = LEAST_MARGIN
    ends = np.clip(np.hstack([low - margin, high + margin]), [-180, -90] * 2, [180, 90] * 2)
    return shapely.union_all(shapely.box(*ends.T))
