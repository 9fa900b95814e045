"""How far the values of a band lie from its card's statistics, and from where that is far."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.models.spec.statistics import BandStatistics
    from tilewright.tasks.audit.drift.sums import BandSums


MIXED: Final = 0.5
"""Ratio of the deviations from which an area holds as many kinds of land as the training did, or nearly so."""

FAR_MEAN, FAR_KIND = 1.0, 3.0
"""Deviations between the means from which a mixed area is far, and one of a single kind of land.

A lake or a forest alone may lie anywhere among the values of the training, which have few beyond three deviations. On
the embedded sample the whole area of another seed and year lies within 0.2, cuts of a few kilometres within 0.9.
"""

FAR_APART: Final = 1.0
"""Deviations by which two bands of a mixed area lie apart, one above what is expected and one below, from which they
are far.

Another mix of land moves bands together, another season against each other, as less near infrared and more red of
leafless woods do. On the embedded sample summers have 0.2 (cuts of a few kilometres up to 0.9), winters 1.3 and 1.5.
"""

WIDE: Final = 4.0
"""Ratio of the deviations from which values are spread too wide."""

OUTSIDE: Final = 0.5
"""Share of the values outside the range from which a band is far."""

NARROW: Final = 1e-3
"""Deviation by the range below which all values lie in one place of it, as those of another unit do."""

NARROW_RATIO: Final = 2e-3
"""Ratio of the deviations below which values are all but one number, as reflectance that is scaled twice.

Still water has some thousandths of the deviation among all kinds of land, by the noise of its sensor alone.
"""

LEAST_VALUES: Final = 100
"""Values below which nothing is said of a band."""

SCALED: Final = 30.0
"""Ratio of the means of all bands from which the numbers are of another unit."""

SWAPPED_BETTER: Final = 3.0
"""Times that bands in another order lie nearer to the card's statistics than in theirs, if they were swapped."""

SWAPPED_LEAST, SWAPPED_MOST = 0.1, 0.25
"""Mean squared distance of bands below which their order is not doubted, and above which another one fits no better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BandDrift:
    """A band's values beside its card's statistics: ``count`` of them, their mean and deviation.

    ``difference``: of the means, in the card's deviations. ``ratio``: of the deviations. ``outside``: share of the
    values beyond the card's range. None where the card does not tell. ``unit``: that of the input. ``far`` says why the
    band is far, "" if not.
    """

    name: str
    statistics: BandStatistics
    count: int
    mean: float
    stddev: float
    difference: float | None
    ratio: float | None
    outside: float | None
    unit: str = ""

    @property
    def far(self) -> str:
        """The word for how a band is far: "mean", "wide", "outside" or "narrow"; empty if it is not."""
        if self.count < LEAST_VALUES:
            return ""
        signs = {
            "mean": self._mean_is_far,
            "wide": (self.ratio or 0.0) >= WIDE,
            "outside": (self.outside or 0.0) >= OUTSIDE,
        }
        return next((word for word, far in signs.items() if far), "narrow" if self._is_narrow else "")

    @property
    def _mean_is_far(self) -> bool:
        if self.difference is None or self.ratio is None:
            return False
        return abs(self.difference) >= (FAR_MEAN if self.ratio >= MIXED else FAR_KIND)

    @property
    def _is_narrow(self) -> bool:
        told = self.statistics
        if self.ratio is not None:
            # Heights and slopes may well be one number.
            return self.unit == "reflectance" and self.ratio < NARROW_RATIO
        if told.mean is not None or told.minimum is None or told.maximum is None:
            return False
        return self.stddev < NARROW * (told.maximum - told.minimum)

    def to_json(self) -> dict[str, Any]:
        """The band's row of a report."""
        told = self.statistics
        expected = {"mean": told.mean, "stddev": told.stddev, "minimum": told.minimum, "maximum": told.maximum}
        return {
            "band": self.name,
            "values": self.count,
            "mean": self.mean,
            "stddev": self.stddev,
            "expected": {name: value for name, value in expected.items() if value is not None},
            "stated": told.stated,
            "difference": self.difference,
            "ratio": self.ratio,
            "outside_percent": None if self.outside is None else 100 * self.outside,
            "far": self.far,
        }


