"""The bootstrap of two maps on labels is that of drawn rows, hangs on no order, and covers what it says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import betaincinv
from scipy.stats import binomtest

from tilewright.tasks.audit.evaluate.scores import mcnemar
from tilewright.tasks.compare.difference.bootstrap import PairedLabels, bootstrap, paired_interval

NAMES = ("land", "water", "forest", "no class")


def some_pairs(n: int, seed: int, *, right: tuple[float, float] = (0.8, 0.85)) -> PairedLabels:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, n)
    a, b = (np.where(random.random(n) < share, labels, random.integers(0, 4, n)) for share in right)
    return PairedLabels(names=NAMES, scored=3, labels=labels, a=a, b=b)


def f1(labels: np.ndarray, said: np.ndarray, kind: int) -> float:
    both = (labels == kind).sum() + (said == kind).sum()
    return 2 * ((labels == kind) & (said == kind)).sum() / both


def test_figures_and_intervals_are_those_of_rows_drawn_with_replacement():
    pairs = some_pairs(300, 1)
    told = bootstrap(pairs)
    random = np.random.default_rng(9)
    of_water = []
    for _ in range(4000):
        at = random.integers(0, 300, 300)
        labels, a, b = pairs.labels[at], pairs.a[at], pairs.b[at]
        of_water.append(f1(labels, b, 1) - f1(labels, a, 1))
    found = told["per_class"]["water"]
    low, high = np.percentile(of_water, [2.5, 97.5])
    assert (found["low"], found["high"]) == (pytest.approx(low, abs=0.006), pytest.approx(high, abs=0.006))
    assert told["overall_accuracy"]["a"] == pytest.approx((pairs.a == pairs.labels).mean())
    water = told["per_class"]["water"]
    assert water["b"] == pytest.approx(f1(pairs.labels, pairs.b, 1))
    assert water["difference"] == pytest.approx(water["b"] - water["a"])


def test_any_order_of_labels_and_of_classes_gives_the_same():
    pairs = some_pairs(200, 2)
    order = np.random.default_rng(3).permutation(200)
    turned = np.array([2, 0, 1, 3])
    names = ("water", "forest", "land", "no class")
    mixed = PairedLabels(
        names=names,
        scored=3,
        labels=turned[pairs.labels[order]],
        a=turned[pairs.a[order]],
        b=turned[pairs.b[order]],
    )
    assert bootstrap(mixed) == bootstrap(pairs)


def test_intervals_cover_the_difference_of_all_labels():
    whole = some_pairs(200_000, 4)
    truth = float((whole.b == whole.labels).mean() - (whole.a == whole.labels).mean())
    random = np.random.default_rng(6)
    covered = 0
    for _ in range(500):
        at = random.integers(0, 200_000, 250)
        drawn = PairedLabels(names=NAMES, scored=3, labels=whole.labels[at], a=whole.a[at], b=whole.b[at])
        found = bootstrap(drawn)["overall_accuracy"]
        covered += found["low"] <= truth <= found["high"]
    assert 0.925 <= covered / 500 <= 0.975


def test_the_interval_of_matched_proportions_is_the_one_published():
    """Agresti and Min (2005), formula (2): half a label in each cell of 2 x 2, then Wald's."""
    n, only_a, only_b = 80, 9, 3
    a, b = (np.zeros(n, dtype=np.int64) for _ in "ab")
    b[:only_a], a[only_a : only_a + only_b] = 1, 1
    pairs = PairedLabels(names=("x", "y"), scored=2, labels=np.zeros(n, dtype=np.int64), a=a, b=b)
    middle = (only_b - only_a) / (n + 2)
    half = 1.959963984540054 * math.sqrt((only_a + only_b + 1) - (only_b - only_a) ** 2 / (n + 2)) / (n + 2)
    told = bootstrap(pairs)["overall_accuracy"]
    assert told["low"] == pytest.approx(middle - half)
    # On this side the exact interval of B's share of the twelve ends farther out.
    exact = (2 * betaincinv(only_b + 1, only_a, 0.975) - 1) * (only_a + only_b) / n
    assert told["high"] == pytest.approx(max(middle + half, exact))
    assert told["difference"] == pytest.approx((only_b - only_a) / n)


