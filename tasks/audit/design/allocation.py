"""How many pixels of each stratum a sample takes: the size that a standard error asks for, and its parts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tilewright.tasks.audit.design.estimate import LEAST_ROWS, DesignError

if TYPE_CHECKING:
    from collections.abc import Sequence

ALLOCATIONS = ("proportional", "equal", "neyman")
"""Ways to part a sample among strata: by their pixels, alike, or by the standard deviation of all their pixels."""

MOST = 100_000
"""Pixels of a sample at most: nobody labels more, and all are in memory."""


def shares(n_pixels: np.ndarray, allocation: str, accuracy: np.ndarray | None = None) -> np.ndarray:
    """The share of a sample (stratum,) that each stratum of ``n_pixels`` gets; all together 1.

    ``accuracy`` (stratum,): the share of its pixels that is right, as far as one knows before, for ``neyman``: by
    N_h sqrt(c (1 - c)). Where nothing is expected to be wrong or right, that is proportional.

    Source: W. G. Cochran, Sampling Techniques, 3rd edition (1977), equations 5.25-5.27 (5.26 is Neyman's).
    """
    if allocation == "equal":
        return np.full(len(n_pixels), 1 / len(n_pixels))
    weights = n_pixels.astype(np.float64)
    if allocation == "neyman":
        assert accuracy is not None, "Neyman's allocation goes by expected accuracies"
        weights = weights * deviation(accuracy)
        if not weights.sum() > 0:
            weights = n_pixels.astype(np.float64)
    return np.asarray(weights / weights.sum())


def deviation(accuracy: np.ndarray) -> np.ndarray:
    """The standard deviation of being right, of pixels of which this share is."""
    return np.sqrt(accuracy * (1 - accuracy))


def size_for(standard_error: float, n_pixels: np.ndarray, accuracy: np.ndarray, of_each: np.ndarray) -> int:
    """The sample by which the overall accuracy has a standard error, with the shares ``of_each`` (stratum,).

    With Neyman's shares it is equation 13 of Olofsson et al. (2014).
    Source: Cochran (1977), equation 5.25: n = sum(W^2 S^2 / w) / (V + sum(W S^2) / N), W = N_h / N, w = n_h / n.
    Raises DesignError for more than `MOST`, or more than there are pixels.
    """
    whole = n_pixels / n_pixels.sum()
    variance = deviation(accuracy) ** 2
    if not variance.any():
        raise DesignError(
            "Every stratum is expected to be all right or all wrong: --expect an accuracy between 0 and 1."
        )
    asked = variance > 0
    above = float((whole[asked] ** 2 * variance[asked] / of_each[asked]).sum())
    n = math.ceil(above / (standard_error**2 + float((whole * variance).sum()) / n_pixels.sum()) - 1e-9)
    if n > MOST:
        raise DesignError(
            f"A standard error of {standard_error:g} takes {n:,} places, more than {MOST:,}: allow a larger one."
        )
    return max(n, 1)


def allocate(n: int, n_pixels: np.ndarray, of_each: np.ndarray, *, least: int, names: Sequence[str]) -> np.ndarray:
    """Whole numbers (stratum,) that are ``n`` together, by shares, at least ``least`` and at most a stratum's pixels.

    What a stratum lacks or cannot take is borne by the others, by their shares; of equal remainders the first stratum
    gets the pixel.

    Raises DesignError where there are fewer pixels than ``n``, or ``n`` is less than the least of all strata.
    """
    least_of = np.minimum(max(least, LEAST_ROWS), n_pixels)
    if n > n_pixels.sum():
        raise DesignError(
            f"The strata have {int(n_pixels.sum()):,} pixels, fewer than the {n:,} asked for: ask for fewer."
        )
    if n < least_of.sum():
        listed = ", ".join([*names[:6], "..."] if len(names) > 6 else names)
        raise DesignError(
            f"{n} places are too few for {len(names)} strata ({listed}), of which each takes at least "
            f"{max(least, LEAST_ROWS)}: ask for {int(least_of.sum())} or more."
        )
    low, high = least_of.astype(np.float64), n_pixels.astype(np.float64)
    fixed = np.full(len(n_pixels), np.nan)
    while True:
        free = np.isnan(fixed)
        left = n - np.nansum(fixed)
        weights = of_each[free]
        wished = left * (
            weights / weights.sum() if weights.sum() > 0 else np.full(len(weights), 1 / max(1, len(weights)))
        )
        below, above = low[free] - wished, wished - high[free]
        short, spare = float(below[below > 0].sum()), float(above[above > 0].sum())
        if short <= 0 and spare <= 0:
            break
        # What lies further beyond its bound is set first, or the rest would be given twice.
        held = below > 0 if short >= spare else above > 0
        bounds = low[free] if short >= spare else high[free]
        places = np.flatnonzero(free)[held]
        fixed[places] = bounds[held]
    wanted = fixed.copy()
    wanted[free] = wished
    return _rounded(wanted, n, high)


def _rounded(wanted: np.ndarray, n: int, high: np.ndarray) -> np.ndarray:
    """Whole numbers that are n together: those below, and one more where the remainders are largest."""
    floor = np.floor(wanted + 1e-9)
    order = np.lexsort([np.arange(len(wanted)), -(wanted - floor)])
    for place in order[: round(n - floor.sum())]:
        floor[place] += 1
    assert (floor <= high).all(), "no stratum is asked for more pixels than it has"
    return floor.astype(np.int64)
