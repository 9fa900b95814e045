"""How days become one value per pixel, by name, and what that asks of a plan: reach and memory."""

from __future__ import annotations

import math

REDUCERS = ("first", "last", "least-cloudy", "median", "mean", "min", "max", "medoid", "best-pixel")
"""The reducers by name; beside them `percentile:p` with p from 0 to 100."""

AVERAGING = frozenset({"median", "mean", "percentile"})
"""Reducers that compute between values, so that backscatter must be linear power for them."""

CHOOSING = frozenset({"medoid", "best-pixel"})
"""Reducers that need all bands of a pixel at once."""

CHOOSING_BY_DATE = frozenset({"best-pixel"})
"""Reducers that ask how far a day is from the middle of its step."""

CLOUD_DISTANCE_M = 1500.0
"""Metres from the nearest unusable pixel beyond which more distance is no better.

Source: White et al., Pixel-based image compositing for large-area dense time series applications (2014), table 2:
50 pixels of 30 m.
"""


def parse_reducer(reducer: str) -> tuple[str, float]:
    """(kind, percent) of a reducer's name; percent is 50 where it has none. Raises ValueError for an unknown one."""
    kind, separator, number = reducer.partition(":")
    if not separator and kind in REDUCERS:
        return kind, 50.0
    try:
        percent = float(number)
    except ValueError:
        percent = math.nan
    if kind == "percentile" and 0 <= percent <= 100:
        return kind, percent
    raise ValueError(f"reducer {reducer!r} is not known: give one of {', '.join(REDUCERS)} or percentile:p, p 0 to 100")


def reducer_radius_px(reducer: str, resolution: float) -> int:
    """Pixels by which a composite reaches beyond a pixel: to be added to the halo of a block."""
    return math.ceil(CLOUD_DISTANCE_M / resolution) if reducer == "best-pixel" else 0


def predicted_bytes(shape: tuple[int, int], *, n_days: int, n_bands: int, reducer: str = "median") -> int:
    """Memory that a composite of (height, width) pixels takes at its peak, in bytes.

    Bands are reduced one after another: the days of one band as float32, its next band being read, the mask of every
    day; reducers that choose a date hold all bands.
    """
    kind, _ = parse_reducer(reducer)
    pixels = shape[0] * shape[1]
    held = n_bands if kind in CHOOSING else min(n_bands, 2)
    return pixels * (n_days * (4 * held + 2) + 4 * n_bands + 16)