def test_few_labels_on_which_maps_differ_name_no_winner():
    """Of four tosses all of one side the chance is one in eight."""
    labels, b = np.zeros(30, dtype=np.int64), np.zeros(30, dtype=np.int64)
    b[:4] = 1
    pairs = PairedLabels(names=("x", "y"), scored=2, labels=labels, a=labels, b=b)
    assert bootstrap(pairs)["better"] is None


def by_strata(counts: list[tuple[int, int, int, int]], sizes: list[float]) -> PairedLabels:
    """Labels by stratum: (both right, A alone, B alone, neither) of class 0, the wrong ones said to be 1."""
    a, b, stratum = [], [], []
    for number, (both, only_a, only_b, neither) in enumerate(counts):
        a += [0] * (both + only_a) + [1] * (only_b + neither)
        b += [0] * both + [1] * only_a + [0] * only_b + [1] * neither
        stratum += [number] * (both + only_a + only_b + neither)
    told = (np.array(each) for each in (a, b, stratum))
    a, b, of = told
    zeros = np.zeros(len(a), dtype=np.int64)
    return PairedLabels(names=("x", "y"), scored=2, labels=zeros, a=a, b=b, stratum=of, sizes=np.array(sizes))


def test_labels_of_a_sample_by_strata_stand_for_the_pixels_of_theirs():
    """Alone B is right more often, but where most of the map lies A is."""
    pairs = by_strata([(40, 10, 0, 0), (10, 0, 30, 10)], [9e6, 1e6])
    told = bootstrap(pairs)
    overall = told["overall_accuracy"]
    assert overall["a"] == pytest.approx(0.9 * 50 / 50 + 0.1 * 10 / 50)
    assert overall["b"] == pytest.approx(0.9 * 40 / 50 + 0.1 * 40 / 50)
    assert overall["low"] < overall["difference"] < overall["high"] < 0
    assert (told["weighted"], told["better"]) == (True, "a")
    # F1 of x from weighted counts: all labels are x, so that recall is the accuracy and precision 1.
    assert told["per_class"]["x"]["a"] == pytest.approx(2 * overall["a"] / (1 + overall["a"]))
    alike = PairedLabels(names=pairs.names, scored=2, labels=pairs.labels, a=pairs.a, b=pairs.b)
    assert bootstrap(alike)["better"] == "b"


def test_intervals_of_a_sample_by_strata_cover_the_difference_of_the_map():
    random = np.random.default_rng(8)
    sizes, drawn = np.array([9e6, 9e5, 1e5]), (200, 60, 60)
    chances = [(0.93, 0.01, 0.03, 0.03), (0.7, 0.1, 0.1, 0.1), (0.5, 0.2, 0.1, 0.2)]
    truth = sum(size / sizes.sum() * (each[2] - each[1]) for size, each in zip(sizes, chances, strict=True))
    covered = 0
    for _ in range(500):
        counts = [tuple(random.multinomial(n, each)) for n, each in zip(drawn, chances, strict=True)]
        found = paired_interval(by_strata(counts, list(sizes)))
        covered += found["low"] <= truth <= found["high"]
    assert 0.93 <= covered / 500 <= 0.99


