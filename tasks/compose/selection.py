"""Composites that select one date per pixel for all bands."""

from __future__ import annotations

import numpy as np

from tilewright.tasks.compose.reducers import CLOUD_DISTANCE_M

DAYS_SPREAD = 30.0
"""Standard deviation of a date's score, in days from the middle of the period.

Source: White et al. (2014), section 3.2; the full reference is in `tasks/compose/reducers.py`.
"""

SLAB_ROWS = 64


def medoid(bands: np.ndarray) -> np.ndarray:
    """The index per pixel of the date closest to all other dates: (band, time, y, x) -> (y, x) intp, -1 for none.

    Distances are Euclidean over the bands and summed over the dates; of equal dates the earlier wins. A date counts if
    it has a value in every band. Source: N. Flood, Seasonal composite Landsat images using the medoid (2013).
    """
    chosen = np.empty(bands.shape[2:], dtype=np.intp)
    for start in range(0, bands.shape[2], SLAB_ROWS):
        rows = slice(start, start + SLAB_ROWS)
        chosen[rows] = _medoid_slab(bands[:, :, rows])
    return chosen


def _medoid_slab(bands: np.ndarray) -> np.ndarray:
    valid = ~np.isnan(bands).any(axis=0)
    filled = np.where(valid, bands, 0).astype(np.float32)
    n_dates = filled.shape[1]
    total = np.zeros(filled.shape[1:], dtype=np.float32)
    for one in range(n_dates):
        for other in range(one + 1, n_dates):
            distance = np.sqrt(((filled[:, one] - filled[:, other]) ** 2).sum(axis=0, dtype=np.float32))
            distance *= valid[one] & valid[other]
            total[one] += distance
            total[other] += distance
    return _least(np.where(valid, total, np.float32(np.inf)), valid)


def best_pixel(valid: np.ndarray, days: np.ndarray, *, middle: float, resolution: float) -> np.ndarray:
    """The index per pixel of the date with the best score: (time, y, x) bool, (time,) days -> (y, x) intp, -1 for none.

    The score is the sum of two: the distance to the nearest unusable pixel, and the days from `middle`; of equal dates
    the earlier wins. `resolution` in metres. Source: White et al. (2014), equations 1 and 3, each scaled to 0..1.
    """
    date_score = np.exp(-0.5 * ((days - middle) / DAYS_SPREAD) ** 2)
    best = np.full(valid.shape[1:], -1, dtype=np.intp)
    best_score = np.full(valid.shape[1:], -np.inf)
    for number, usable in enumerate(valid):
        score = cloud_distance_score(usable, resolution=resolution) + date_score[number]
        better = usable & (score > best_score)
        best[better], best_score[better] = number, score[better]
    return best


def cloud_distance_score(usable: np.ndarray, *, resolution: float) -> np.ndarray:
    """The score 0..1 of the distance to the nearest unusable pixel, (y, x) float64, highest from CLOUD_DISTANCE_M on.

    A logistic curve, centred at half that distance. Source: White et al. (2014), equation 1.
    """
    reach = CLOUD_DISTANCE_M / resolution
    distance = np.full(usable.shape, reach)
    if not usable.all():
        # A slow import, which one reducer alone needs; scipy names it at run time.
        from scipy.ndimage import distance_transform_edt  # type: ignore[attr-defined]  # noqa: PLC0415

        distance = np.minimum(distance_transform_edt(usable), reach)
    slope = 10.0 / reach
    score: np.ndarray = 1.0 / (1.0 + np.exp(-slope * (distance - reach / 2)))
    return score


def _least(total: np.ndarray, valid: np.ndarray) -> np.ndarray:
    chosen: np.ndarray = np.argmin(total, axis=0)
    chosen[~valid.any(axis=0)] = -1
    return chosen


def take_date(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The values (y, x) of the chosen dates, from (time, y, x) and indices (y, x); NaN for index -1."""
    taken = np.take_along_axis(values, np.maximum(chosen, 0)[None], axis=0)[0]
    return np.where(chosen < 0, values.dtype.type(np.nan), taken)
