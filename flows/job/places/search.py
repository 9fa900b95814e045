"""What is searched for the rows of a table: few spans of time, and of the scenes found those that some row may see."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import shapely

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry

Span = tuple[datetime, datetime]
"""The first and the last moment, both included."""

NEAR = timedelta(days=31)
"""Spans that lie nearer to each other are searched as one: what lies between them is left out by the rows' periods."""

MOST_SPANS = 24
"""Spans of time that are searched, each by a request of its own."""

METRES_PER_DEGREE = 110_574.0
"""Length of a degree of latitude at the equator, the shortest on the ellipsoid. Source: WGS 84."""

SLACK_DEGREES = 0.05
"""Degrees by which footprints may be wrong: a scene too many costs nothing but its line in the plan."""

FAR_LONGITUDE = 6.0
"""Degrees of longitude between the middle of a UTM zone and rows that the plan warns of: pixels are 0.5 % off."""


def joined_spans(spans: Iterable[Span]) -> list[Span]:
    """Few spans that hold all of these, in order: those near each other joined, and then the nearest of the others."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start - joined[-1][1] <= NEAR:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    while len(joined) > MOST_SPANS:
        gaps = [later[0] - earlier[1] for earlier, later in pairwise(joined)]
        nearest = gaps.index(min(gaps))
        joined[nearest : nearest + 2] = [(joined[nearest][0], joined[nearest + 1][1])]
    return joined


def seen_by_some(
    footprints: Sequence[BaseGeometry], places: NDArray[np.float64], *, metres: float
) -> NDArray[np.bool_]:
    """True for the footprints within so many metres of one of the places (n, 2) in degrees, and for some beyond."""
    points = shapely.STRtree(shapely.points(places))
    seen = np.zeros(len(footprints), dtype=bool)
    for number, outline in enumerate(footprints):
        degrees = metres / METRES_PER_DEGREE + SLACK_DEGREES
        _, south, _, north = outline.bounds
        highest = min(89.0, max(abs(south), abs(north)) + degrees)
        around = outline.buffer(degrees / math.cos(math.radians(highest)))
        seen[number] = any(
            len(points.query(shapely.affinity.translate(around, xoff=shift), predicate="intersects"))
            for shift in (-360.0, 0.0, 360.0)
        )
    return seen


def row_warnings(places: NDArray[np.float64], *, n_rows: int, crs: str, asked: str) -> Iterator[str]:
    """One sentence each on rows without a window, and on rows far from a UTM zone that was chosen for all of them.

    ``places`` (n, 2) in degrees are those of the rows that have a window.
    """
    without = n_rows - len(places)
    if without:
        rows = f"{without:,} of {n_rows:,} rows"
        yield f"places: {rows} have no geometry, or lie where {crs} has no place: they get no value."
    if asked.lower() != "utm" or not crs.startswith("EPSG:32"):
        return
    middle = (int(crs[-2:]) - 1) * 6 - 177
    off = np.abs((places[:, 0] - middle + 180) % 360 - 180)
    n_far = int((off > FAR_LONGITUDE).sum())
    if n_far:
        yield (
            f"places: {n_far:,} of {n_rows:,} rows lie over {FAR_LONGITUDE:g} degrees from the middle of {crs}, the "
            "grid of all rows, where pixels are larger than they are said to be: give a grid.crs made for all of "
            "them, or a job for each zone."
        )