def test_the_bootstrap_of_strata_draws_within_them():
    pairs = by_strata([(60, 10, 5, 5), (20, 5, 10, 5)], [5e6, 1e6])
    told = bootstrap(pairs)["per_class"]["x"]
    random, found = np.random.default_rng(4), []
    for _ in range(4000):
        right = {"a": 0.0, "b": 0.0}
        for number, size in enumerate((5e6, 1e6)):
            at = np.flatnonzero(pairs.stratum == number)
            at = random.choice(at, len(at))
            right["a"] += size * (pairs.a[at] == 0).mean()
            right["b"] += size * (pairs.b[at] == 0).mean()
        one, other = (2 * each / (6e6 + each) for each in right.values())
        found.append(other - one)
    low, high = np.percentile(found, [2.5, 97.5])
    assert (told["low"], told["high"]) == (pytest.approx(low, abs=0.006), pytest.approx(high, abs=0.006))


@pytest.mark.parametrize(("only_a", "only_b"), [(4, 0), (1, 0), (5, 4), (6, 12), (0, 9), (40, 80), (300, 290)])
def test_mcnemars_test_is_the_exact_one(only_a, only_b):
    told = mcnemar(1000, only_a, only_b)
    chance = binomtest(only_a, only_a + only_b).pvalue
    assert told["p_value"] == pytest.approx(chance)
    assert (told["better"] is not None) == (chance < 0.05)


def test_no_labels_and_classes_that_nobody_has_say_nothing():
    nobody = np.array([], dtype=np.int64)
    told = bootstrap(PairedLabels(names=NAMES, scored=3, labels=nobody, a=nobody, b=nobody))
    assert (told["n"], told["better"], told["overall_accuracy"]["low"]) == (0, None, None)
    land = np.zeros(20, dtype=np.int64)
    told = bootstrap(PairedLabels(names=NAMES, scored=3, labels=land, a=land, b=land))
    assert told["per_class"]["water"] == dict.fromkeys(("a", "b", "difference", "low", "high"))
    overall = told["overall_accuracy"]
    assert (overall["a"], overall["b"], overall["difference"]) == (1.0, 1.0, 0.0)
    # Twenty labels on which both are right do not prove that they are equal.
    assert -0.1 < overall["low"] < 0 < overall["high"] < 0.1
    assert told["better"] is None


@pytest.mark.parametrize("n", [1, 3, 4, 5, 6, 40, 1000])
@pytest.mark.parametrize("says", [(True, False), (False, True), (True, True), (False, False)])
def test_labels_that_all_say_the_same_are_no_certainty(n, says):
    """Where one map is right on all, the interval ends where 2.5 % of samples would have shown no other label."""
    labels = np.arange(n) % 3
    a, b = (np.where(right, labels, 3) for right in says)
    told = bootstrap(PairedLabels(names=NAMES, scored=3, labels=labels, a=a, b=b))
    overall, middle = told["overall_accuracy"], int(says[1]) - int(says[0])
    assert overall["difference"] == middle
    assert overall["low"] < overall["high"]
    if middle:
        unseen = 2 * betaincinv(1, n, 0.975)
        ends = (overall["high"] if middle < 0 else overall["low"]) * middle
        assert ends <= 1 - unseen + 1e-12
    # Five labels make no map better, as in McNemar's exact test.
    assert told["better"] == ({-1: "a", 1: "b"}.get(middle) if n >= 6 else None)
    water = told["per_class"]["water"]
    assert (water["low"], water["high"]) == (None, None)


@pytest.mark.parametrize("n", [4, 7, 12, 30, 80])
def test_the_interval_names_a_winner_only_where_the_exact_test_does(n):
    for only_a in range(n + 1):
        for only_b in range(n + 1 - only_a):
            a, b = (np.zeros(n, dtype=np.int64) for _ in "ab")
            b[:only_a], a[only_a : only_a + only_b] = 1, 1
            pairs = PairedLabels(names=("x", "y"), scored=2, labels=np.zeros(n, dtype=np.int64), a=a, b=b)
            found = paired_interval(pairs)
            assert found["low"] <= (only_b - only_a) / n <= found["high"]
            if found["low"] > 0 or found["high"] < 0:
                assert mcnemar(n, only_a, only_b)["p_value"] < 0.05
