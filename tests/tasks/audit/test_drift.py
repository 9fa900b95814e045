"""Exact sums of values, and from where a band is far: by hand, by whole numbers of any size, for any cut."""

from __future__ import annotations

import itertools
import json
import math
from fractions import Fraction

import numpy as np
import pytest

from tilewright.models.spec.statistics import BandStatistics
from tilewright.tasks.audit.drift.measure import apart_bands, band_drift, scale_of, swapped_bands
from tilewright.tasks.audit.drift.sums import MOST_QUANTA, PIECE, BandSums, add_sums, sums_of

NIR = BandStatistics(mean=0.316, stddev=0.116)
RANGE = BandStatistics(minimum=0.0, maximum=0.3)
EDGES = [0.0, -0.0, 1e-45, 1e30, -1e30, 3e38, -3e38, math.inf, -math.inf, math.nan, 0.3, 0.30000004, -1e-9]


def by_whole_numbers(values: np.ndarray, told: BandStatistics) -> BandSums:
    """The same by Python's whole numbers, one value after the other."""
    kept = [float(value) for value in values if math.isfinite(value)]
    quanta = [round(float(np.rint((value - told.origin) * (1 / told.quantum)))) for value in kept]
    quanta = [max(-int(MOST_QUANTA), min(int(MOST_QUANTA), each)) for each in quanta]
    ranged = told.minimum is not None
    with np.errstate(over="ignore"):
        low, high = (float(np.float32(end)) if ranged else 0.0 for end in (told.minimum, told.maximum))
    return BandSums(
        count=len(kept),
        total=sum(quanta),
        squares=sum(each * each for each in quanta),
        below=sum(value < low for value in kept) if ranged else 0,
        above=sum(value > high for value in kept) if ranged else 0,
    )


@pytest.mark.parametrize(
    "told",
    [
        *(NIR, RANGE, BandStatistics(mean=273.0, stddev=1e-3, minimum=200.0, maximum=300.0)),
        *(
            BandStatistics(mean=1e100, stddev=1e-90),
            BandStatistics(mean=-1e100, stddev=1e100, minimum=-1e300, maximum=1e300),
        ),
    ],
)
@pytest.mark.parametrize("spread", [0.1, 30.0, 1e4, 1e9])
def test_sums_are_exact_whatever_the_size_of_the_values(told, spread):
    random = np.random.default_rng(1)
    values = random.normal(max(-1e30, min(told.origin, 1e30)), spread, 4000).astype(np.float32)
    values[: len(EDGES)] = np.array(EDGES, dtype=np.float32)
    found = sums_of(values, told)
    assert found == by_whole_numbers(values, told)
    # A report is JSON, in which nothing is infinite.
    json.dumps(band_drift("x", told, found).to_json(), allow_nan=False)


def test_sums_do_not_hang_on_the_cut_or_the_order():
    random = np.random.default_rng(2)
    values = random.normal(0.3, 0.1, 3 * PIECE + 17).astype(np.float32)
    values[::1000] = np.array(EDGES, dtype=np.float32)[np.arange(len(values[::1000])) % len(EDGES)]
    whole = sums_of(values, NIR)
    assert sums_of(random.permutation(values), NIR) == whole
    for n_parts in (2, 7, 100):
        parts = [sums_of(part, NIR) for part in np.array_split(values, n_parts)]
        assert BandSums.from_json([sum(each) for each in zip(*(p.to_json() for p in parts), strict=True)]) == whole
        added = add_sums({"x": [part.to_json(), []]} for part in parts)
        assert added == {"x": [whole.to_json(), []]}


