"""Temperature scaling and conformal thresholds: by their definitions, and the promise kept over thousands of draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from scipy.stats import binom

from tilewright.tasks.audit.trust.conformal import (
    Threshold,
    alone_pixels,
    held_out,
    held_out_json,
    labels_needed,
    least_scores,
    thresholds,
    trusted_pixels,
)
from tilewright.tasks.audit.trust.labelled import FOLDS, LabelledScores, folds_of
from tilewright.tasks.audit.trust.temperature import LEAST, temperature_json

DRAWS = 2000


def labelled(labels, mapped, scores, *, weights=None, full=100.0, of="probabilities", seed=0) -> LabelledScores:
    n = len(labels)
    rng = np.random.default_rng(seed)
    weights = np.ones(n) if weights is None else weights
    return LabelledScores(
        labels=np.asarray(labels),
        mapped=np.asarray(mapped),
        scores=np.asarray(scores, dtype=np.float64),
        weights=weights,
        heaviest=float(weights.max()),
        folds=folds_of(rng.integers(-(2**30), 2**30, n), rng.integers(0, 2**30, n)),
        full=full,
        of=of,
        n_untold=0,
        n_repeated=0,
    )


def population(n: int, *, seed: int, sharpness: float = 1.0, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """True classes and stored percents (class, pixel) of a model that is `sharpness` times as sure as it is right."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (classes, n)) + np.array([0.5, 0.0, -1.0])[:classes, None]
    shares = np.exp(log_softmax(logits, axis=0)).cumsum(axis=0)
    truth = np.minimum((rng.random(n)[None] > shares).sum(axis=0), classes - 1)
    return truth, np.rint(np.exp(log_softmax(sharpness * logits, axis=0)) * 100)


@pytest.mark.parametrize(("coverage", "n"), [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99), (0.999, 999)])
def test_as_many_labels_are_needed_as_the_correction_says(coverage, n):
    assert labels_needed(coverage) == n
    for number, promised in ((n - 1, False), (n, True)):
        found = labelled([*([0] * number), 1], np.zeros(number + 1, int), np.ones((2, number + 1)))
        assert (thresholds(found, coverage)[0].value is not None) is promised


@pytest.mark.parametrize("coverage", [0.6, 0.8, 0.9, 0.95])
def test_a_threshold_is_the_score_that_so_many_reach(coverage):
    rng = np.random.default_rng(3)
    for n in (20, 33, 57, 100):
        scores = rng.integers(0, 101, (2, n))
        found = labelled(rng.integers(0, 2, n), rng.integers(0, 2, n), scores)
        for number, limit in enumerate(thresholds(found, coverage)):
            mine = np.sort(scores[number, found.labels == number])[::-1]
            place = math.ceil((len(mine) + 1) * coverage - 1e-9)
            assert limit.n == len(mine)
            assert limit.value == (mine[place - 1] if place <= len(mine) else None)


