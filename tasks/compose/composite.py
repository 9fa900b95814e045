"""Composites: the passes of a step reduced to one value per pixel and band."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from tilewright.tasks.compose import reducers, selection
from tilewright.tasks.compose.reducers import (
    AVERAGING_REDUCERS,
    ORDERED_REDUCERS,
    SELECTING_REDUCERS,
    parse_reducer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import date

    from tilewright.catalogs.scene import Scene


def working_unit(unit: str, reducer: str) -> str:
    """The unit in which a band is reduced: averages of backscatter are taken of linear power."""
    return "linear" if unit == "db" and parse_reducer(reducer)[0] in AVERAGING_REDUCERS else unit


def scene_ranks(scenes: Sequence[Scene], reducer: str) -> dict[str, int]:
    """The place of each scene, by its id, in the order in which a reducer that takes the first value asks them.

    `first` asks the earliest first, `last` the latest, `least-cloudy` the one whose own item states the least cloud,
    unknown last, and the earlier of equal ones. It is one order wherever the scenes are used, as nothing but the scenes
    decides it. Empty for other reducers.
    """
    if reducer not in ORDERED_REDUCERS:
        return {}
    ordered = sorted(scenes, key=lambda scene: (scene.datetime, scene.id), reverse=reducer == "last")
    if reducer == "least-cloudy":
        ordered.sort(key=lambda scene: math.inf if scene.cloud_cover is None else scene.cloud_cover)
    return {scene.id: rank for rank, scene in enumerate(ordered)}


def pass_ranks(members: Sequence[Sequence[str]], ranks: Mapping[str, int]) -> list[int] | None:
    """The rank of each pass, given by its scenes' ids, where all of one pass come before all of the next; else None."""
    spans = [(min(places), max(places)) for places in ([ranks[scene] for scene in one] for one in members)]
    apart = all(one[1] < other[0] for one, other in pairwise(sorted(spans)))
    return [first for first, _ in spans] if apart else None


def reduce_passes(
    values: np.ndarray,
    reducer: str,
    *,
    ranks: Sequence[int] | np.ndarray | None = None,
    days: Sequence[str] = (),
    middle: date | None = None,
    resolution: float = 1.0,
) -> np.ndarray:
    """The composite (band, y, x) of observations (band, pass, y, x), both float32 in the working unit, NaN = none.

    Passes are ordered by time. `ranks` orders them for `first`, `last` and `least-cloudy`, 0 first: one number for each
    pass, or one for each pixel of each, (pass, y, x) (None: as they come, for `last` from the end). `best-pixel`
    prefers passes whose `days` (ISO) are close to `middle`, on pixels of `resolution` metres; without a `middle` it is
    that of the days.

    Raises ValueError for an unknown reducer.
    """
    kind, percent = parse_reducer(reducer)
    n_passes = values.shape[1]
    if n_passes == 0:
        return np.full((len(values), *values.shape[2:]), np.nan, dtype=np.float32)
    if kind in SELECTING_REDUCERS:
        chosen = _chosen(values, kind, days=days, middle=middle, resolution=resolution)
        return np.stack([selection.take_date(band, chosen) for band in values])
    if n_passes == 1:
        # Every other reducer gives the only observation back.
        return np.ascontiguousarray(values[:, 0])
    if isinstance(ranks, np.ndarray) and kind in ORDERED_REDUCERS:
        return np.stack([reducers.least_ranked(band, ranks) for band in values])
    order = list(range(n_passes))
    if kind in ORDERED_REDUCERS and ranks is not None:
        order.sort(key=lambda number: ranks[number])
    elif kind == "last":
        order.reverse()
    kernel = _kernel(kind, percent, order)
    return np.stack([kernel(band) for band in values])


def count_passes(values: np.ndarray) -> np.ndarray:
    """The observations of each pixel's least observed band, (band, pass, y, x) -> (y, x) uint16."""
    counts = [count_true(~np.isnan(band)) for band in values]
    least: np.ndarray = np.minimum.reduce(counts)
    return least


def count_true(flags: np.ndarray) -> np.ndarray:
    """The number of passes that are True, (pass, y, x) -> (y, x) uint16."""
    total = np.zeros(flags.shape[1:], dtype=np.uint16)
    for one in flags:
        total += one
    return total


def _kernel(kind: str, percent: float, order: list[int]) -> Callable[[np.ndarray], np.ndarray]:
    kernels: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "mean": reducers.mean,
        "median": reducers.median,
        "min": reducers.minimum,
        "max": reducers.maximum,
        "percentile": lambda values: reducers.percentile(values, percent),
        # The order of the passes is what tells these apart.
        **dict.fromkeys(sorted(ORDERED_REDUCERS), lambda values: reducers.first_valid(values, order)),
    }
    return kernels[kind]


def _chosen(
    values: np.ndarray, kind: str, *, days: Sequence[str], middle: date | None, resolution: float
) -> np.ndarray:
    """The index of the pass that is taken for all bands, (y, x) intp, -1 for none."""
    if kind == "medoid":
        return selection.medoid(values)
    numbers = np.array(days, dtype="datetime64[D]").astype(np.float64)
    centre = float((numbers.min() + numbers.max()) / 2)
    if middle is not None:
        centre = float(np.datetime64(middle, "D").astype(np.int64))
    usable = ~np.isnan(values).any(axis=0)
    return selection.best_pixel(usable, numbers, middle=centre, resolution=resolution)
