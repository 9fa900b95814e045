"""Rounding under an error: never more than was asked, and nothing that depends on where a value stands."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewright.tasks.lossy.rounding import rounded, rounding_step

ERRORS = st.floats(min_value=1e-30, max_value=1e30)
VALUES = st.lists(st.floats(width=32), min_size=1, max_size=30)


@given(ERRORS)
def test_the_step_is_the_greatest_power_of_two_that_keeps_the_error(most):
    step = rounding_step(most)
    assert np.frexp(step)[0] == 0.5, "no power of two"
    assert step / 2 <= most < step


@given(VALUES, ERRORS)
def test_no_value_is_off_by_more_than_the_error(values, most):
    given_values = np.array([values], np.float32)
    stored = rounded(given_values, most=most)
    finite = np.isfinite(given_values)
    assert stored.dtype == np.float32
    np.testing.assert_array_equal(stored[~finite], given_values[~finite])
    off = np.abs(stored[finite].astype(np.float64) - given_values[finite].astype(np.float64))
    assert (off <= most).all()


@given(VALUES, ERRORS)
def test_what_is_rounded_is_not_rounded_further(values, most):
    once = rounded(np.array([values], np.float32), most=most)
    np.testing.assert_array_equal(rounded(once, most=most), once)


@given(VALUES, st.floats(min_value=1e-6, max_value=2.0), st.floats(-1, 0.5, width=32), st.floats(0.5, 1, width=32))
def test_a_value_of_the_range_stays_in_it(values, most, lowest, highest):
    given_values = np.clip(np.nan_to_num(np.array([values], np.float32)), lowest, highest)
    stored = rounded(given_values, most=most, valid_range=(lowest, highest))
    assert ((stored >= lowest) & (stored <= highest)).all()


def test_values_become_multiples_of_the_step():
    # An error of 0.1 allows steps of 0.125; 0.26 lies nearest to 0.25, and -0.03 to a 0 without a sign.
    stored = rounded(np.array([[0.26, 0.05, -0.03, np.nan]], np.float32), most=0.1)
    np.testing.assert_array_equal(stored, np.array([[0.25, 0, 0, np.nan]], np.float32))
    assert not np.signbit(stored[0, 2])


def test_a_value_does_not_depend_on_its_row():
    values = np.random.default_rng(1).normal(size=(700, 3)).astype(np.float32)
    whole = rounded(values, most=0.01)
    np.testing.assert_array_equal(whole, np.concatenate([rounded(row[None], most=0.01) for row in values]))


@pytest.mark.parametrize("most", [0.0, -1.0, float("nan"), float("inf")])
def test_an_error_that_is_none_has_no_step(most):
    with pytest.raises(AssertionError):
        rounding_step(most)
