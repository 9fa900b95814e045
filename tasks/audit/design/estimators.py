"""Stratified estimators of totals, means and ratios of a population of pixels, with their variances.

Sources: S. V. Stehman, Estimating area and map accuracy for stratified random sampling when the strata are different
from the map classes, Int. J. Remote Sens. 35 (2014), 4923-4939, whose equations are named; P. Olofsson et al., Good
practices for estimating area and assessing accuracy of land change, Remote Sens. Environ. 148 (2014), 42-57, whose
equations 1-11 are the case of strata that are the map's classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import betaincinv

Z = 1.96
"""Standard errors on each side of an estimate in an interval of 95 %, as in both papers."""

OUTSIDE = 0.025
"""Probability beyond each end of such an interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StratifiedRows:
    """Labelled pixels by stratum: ``stratum`` (row,) numbers of strata, ``n_pixels`` (stratum,) the size N_h of each.

    Every stratum has a row. ``finite``: the share sampled, n_h / N_h, is taken off variances. Stehman (2014) does so,
    Olofsson et al. (2014) do not; of strata of many pixels it shows in no digit.
    """

    stratum: np.ndarray
    n_pixels: np.ndarray
    finite: bool = True

    def __post_init__(self) -> None:
        assert len(self.stratum), "nothing can be estimated of no rows"
        assert (self.n_rows > 0).all(), "a stratum without a row has no mean"
        assert (self.n_rows <= self.n_pixels).all(), "no stratum has more rows than pixels"

    @property
    def n_rows(self) -> np.ndarray:
        """The rows n_h of each stratum."""
        return np.bincount(self.stratum, minlength=len(self.n_pixels))

    @property
    def whole(self) -> np.ndarray:
        """True for each stratum of which every pixel is a row: nothing of it is estimated."""
        return self.n_rows == self.n_pixels

    def means(self, values: np.ndarray) -> np.ndarray:
        """The mean of values (row,) in each stratum."""
        return np.bincount(self.stratum, weights=values, minlength=len(self.n_pixels)) / self.n_rows

    def total(self, values: np.ndarray) -> float:
        """The estimated total of values (row,) over all pixels. Source: Stehman (2014), equation 2, times N."""
        return float((self.n_pixels * self.means(values)).sum())

    def total_variance(self, values: np.ndarray) -> float:
        """The variance of ``total``; NaN if a stratum of several pixels has one row, of which nothing tells it.

        Source: Stehman (2014), equation 25, times N squared.
        """
        n = self.n_rows
        squares = np.bincount(
            self.stratum, weights=(values - self.means(values)[self.stratum]) ** 2, minlength=len(self.n_pixels)
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = squares / (n - 1)
        share = 1 - n / self.n_pixels if self.finite else 1.0
        of_each = np.where(self.whole & self.finite, 0.0, self.n_pixels**2 * share * spread / n)
        return float(of_each.sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimated:
    """An estimate, its standard error, and the ends of the interval that holds the truth in 95 of 100 samples.

    NaN: not known. ``alike``: all rows of each stratum say the same, and the interval is that of Clopper and Pearson.
    """

    estimate: float
    standard_error: float = math.nan
    low: float = math.nan
    high: float = math.nan
    alike: bool = False

    def to_json(self) -> dict[str, float | None]:
        """Its four numbers, null for what is not known: where all rows say the same, the standard error."""
        named = {name: getattr(self, name) for name in ("estimate", "standard_error", "low", "high")}
        if self.alike:
            named["standard_error"] = math.nan
        return {name: value if math.isfinite(value) else None for name, value in named.items()}


def ratio(rows: StratifiedRows, above: np.ndarray, below: np.ndarray) -> Estimated:
    """The ratio of two totals of values (row,), NaN where the lower one is 0. Ones below give a mean.

    Both are shares (0-1), ``above`` never more than ``below``: so is the interval, which is Wilson's for as many rows
    of a simple random sample as have the same variance. The papers' estimate +- 1.96 errors holds the truth of a class
    with 80 labels in 75 to 95 of 100 samples, too seldom.
    Sources: Stehman (2014), equations 27 and 28; of a mean 2 and 25. N. Dean, M. Pagano, Evaluating confidence interval
    methods for binomial proportions in clustered surveys, J. Survey Stat. Methodol. 3 (2015), 484-503.
    """
    whole = rows.total(below)
    if not whole > 0:
        return Estimated(estimate=math.nan)
    share = rows.total(above) / whole
    # The variance of y - R x is that of y, R squared times that of x, less 2 R times their covariance.
    variance = rows.total_variance(above - share * below) / whole**2
    found = _within(rows, share, variance, below > 0, most=1.0)
    return found if found.alike or not 0 < found.estimate < 1 else _by_score(found)


def _by_score(found: Estimated) -> Estimated:
    """The share between 0 and 1 with Wilson's interval in place of that of its standard error."""
    share, variance = found.estimate, found.standard_error**2
    # Of a population seen whole, and of one whose variance is not known, there is nothing to change.
    if not variance > 0:
        return found
    spread = Z**2 * variance / (share * (1 - share))
    middle, half = share + spread / 2, Z * math.sqrt(variance + spread**2 / (4 * Z**2))
    return replace(found, low=max(0.0, (middle - half) / (1 + spread)), high=min(1.0, (middle + half) / (1 + spread)))


def total(rows: StratifiedRows, values: np.ndarray, *, most: float) -> Estimated:
    """The total of values (row,) that are at least 0, of which all pixels together have at most ``most``.

    Source: Stehman (2014), equations 2 and 25, times the number of pixels.
    """
    everywhere = np.ones(len(values), dtype=bool)
    return _within(rows, rows.total(values), rows.total_variance(values), everywhere, most=most)


def _within(rows: StratifiedRows, estimate: float, variance: float, asked: np.ndarray, *, most: float) -> Estimated:
    """The estimate with its interval inside 0 and ``most``; ``asked`` are the rows that tell of it."""
    estimate = min(max(estimate, 0.0), most)
    if math.isnan(variance):
        return Estimated(estimate=estimate)
    error = math.sqrt(max(variance, 0.0))
    told = np.unique(rows.stratum[asked])
    if error > most * 1e-12 or rows.whole[told].all():
        low, high = max(0.0, estimate - Z * error), min(most, estimate + Z * error)
        return Estimated(estimate=estimate, standard_error=error, low=low, high=high)
    # The formula's 0 is no measure of what no row happened to hit.
    n, share = _effective(rows, asked), estimate / most
    low = float(betaincinv(share * n, n - share * n + 1, OUTSIDE)) if share > 0 else 0.0
    high = float(betaincinv(share * n + 1, n - share * n, 1 - OUTSIDE)) if share < 1 else 1.0
    return Estimated(estimate=estimate, standard_error=0.0, low=most * low, high=most * high, alike=True)


def _effective(rows: StratifiedRows, asked: np.ndarray) -> float:
    """The rows of a simple random sample that would tell as much.

    Sources: E. L. Korn, B. I. Graubard, Confidence intervals for proportions with small expected number of positive
    counts, Survey Methodology 24 (1998): the interval of Clopper and Pearson, with the number of rows that unequal
    weights leave, which is that of L. Kish, Survey Sampling (1965).
    """
    weights = (rows.n_pixels / rows.n_rows)[rows.stratum[asked]]
    return float(weights.sum() ** 2 / (weights**2).sum())
