"""Sizes of samples and their parts, by the worked example of Olofsson et al. (2014), section 5.1."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewright.tasks.audit.design.allocation import allocate, deviation, shares, size_for
from tilewright.tasks.audit.design.estimate import DesignError

MAPPED = np.array([200_000, 150_000, 3_200_000, 6_450_000])
EXPECTED = np.array([0.7, 0.6, 0.9, 0.95])
NAMES = ("deforestation", "forest gain", "stable forest", "stable non-forest")


def test_a_standard_error_of_one_percent_takes_641_places_as_olofsson_has_it():
    neyman = shares(MAPPED, "neyman", EXPECTED)
    assert size_for(0.01, MAPPED, EXPECTED, neyman) == 641


def test_proportional_parts_of_641_are_those_of_olofsson():
    """Table 5 there: 13, 10, 205 and 413."""
    parts = allocate(641, MAPPED, shares(MAPPED, "proportional"), least=2, names=NAMES)
    assert parts.tolist() == [13, 10, 205, 413]


@pytest.mark.parametrize("allocation", ["proportional", "equal", "neyman"])
def test_the_size_gives_the_standard_error_that_was_asked_for(allocation):
    of_each = shares(MAPPED, allocation, EXPECTED)
    n = size_for(0.01, MAPPED, EXPECTED, of_each)
    parts, whole = n * of_each, MAPPED / MAPPED.sum()
    error = np.sqrt((whole**2 * deviation(EXPECTED) ** 2 * (1 / parts - 1 / MAPPED)).sum())
    assert error <= 0.01
    assert error == pytest.approx(0.01, rel=2e-3)


def test_neyman_takes_the_fewest_places():
    sizes = {
        each: size_for(0.01, MAPPED, EXPECTED, shares(MAPPED, each, EXPECTED))
        for each in ("proportional", "equal", "neyman")
    }
    assert sizes["neyman"] < sizes["proportional"] < sizes["equal"]


@pytest.mark.parametrize(
    ("n", "pixels", "of_each", "least", "parts"),
    [
        (10, [50, 50], [0.5, 0.5], 2, [5, 5]),
        (10, [1000, 10], [0.99, 0.01], 2, [8, 2]),
        (10, [1000, 1], [0.999, 0.001], 2, [9, 1]),
        (300, [10, 20, 1000], [1 / 3] * 3, 2, [10, 20, 270]),
        (100, [1000, 1000, 10], [0.5, 0.5, 0.0], 25, [45, 45, 10]),
        (7, [100, 100, 100], [1 / 3] * 3, 2, [3, 2, 2]),
        (30, [10, 20], [0.9, 0.1], 2, [10, 20]),
        (10, [100, 100], [0.0, 1.0], 2, [2, 8]),
    ],
)  # fmt: skip
def test_parts_are_whole_numbers_between_the_least_and_all(n, pixels, of_each, least, parts):
    found = allocate(n, np.array(pixels), np.array(of_each), least=least, names=["a", "b", "c"][: len(pixels)])
    assert found.tolist() == parts


@given(
    pixels=st.lists(st.integers(1, 10_000), min_size=1, max_size=12),
    share=st.floats(0, 1),
    least=st.integers(0, 60),
    allocation=st.sampled_from(["proportional", "equal", "neyman"]),
    accuracy=st.floats(0, 1),
)
def test_any_parts_are_together_what_was_asked_for(pixels, share, least, allocation, accuracy):
    sizes = np.array(pixels)
    lowest = np.minimum(max(least, 2), sizes)
    n = int(lowest.sum() + share * (sizes.sum() - lowest.sum()))
    of_each = shares(sizes, allocation, np.linspace(accuracy, 1, len(sizes)))
    parts = allocate(n, sizes, of_each, least=least, names=[str(each) for each in range(len(sizes))])
    assert parts.sum() == n
    assert (parts >= lowest).all()
    assert (parts <= sizes).all()


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (
            lambda: allocate(7, MAPPED, shares(MAPPED, "equal"), least=2, names=NAMES),
            "7 places are too few for 4 strata",
        ),
        (lambda: allocate(9, np.array([4, 4]), np.array([0.5, 0.5]), least=2, names=NAMES[:2]), "have 8 pixels, fewer"),
        (lambda: size_for(1e-5, MAPPED, EXPECTED, shares(MAPPED, "equal")), "more than 100,000: allow a larger one"),
        (lambda: size_for(0.01, MAPPED, np.ones(4), shares(MAPPED, "equal")), "--expect an accuracy between 0 and 1"),
    ],
)
def test_what_cannot_be_drawn_is_refused(ask, words):
    with pytest.raises(DesignError, match=words):
        ask()