def band_drift(name: str, statistics: BandStatistics, sums: BandSums, *, unit: str = "") -> BandDrift | None:
    """A band beside its statistics; None if no value of it was seen."""
    if not sums.count:
        return None
    middle = Fraction(sums.total, sums.count)
    # The sums are exact, so that the difference loses nothing; sums that were tampered with may give less than 0.
    spread = max(Fraction(0), Fraction(sums.squares, sums.count) - middle**2)
    mean, stddev = statistics.origin + statistics.quantum * float(middle), statistics.quantum * math.sqrt(spread)
    difference = ratio = None
    if statistics.mean is not None and statistics.stddev is not None:
        difference, ratio = (mean - statistics.mean) / statistics.stddev, stddev / statistics.stddev
    ranged = statistics.minimum is not None
    return BandDrift(
        name=name,
        statistics=statistics,
        count=sums.count,
        mean=mean,
        stddev=stddev,
        difference=difference,
        ratio=ratio,
        outside=(sums.below + sums.above) / sums.count if ranged else None,
        unit=unit,
    )


def scale_of(bands: Sequence[BandDrift]) -> float | None:
    """How many times as large as expected the values of all bands are, if that is another unit; None if it is not."""
    times = [_times(band, band.statistics.mean) for band in bands if band.statistics.mean]
    known = [each for each in times if each is not None]
    if not known or len(known) < len(bands):
        return None
    middle = sorted(known)[len(known) // 2]
    return middle if min(known) >= SCALED or max(known) <= 1 / SCALED else None


def _times(band: BandDrift, expected: float) -> float | None:
    """How many times as large as expected a band's mean is; None where it has another sign, and is no small number.

    Of reflectance near 0 the mean may have either sign, as the quanta in which it is counted have it.
    """
    if band.mean * expected > 0:
        return band.mean / expected
    if band.unit != "reflectance":
        return None
    small = max(abs(band.mean), band.statistics.quantum) / abs(expected)
    return small if max(small, band.ratio or 0.0) <= 1 / SCALED else None


def apart_bands(bands: Sequence[BandDrift]) -> tuple[BandDrift, BandDrift] | None:
    """The band that lies lowest beside what is expected of it, and the highest, if they are far apart; else None."""
    mixed = [band for band in bands if band.difference is not None and (band.ratio or 0.0) >= MIXED]
    if not mixed or min(band.count for band in mixed) < LEAST_VALUES:
        return None
    low, high = min(mixed, key=_difference), max(mixed, key=_difference)
    return (low, high) if _difference(high) - _difference(low) >= FAR_APART else None


def _difference(band: BandDrift) -> float:
    return band.difference or 0.0


def swapped_bands(bands: Sequence[BandDrift]) -> list[tuple[str, str]]:
    """The bands (as named, as they look) whose values fit the statistics of others far better than their own.

    The distance of values from statistics is ((mean - mean') / deviation')**2 + log(deviation / deviation')**2, and the
    best order of bands that with the least sum (linear assignment). The bands that it moves are judged by themselves:
    the others may lie as far as they like. Bands whose statistics are alike are not told apart.
    """
    if len(bands) < 2 or not all(band.statistics.mean is not None and band.stddev > 0 for band in bands):
        return []
    costs = [[_distance(band, other.statistics) for other in bands] for band in bands]
    if sum(costs[index][index] for index in range(len(bands))) < SWAPPED_LEAST:
        return []
    # A third of a second of imports that only doubt pays.
    from scipy.optimize import linear_sum_assignment  # type: ignore[attr-defined]  # noqa: PLC0415

    _, order = linear_sum_assignment(costs)
    moved = [(index, other) for index, other in enumerate(order.tolist()) if other != index]
    own = sum(costs[index][index] for index, _ in moved)
    best = sum(costs[index][other] for index, other in moved)
    if own < SWAPPED_LEAST * len(moved) or best > min(own / SWAPPED_BETTER, SWAPPED_MOST * len(moved)):
        return []
    return [(bands[index].name, bands[other].name) for index, other in moved]


def _distance(band: BandDrift, told: BandStatistics) -> float:
    assert told.mean is not None, "bands that are compared have a mean"
    assert told.stddev is not None, "bands that are compared have a deviation"
    return float(((band.mean - told.mean) / told.stddev) ** 2 + math.log(band.stddev / told.stddev) ** 2)