def test_the_mean_and_the_deviation_are_those_of_numpy():
    values = np.random.default_rng(3).normal(0.25, 0.08, 200_000).astype(np.float32)
    drift = band_drift("nir", NIR, sums_of(values, NIR))
    exact = values.astype(np.float64)
    assert drift.mean == pytest.approx(exact.mean(), abs=1e-7)
    assert drift.stddev == pytest.approx(exact.std(), rel=1e-5)
    assert drift.difference == pytest.approx((exact.mean() - 0.316) / 0.116, abs=1e-5)
    assert (drift.count, drift.far) == (200_000, "")
    # All in one place: no rounding makes a root of less than nothing.
    same = np.full(1000, 0.2, np.float32)
    assert band_drift("nir", NIR, sums_of(same, NIR)).stddev == 0.0
    assert band_drift("nir", NIR, BandSums()) is None
    assert band_drift("nir", NIR, BandSums(count=10, total=10**9, squares=0)).stddev == 0.0


def drifts(
    *bands: tuple[float, float], told: tuple[BandStatistics, ...], n: int = 1000, unit: str = "reflectance"
) -> list:
    """Bands that have these means and deviations."""
    found = []
    for number, ((mean, deviation), each) in enumerate(zip(bands, told, strict=True)):
        quanta = Fraction((mean - each.origin) / each.quantum)
        squares = n * (quanta**2 + Fraction(deviation / each.quantum) ** 2)
        sums = BandSums(count=n, total=round(n * quanta), squares=round(squares))
        found.append(band_drift(f"b{number}", each, sums, unit=unit))
    return found


FOUR = tuple(
    BandStatistics(mean=mean, stddev=deviation)
    for mean, deviation in ((0.046, 0.034), (0.073, 0.034), (0.066, 0.051), (0.316, 0.116))
)
RIGHT = ((0.048, 0.03), (0.074, 0.036), (0.067, 0.049), (0.3, 0.11))


@pytest.mark.parametrize(
    ("mean", "deviation", "word"),
    [
        (0.31, 0.116, ""),
        (0.41, 0.116, ""),  # 0.8 of a deviation: another mix of land
        (0.44, 0.116, "mean"),
        (0.19, 0.116, "mean"),
        (0.02, 0.01, ""),  # a lake alone: one kind of land
        (-0.1, 0.01, "mean"),
        (0.31, 0.5, "wide"),
        (3160.0, 1160.0, "mean"),
    ],
)
def test_a_band_is_far_by_its_mean_or_its_spread(mean, deviation, word):
    assert [band.far for band in drifts((mean, deviation), told=(NIR,))] == [word]
    # Of hardly a pixel nothing is said.
    assert [band.far for band in drifts((mean, deviation), told=(NIR,), n=50)] == [""]


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [(0.0, 0.3, ""), (0.1, 0.4, ""), (0.3, 0.6, "outside"), (-0.3, 0.0, "outside"), (1000.0, 3000.0, "outside")],
)
def test_a_band_is_far_by_its_range(low, high, word):
    values = np.linspace(low, high, 1000, dtype=np.float32)[1:-1]
    drift = band_drift("x", RANGE, sums_of(values, RANGE))
    assert drift.far == word
    assert (drift.difference, drift.ratio) == (None, None)


def test_reflectance_in_a_range_of_dn_is_narrow():
    told = BandStatistics(minimum=0.0, maximum=10_000.0)
    values = np.random.default_rng(4).uniform(0, 0.6, 1000).astype(np.float32)
    assert band_drift("x", told, sums_of(values, told)).far == "narrow"
    assert band_drift("x", told, sums_of(values * 10_000, told)).far == ""


def test_the_unit_of_all_bands_is_told_by_the_ratio_of_the_means():
    right = drifts(*RIGHT, told=FOUR)
    assert scale_of(right) is None
    dn = drifts(*((mean * 1e4 + 1000, deviation * 1e4) for mean, deviation in RIGHT), told=FOUR)
    assert 1e4 < scale_of(dn) < 5e4
    percent = drifts(*((mean * 100, deviation * 100) for mean, deviation in RIGHT), told=FOUR)
    assert 90 < scale_of(percent) < 110
    small = drifts(*((mean / 1e4, deviation / 1e4) for mean, deviation in RIGHT), told=FOUR)
    assert 1 / scale_of(small) == pytest.approx(1e4, rel=0.2)
    # One band of another unit is no other unit of all, and another sign is none.
    assert scale_of([*right[:3], dn[3]]) is None
    assert scale_of(drifts(*((-mean * 1e4, deviation) for mean, deviation in RIGHT), told=FOUR)) is None


