"""The noise of a loop: normal, the same for a place whatever is computed around it, and on every machine."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from scipy import special, stats

from tilewright.models.transforms.noise import normal_noise, place_hashes, quantile

ROWS, COLS = range(-540_032, -539_632), range(40_064, 40_464)


def noise(rows=ROWS, cols=COLS, *, seed=7, step=0, channels=3):
    return normal_noise(seed=seed, step=step, channels=channels, rows=rows, cols=cols)


def test_the_quantile_is_that_of_the_normal_distribution_to_seven_digits():
    shares = np.concatenate(
        [np.logspace(-12, -0.4, 4000), np.linspace(0.01, 0.99, 999), 1 - np.logspace(-12, -0.4, 99)]
    )
    np.testing.assert_allclose(quantile(shares), special.ndtri(shares), rtol=1e-6, atol=1e-7)
    ends = quantile(np.array([0.5 * 2.0**-52, 0.5, 1 - 0.5 * 2.0**-52]))
    assert np.isfinite(ends).all()
    assert ends[1] == 0


def test_mean_spread_and_shape_are_those_of_the_normal_distribution():
    for plane in noise():
        values = plane.astype(np.float64).ravel()
        # Five deviations of what so many independent numbers may have.
        assert abs(values.mean()) < 5 / np.sqrt(values.size)
        assert abs(values.std() - 1) < 5 / np.sqrt(2 * values.size)
        assert abs(stats.skew(values)) < 5 * np.sqrt(6 / values.size)
        assert abs(stats.kurtosis(values)) < 5 * np.sqrt(24 / values.size)
        assert stats.kstest(values[::7], "norm").pvalue > 1e-4


@pytest.mark.parametrize("apart", [(0, 0, 1), (0, 1, 0), (0, 1, 1), (0, 1, -1), (1, 0, 0), (0, 64, 0), (0, 0, 64)])
def test_neighbours_and_channels_have_nothing_in_common(apart):
    field = noise().astype(np.float64)
    moved = np.roll(field, apart, axis=(0, 1, 2))
    assert abs((field * moved).mean()) < 5 / np.sqrt(field.size)


@pytest.mark.parametrize("change", [{"seed": 8}, {"seed": 0}, {"step": 1}, {"rows": range(400)}], ids=str)
def test_another_seed_step_or_place_is_other_noise(change):
    assert abs((noise() * noise(**change)).mean()) < 0.01


def test_a_place_has_its_noise_whatever_lies_around_it():
    whole = noise()
    part = noise(range(ROWS.start + 100, ROWS.start + 150), range(COLS.start + 7, COLS.start + 9))
    assert np.array_equal(part, whole[:, 100:150, 7:9])
    assert np.array_equal(noise(channels=1)[0], whole[0])


def test_the_noise_is_the_same_on_every_machine():
    # Whole numbers, and sums, products, quotients and roots of floats alone, which IEEE 754 rounds exactly.
    content = noise().astype("<f4").tobytes()
    assert hashlib.sha256(content).hexdigest() == "465af1870ca4b570319d4da507d28175c266dc9811e72922014ba667bd29e7d8"


def test_rows_and_columns_are_no_pair_that_can_be_swapped():
    start = np.zeros((), np.uint64)
    hashes = place_hashes(start, range(-300, 300), range(-300, 300))
    assert len(np.unique(hashes)) == hashes.size
