"""The bootstrap of two maps on labels is that of drawn rows, hangs on no order, and covers what it says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import betaincinv

from tilewright.tasks.compare.difference.bootstrap import PairedLabels, bootstrap

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
    overall, of_water = [], []
    for _ in range(4000):
        at = random.integers(0, 300, 300)
        labels, a, b = pairs.labels[at], pairs.a[at], pairs.b[at]
        overall.append((b == labels).mean() - (a == labels).mean())
        of_water.append(f1(labels, b, 1) - f1(labels, a, 1))
    for found, drawn in ((told["overall_accuracy"], overall), (told["per_class"]["water"], of_water)):
        low, high = np.percentile(drawn, [2.5, 97.5])
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


def test_no_labels_and_classes_that_nobody_has_say_nothing():
    nobody = np.array([], dtype=np.int64)
    told = bootstrap(PairedLabels(names=NAMES, scored=3, labels=nobody, a=nobody, b=nobody))
    assert (told["n"], told["better"], told["overall_accuracy"]["low"]) == (0, None, None)
    land = np.zeros(20, dtype=np.int64)
    told = bootstrap(PairedLabels(names=NAMES, scored=3, labels=land, a=land, b=land))
    assert told["per_class"]["water"] == dict.fromkeys(("a", "b", "difference", "low", "high"))
    overall = told["overall_accuracy"]
    assert (overall["a"], overall["b"], overall["difference"]) == (1.0, 1.0, 0.0)
    assert overall["low"] == -overall["high"] < 0
    assert told["better"] is None


@pytest.mark.parametrize("n", [1, 3, 4, 40, 1000])
@pytest.mark.parametrize("says", [(True, False), (False, True), (True, True), (False, False)])
def test_labels_that_all_say_the_same_are_no_certainty(n, says):
    """The interval ends where a map of which 97.5 % of samples would have shown otherwise begins."""
    labels = np.arange(n) % 3
    a, b = (np.where(right, labels, 3) for right in says)
    told = bootstrap(PairedLabels(names=NAMES, scored=3, labels=labels, a=a, b=b))
    overall, middle = told["overall_accuracy"], int(says[1]) - int(says[0])
    unseen = betaincinv(1, n, 0.975)
    assert overall["difference"] == middle
    assert overall["low"] == pytest.approx(max(-1, middle - unseen * (1 + abs(middle))))
    assert overall["high"] == pytest.approx(min(1, middle + unseen * (1 + abs(middle))))
    # One label, or three, make no map better; McNemar's test needs four.
    assert told["better"] == ({-1: "a", 1: "b"}.get(middle) if n >= 40 else None)
    water = told["per_class"]["water"]
    assert (water["low"], water["high"]) == (None, None)