def test_a_pixel_is_trusted_where_its_class_alone_is_possible():
    rng = np.random.default_rng(4)
    limits = (
        Threshold(value=30, n=9, low=None),
        Threshold(value=None, n=1, low=None),
        Threshold(value=55, n=9, low=None),
    )
    mapped, scores = rng.integers(0, 4, (40, 50)), rng.integers(0, 101, (3, 40, 50))
    found = alone_pixels(mapped, scores, limits)
    least = (40.0, 0.0, None)
    assert (trusted_pixels(mapped, scores, limits, least) == found & (mapped == 0) & (scores[0] >= 40)).all()
    for row, col in np.ndindex(mapped.shape):
        possible = {k for k, each in enumerate(limits) if each.value is not None and scores[k, row, col] >= each.value}
        assert found[row, col] == (possible == {mapped[row, col]})
    assert 0 < found.sum() < found.size
    assert not found[mapped == 1].any(), "nothing is promised of it"
    assert not found[mapped == 3].any(), "it is no class"


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("coverage", [0.8, 0.9])
@pytest.mark.parametrize("of", ["probabilities", "confidence"])
def test_the_promise_is_kept_over_draws_of_the_labels(sharpness, coverage, of):
    """Of each class a pixel of its ground is covered with the probability promised, whatever the model: 2 000 draws."""
    truth, scores = population(60_000, seed=7, sharpness=sharpness)
    mapped = scores.argmax(axis=0)
    if of == "confidence":
        sure = scores.max(axis=0)
        scores = np.stack([np.where(mapped == k, sure, 100 - sure) for k in range(3)])
    rng = np.random.default_rng(8)
    covered, wrong, low = (np.full((DRAWS, 3), np.nan) for _ in range(3))
    ordered = [np.sort(scores[k, truth == k]) for k in range(3)]
    some = rng.choice(len(truth), 2_000, replace=False)
    of_some = [truth[some] == k for k in range(3)]
    for draw in range(DRAWS):
        chosen = rng.integers(0, len(truth), 150)
        limits = thresholds(labelled(truth[chosen], mapped[chosen], scores[:, chosen], of=of), coverage)
        off = alone_pixels(mapped[some], scores[:, some], limits) & (mapped[some] != truth[some])
        for k, limit in enumerate(limits):
            if limit.value is not None:
                covered[draw, k] = 1 - np.searchsorted(ordered[k], limit.value) / len(ordered[k])
                low[draw, k] = limit.low
                wrong[draw, k] = off[of_some[k]].mean()
    n = np.sum(~np.isnan(covered), axis=0)
    assert (n > 0.9 * DRAWS).all()
    mean, error = np.nanmean(covered, axis=0), np.nanstd(covered, axis=0) / np.sqrt(n)
    assert (mean >= coverage - 3 * error).all(), (mean, error)
    # Of percents a threshold covers all that has the same one.
    assert (mean <= coverage + 0.08).all(), mean
    assert (np.nanmean(wrong, axis=0) <= 1 - coverage + 0.01).all()
    below = np.nansum(covered < low, axis=0)
    assert (below <= binom.ppf(0.999, n, 0.05)).all(), "the coverage at worst is that of 95 draws in 100"


def test_the_promise_is_kept_by_a_sample_with_unequal_strata():
    """Strata by mapped class, as many labels of each: without weights the rare class would be covered too little."""
    truth, scores = population(60_000, seed=17)
    mapped = scores.argmax(axis=0)
    # Most of the map is of the first class.
    rng = np.random.default_rng(18)
    kept = (mapped == 0) | (rng.random(len(mapped)) < 0.15)
    truth, scores, mapped = truth[kept], scores[:, kept], mapped[kept]
    members = [np.flatnonzero(mapped == k) for k in range(3)]
    n_each, coverage = 150, 0.9
    found = {True: [], False: []}
    for _ in range(400):
        chosen = np.concatenate([rng.choice(each, n_each, replace=False) for each in members])
        weights = np.array([len(each) for each in members])[mapped[chosen]] / n_each
        for weighted, told in found.items():
            sample = labelled(
                truth[chosen], mapped[chosen], scores[:, chosen], weights=weights / weights.max() if weighted else None
            )
            assert sample.weighted is weighted
            limits = thresholds(sample, coverage)
            told.append([
                np.nan if each.value is None else (scores[k, truth == k] >= each.value).mean()
                for k, each in enumerate(limits)
            ])  # fmt: skip
    kept, plain = (np.array(found[weighted]) for weighted in (True, False))
    error = np.nanstd(kept, axis=0) / np.sqrt(np.sum(~np.isnan(kept), axis=0))
    assert (np.nanmean(kept, axis=0) >= coverage - 3 * error).all(), np.nanmean(kept, axis=0)
    assert (np.nanmean(plain, axis=0) < coverage - 0.05).any(), "weights are what keeps it"


def test_labels_held_out_do_not_flatter():
    """Cross-fitted coverage and accuracy of the trusted are those of the map, on average over draws."""
    truth, scores = population(40_000, seed=27, sharpness=2.0)
    mapped = scores.argmax(axis=0)
    rng = np.random.default_rng(28)
    gaps = []
    for draw in range(150):
        chosen = rng.integers(0, len(truth), 300)
        found = labelled(truth[chosen], mapped[chosen], scores[:, chosen], seed=draw)
        held = held_out(found, 0.8)
        told = held_out_json(found, held)
        trusted = trusted_pixels(mapped, scores, thresholds(found, 0.8), least_scores(found, held.alone, 0.8))
        gaps.append([told["right"] - (mapped == truth)[trusted].mean(), told["trusted"] - trusted.mean()])
        assert told["n"] == told["n_mapped"] == 300
    mean, error = np.mean(gaps, axis=0), np.std(gaps, axis=0) / np.sqrt(len(gaps))
    # Four fifths of the labels give thresholds that are a little more careful.
    assert (np.abs(mean) < 0.01 + 3 * error).all(), (mean, error)