@pytest.mark.parametrize("shift", [-1e-4, 0.0, 1e-4])
def test_reflectance_that_was_scaled_twice_is_another_unit_whatever_its_sign_in_quanta(shift):
    twice = drifts(*((mean / 1e4 + shift, deviation / 1e4) for mean, deviation in RIGHT), told=FOUR)
    assert {band.far for band in twice} <= {"narrow", "mean"}
    assert "narrow" in {band.far for band in twice}
    assert 0 < scale_of(twice) <= 1 / 30
    # Elevation of the sea, or a slope of flat land, is one number.
    height = BandStatistics(mean=400.0, stddev=300.0)
    sea = drifts((0.0, 0.0), (395.0, 0.0), told=(height, height), unit="m")
    assert ([band.far for band in sea], scale_of(sea)) == (["", ""], None)
    # Of one kind of land means may lie at 0 and deviations be small, and that is no other unit.
    assert scale_of(drifts(*((-0.002, 0.02) for _ in RIGHT), told=FOUR)) is None
    still = drifts(*((0.02, 0.004 * each.stddev) for each in FOUR), told=FOUR)
    assert "narrow" not in {band.far for band in still}


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_bands_in_another_order_are_named(order):
    swapped = swapped_bands(drifts(*(RIGHT[place] for place in order), told=FOUR))
    wrong = [(f"b{number}", f"b{place}") for number, place in enumerate(order) if number != place]
    assert bool(swapped) == bool(wrong)
    assert {name for name, _ in swapped} <= {name for name, _ in wrong}


def test_two_bands_that_were_swapped_are_told_also_where_the_others_lie_far():
    """Another season moves near infrared; blue and red still fit each other's statistics alone."""
    found = [RIGHT[2], RIGHT[1], RIGHT[0], (RIGHT[3][0] - 1.5 * RIGHT[3][1], RIGHT[3][1])]
    assert swapped_bands(drifts(*found, told=FOUR)) == [("b0", "b2"), ("b2", "b0")]
    far = [*RIGHT[:3], (RIGHT[3][0] - 1.5 * RIGHT[3][1], RIGHT[3][1])]
    assert swapped_bands(drifts(*far, told=FOUR)) == []


def test_a_lake_or_snow_is_no_swap_of_bands():
    lake, snow = ((0.04, 0.01), (0.05, 0.01), (0.03, 0.01), (0.01, 0.005)), ((0.8, 0.1),) * 4
    assert swapped_bands(drifts(*lake, told=FOUR)) == swapped_bands(drifts(*snow, told=FOUR)) == []
    assert apart_bands(drifts(*lake, told=FOUR)) is None
    assert [band.far for band in drifts(*snow, told=FOUR)] == ["mean"] * 4
    constant = [*RIGHT[:3], (0.3, 0.0)]
    assert swapped_bands(drifts(*constant, told=FOUR)) == []


def test_bands_that_move_against_each_other_are_far_and_those_that_move_together_are_not():
    def moved(*by: float) -> list:
        told = zip(FOUR, by, strict=True)
        return drifts(*((each.mean + d * each.stddev, each.stddev) for each, d in told), told=FOUR)

    winter = moved(0.5, 0.35, 0.47, -0.78)
    assert [band.far for band in winter] == [""] * 4
    assert [band.name for band in apart_bands(winter)] == ["b3", "b0"]
    assert apart_bands(moved(0.8, 0.8, 0.8, 0.7)) is None
    assert apart_bands(moved(-0.4, -0.4, -0.3, 0.5)) is None
