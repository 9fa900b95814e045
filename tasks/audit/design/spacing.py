"""Drawn pixels thinned until no two of them are nearer to each other than a distance on the ground."""

from __future__ import annotations

from itertools import product as combinations
from typing import TYPE_CHECKING

import numpy as np

from tilewright.tasks.audit.design.estimate import DesignError
from tilewright.tasks.grid.crs import geographic_crs, transformer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.tasks.audit.design.draw import Drawn
    from tilewright.tasks.grid.grid import Grid

POOL = 32
"""Pixels looked at for each one that is wanted, beside `LEAST_POOL` of each stratum."""

LEAST_POOL = 1000

RADIUS, FLATTENING = 6_378_137.0, 1 / 298.257223563
"""Of the ellipsoid of WGS 84, in metres; another one would move places alike."""


def pool_sizes(wanted: np.ndarray, n_pixels: np.ndarray) -> np.ndarray:
    """How many pixels of each stratum are drawn so that ``wanted`` of them can be left."""
    return np.minimum(wanted * POOL + LEAST_POOL, n_pixels)


def spaced(drawn: Drawn, wanted: np.ndarray, grid: Grid, *, metres: float, names: Sequence[str]) -> Drawn:
    """Of drawn pixels ``wanted`` (stratum,) of each stratum, no two less than ``metres`` apart in a straight line.

    They are taken in the order in which they would be labelled without a distance; one that is too near to an earlier
    one, of any stratum, is left out. So pixels beside one another are drawn together less often than the design says,
    and in small strata some pixels are drawn more often than others.

    Raises DesignError, naming a stratum that has no room for what is wanted of it.
    """
    counts = np.bincount(drawn.stratum, minlength=len(wanted))
    starts = np.cumsum(counts) - counts
    rank = np.arange(len(drawn.rows)) - starts[drawn.stratum]
    order = np.lexsort([drawn.hashes, (rank + 0.5) / wanted[drawn.stratum]])
    places = _positions(drawn, grid)
    cells = np.floor(places / metres).astype(np.int64)
    taken: dict[tuple[int, ...], list[int]] = {}
    kept: list[int] = []
    left = wanted.copy()
    around = list(combinations((-1, 0, 1), repeat=3))
    for number in order.tolist():
        stratum = drawn.stratum[number]
        if not left[stratum]:
            continue
        cell = tuple(cells[number].tolist())
        near = [other for step in around for other in taken.get(tuple(map(sum, zip(cell, step, strict=True))), ())]
        if near and (((places[near] - places[number]) ** 2).sum(axis=1) < metres**2).any():
            continue
        taken.setdefault(cell, []).append(number)
        kept.append(number)
        left[stratum] -= 1
        if not left.any():
            break
    for name, missing, n in zip(names, left, wanted, strict=True):
        if missing:
            raise DesignError(
                f"Of the stratum {name!r} only {n - missing} places were found that lie {metres:g} m from all others, "
                f"not {n}: give a smaller --min-distance, or ask for fewer places."
            )
    return drawn.taken(np.sort(np.array(kept)))


def _positions(drawn: Drawn, grid: Grid) -> np.ndarray:
    """The pixels' centres (pixel, 3) in metres from the middle of the Earth.

    Source: EPSG Guidance Note 7-2, method 9602, geographic to geocentric.
    """
    size = grid.resolution
    x, y = (drawn.cols + 0.5) * size, -(drawn.rows + 0.5) * size
    lon, lat = transformer(grid.crs, geographic_crs(grid.crs)).transform(x, y)
    turn, angle = np.radians(lon), np.radians(lat)
    squared = FLATTENING * (2 - FLATTENING)
    normal = RADIUS / np.sqrt(1 - squared * np.sin(angle) ** 2)
    across = normal * np.cos(angle)
    found = np.stack([across * np.cos(turn), across * np.sin(turn), normal * (1 - squared) * np.sin(angle)], axis=1)
    if not np.isfinite(found).all():
        raise DesignError(f"Some places lie where {grid.crs} has no longitude and latitude: leave --min-distance out.")
    return found