def test_a_least_score_is_the_lowest_that_will_do():
    rng = np.random.default_rng(5)
    for n in (10, 60, 300):
        scores, mapped = rng.integers(20, 60, (2, n)), rng.integers(0, 2, n)
        own = scores[mapped, np.arange(n)]
        labels = np.where(rng.random(n) < own / 60, mapped, 1 - mapped)
        found, alone = labelled(labels, mapped, scores), rng.random(n) < 0.8
        for number, least in enumerate(least_scores(found, alone, 0.7)):
            will_do = []
            for score in range(20, 60):
                kept = alone & (mapped == number) & (scores[number] >= score)
                off = (labels[kept] != number).sum()
                if kept.any() and (off + 1) / (kept.sum() + 1) <= 0.3 + 1e-9:
                    will_do.append(score)
            assert (least is None) is (not will_do)
            if will_do:
                # Between two scores that occur all are one.
                assert min(will_do) <= least
                assert not (
                    (scores[number] >= min(will_do)) & (scores[number] < least) & alone & (mapped == number)
                ).any()


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("coverage", [0.8, 0.9])
@pytest.mark.parametrize("weighted", [False, True])
def test_what_is_trusted_is_right_as_often_as_asked(sharpness, coverage, weighted):
    """The share of trusted pixels that is wrong, on average over draws of the labels, none where nothing is trusted."""
    truth, scores = population(20_000, seed=37, sharpness=sharpness)
    mapped = scores.argmax(axis=0)
    rng = np.random.default_rng(38)
    members = [np.flatnonzero(mapped == k) for k in range(3)]
    wrong = []
    for draw in range(300):
        weights = None
        chosen = rng.integers(0, len(truth), 300)
        if weighted:
            chosen = np.concatenate([rng.choice(each, 100, replace=False) for each in members])
            weights = np.array([len(each) for each in members])[mapped[chosen]] / len(truth)
        found = labelled(truth[chosen], mapped[chosen], scores[:, chosen], weights=weights, seed=draw)
        least = least_scores(found, held_out(found, coverage).alone, coverage)
        trusted = trusted_pixels(mapped, scores, thresholds(found, coverage), least)
        wrong.append([
            (truth[kept] != k).mean() if (kept := trusted & (mapped == k)).any() else 0.0 for k in range(3)
        ])  # fmt: skip
    mean, error = np.mean(wrong, axis=0), np.std(wrong, axis=0) / np.sqrt(len(wrong))
    assert (mean <= 1 - coverage + 3 * error).all(), (mean, error)


def test_nothing_is_trusted_of_a_model_that_knows_nothing():
    rng = np.random.default_rng(39)
    n_trusted = 0
    for draw in range(100):
        labels, scores = rng.integers(0, 5, 400), rng.integers(0, 101, (5, 400))
        found = labelled(labels, scores.argmax(axis=0), scores, seed=draw)
        least = least_scores(found, held_out(found, 0.8).alone, 0.8)
        n_trusted += trusted_pixels(found.mapped, scores, thresholds(found, 0.8), least).sum()
    assert n_trusted / (100 * 400) < 0.002


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_temperature_is_the_likeliest(sharpness, classes):
    truth, scores = population(4_000, seed=5, sharpness=sharpness, classes=classes)
    told = temperature_json(labelled(truth, scores.argmax(axis=0), scores))
    logs = np.log(np.clip(scores / 100, 0.0025, 1)).T

    def loss(temperature: float) -> float:
        return -log_softmax(logs / temperature, axis=1)[np.arange(len(truth)), truth].mean()

    best = minimize_scalar(loss, bounds=(0.1, 10.0), method="bounded", options={"xatol": 1e-7}).x
    assert told["temperature"] == pytest.approx(best, rel=1e-5)
    assert told["temperature"] == pytest.approx(sharpness, rel=0.12)
    assert told["before"]["nll"] == pytest.approx(loss(1.0))
    assert told["after"]["nll"] == pytest.approx(loss(best), abs=2e-3)
    assert sum(row["n"] for row in told["after"]["bins"]) == told["n"] == 4_000
    assert told["after"]["ece"] < 0.03
    if sharpness != 1.0:
        assert told["after"]["ece"] < told["before"]["ece"] / 2


def test_the_temperature_of_a_sample_with_unequal_strata_is_that_of_the_map():
    """As many labels of each mapped class: unweighted, the rare one's would speak for the map."""
    truth, scores = population(60_000, seed=27, sharpness=1.0)
    mapped = scores.argmax(axis=0)
    rng = np.random.default_rng(28)
    # Of the class that is most of the map the model is four times as sure.
    first = mapped == 0
    logs = np.log(np.clip(scores / 100, 1e-4, 1))
    scores = np.where(first, 100 * np.exp(log_softmax(4 * logs, axis=0)), scores)
    kept = first | (rng.random(len(mapped)) < 0.1)
    truth, scores, mapped = truth[kept], scores[:, kept], mapped[kept]
    members = [np.flatnonzero(mapped == k) for k in range(3)]
    chosen = np.concatenate([rng.choice(each, 700, replace=False) for each in members])
    weights = np.array([len(each) for each in members])[mapped[chosen]] / 700
    whole = temperature_json(labelled(truth, mapped, scores))
    plain, weighed = (
        temperature_json(labelled(truth[chosen], mapped[chosen], scores[:, chosen], weights=each))
        for each in (None, weights / weights.max())
    )
    assert (plain["weighted"], weighed["weighted"]) == (False, True)
    assert weighed["temperature"] == pytest.approx(whole["temperature"], rel=0.1)
    assert plain["temperature"] < 0.8 * whole["temperature"]
    for key in ("ece", "nll"):
        assert weighed["before"][key] == pytest.approx(whole["before"][key], abs=0.05)
    assert sum(row["n"] for row in weighed["after"]["bins"]) == weighed["n"] == 2100


def test_the_confidence_of_two_classes_is_their_probabilities():
    truth, scores = population(900, seed=6, sharpness=2.0, classes=2)
    scores = np.clip(scores, 1, 99)
    scores[1] = 100 - scores[0]
    mapped = scores.argmax(axis=0)
    sure = scores.max(axis=0)
    alone = np.stack([np.where(mapped == k, sure, 100 - sure) for k in range(2)])
    one = temperature_json(labelled(truth, mapped, scores))
    other = temperature_json(labelled(truth, mapped, alone, of="confidence"))
    assert other["temperature"] == pytest.approx(one["temperature"], rel=1e-6)
    assert other["after"]["ece"] == pytest.approx(one["after"]["ece"], rel=1e-6)


def test_no_temperature_where_none_can_be_fitted():
    truth, scores = population(400, seed=9)
    mapped = scores.argmax(axis=0)
    few = temperature_json(labelled(truth[: LEAST - 1], mapped[: LEAST - 1], scores[:, : LEAST - 1]))
    assert (few["temperature"], few["after"]) == (None, None)
    assert few["note"] == "49 labels are too few to fit a temperature: 50 are needed."
    for told in (
        temperature_json(labelled(mapped, mapped, scores)),
        temperature_json(labelled(mapped, mapped, scores, of="confidence")),
    ):
        assert told["temperature"] is None
        assert told["note"] == "None of 400 labels is wrong: no temperature can be fitted."
    backwards = temperature_json(labelled(scores.argmin(axis=0), mapped, scores))
    assert backwards["temperature"] is None
    rng = np.random.default_rng(1)
    blind = temperature_json(labelled(rng.integers(0, 3, 400), mapped, np.where(scores == scores.max(axis=0), 99, 0)))
    assert blind["temperature"] is None or blind["temperature"] > 3


def test_labels_of_one_pixel_are_held_out_together_and_parts_are_alike():
    rows, cols = np.arange(-500, 500).repeat(4), np.tile(np.arange(4), 1000)
    folds = folds_of(rows, cols)
    assert (folds == folds_of(rows, cols)).all()
    order = np.random.default_rng(1).permutation(len(rows))
    assert (folds_of(rows[order], cols[order]) == folds[order]).all()
    often = np.bincount(folds, minlength=FOLDS)
    assert len(often) == FOLDS
    assert (np.abs(often - 800) < 100).all()
