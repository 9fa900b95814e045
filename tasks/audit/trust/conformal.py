"""Conformal thresholds by class: of each class's ground at least the share asked for keeps its class as possible.

A class is possible at a pixel if its score there reaches the class's threshold. The promise is of each class by itself,
of any model, and exact for finite samples: over draws of the labels, a pixel of the class is covered with at least that
probability. A pixel may be trusted where one class alone is possible, and that is the mapped one. Of a model that knows
nothing such pixels are mostly wrong, so each mapped class has a least score too: from it on, as many of them as asked
for are right on labels held out, with one more taken for wrong.

Source: Vovk, Conditional validity of inductive conformal predictors (2012), section 4; of labels that stand for
different numbers of pixels: Tibshirani, Barber, Candes and Ramdas, Conformal prediction under covariate shift (2019),
corollary 1, with the weight of the heaviest pixel for the one that is predicted; of the least scores: Jin and Candes,
Selection by prediction with conformal p-values (2023), section 2, with the labels in place of what is chosen from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.tasks.audit.trust.labelled import FOLDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.tasks.audit.trust.labelled import LabelledScores

SLACK = 1e-9
"""Part by which sums of weights may miss what they must reach: 0.9 of 10 is 9."""

UNLUCKY = 0.05
"""Share of draws of the labels in which the coverage is below ``coverage_low``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """The least score at which a class is possible, None where its labels are too few to promise anything.

    ``n`` are its labels. With ``low`` as probability UNLUCKY, drawing the labels gave thresholds that cover less.
    """

    value: float | None
    n: int
    low: float | None


def labels_needed(coverage: float) -> int:
    """The labels of a class without which no coverage can be promised: n with (n + 1) * coverage <= n."""
    return math.ceil(coverage / (1 - coverage) * (1 - SLACK))


def thresholds(found: LabelledScores, coverage: float) -> tuple[Threshold, ...]:
    """The threshold of every class, by its index."""
    return tuple(_threshold(found, number, coverage) for number in range(len(found.scores)))


def _threshold(found: LabelledScores, number: int, coverage: float) -> Threshold:
    mine = found.labels == number
    scores, weights, n = found.scores[number, mine], found.weights[mine], int(mine.sum())
    order = np.argsort(-scores, kind="stable")
    reached = np.cumsum(weights[order])
    needed = coverage * (float(weights.sum()) + found.heaviest) * (1 - SLACK)
    place = int(np.searchsorted(reached, needed))
    if place >= n:
        return Threshold(value=None, n=n, low=None)
    low = None
    if not found.weighted:
        from scipy.special import betaincinv  # noqa: PLC0415 - slow to load, and only of use here

        # Source: Angelopoulos and Bates, A Gentle Introduction to Conformal Prediction (2021), section 3.2.
        low = float(betaincinv(place + 1, n - place, UNLUCKY))
    return Threshold(value=float(scores[order[place]]), n=n, low=low)


def alone_pixels(mapped: np.ndarray, scores: np.ndarray, found: Sequence[Threshold]) -> np.ndarray:
    """Where the mapped class alone is possible, (...) bool, for mapped indices (...) and scores (class, ...).

    A class without a promise is possible nowhere, so that what is mapped as such a class is not among them.
    """
    trusted = np.zeros(mapped.shape, dtype=bool)
    others = np.zeros(mapped.shape, dtype=bool)
    for number, threshold in enumerate(found):
        if threshold.value is not None:
            mine, possible = mapped == number, scores[number] >= threshold.value
            trusted |= mine & possible
            others |= ~mine & possible
    result: np.ndarray = trusted & ~others
    return result


def least_scores(found: LabelledScores, alone: np.ndarray, coverage: float) -> tuple[float | None, ...]:
    """The least score from which what is mapped as a class is right as often as asked, by the index of each class.

    ``alone`` (label,): where the mapped class alone is possible, by thresholds found without the label. None where no
    score will do: too few such labels, or too many that are wrong.
    """
    return tuple(
        _least(found, alone & (found.mapped == number), number, coverage) for number in range(len(found.scores))
    )


def _least(found: LabelledScores, mine: np.ndarray, number: int, coverage: float) -> float | None:
    scores, weights = found.scores[number, mine], found.weights[mine]
    order = np.argsort(-scores, kind="stable")
    scores, weights, wrong = scores[order], weights[order], (found.labels[mine] != number)[order]
    kept = np.cumsum(weights) + found.heaviest
    off = np.cumsum(weights * wrong) + found.heaviest
    # Labels of one score are in or out together.
    last = np.append(scores[1:] != scores[:-1], True)[: len(scores)]
    will_do = np.flatnonzero(last & (off <= (1 - coverage) * (1 + SLACK) * kept))
    return float(scores[will_do[-1]]) if len(will_do) else None


def trusted_pixels(
    mapped: np.ndarray, scores: np.ndarray, found: Sequence[Threshold], least: Sequence[float | None]
) -> np.ndarray:
    """Where the mapped class alone is possible and has its least score, (...) bool, as `alone_pixels` has them."""
    trusted = np.zeros(mapped.shape, dtype=bool)
    for number, score in enumerate(least):
        if score is not None:
            trusted |= (mapped == number) & (scores[number] >= score)
    result: np.ndarray = trusted & alone_pixels(mapped, scores, found)
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """Labels under thresholds that were found without them: which are ``promised`` anything, ``covered``, where the
    mapped class is possible ``alone``, and which are ``trusted`` (label,), by parts that are held out in turn.
    """

    promised: np.ndarray
    covered: np.ndarray
    alone: np.ndarray
    trusted: np.ndarray


def held_out(found: LabelledScores, coverage: float) -> HeldOut:
    """Each label under the thresholds, and least scores, of the other parts."""
    promised, covered, alone, trusted = (np.zeros(len(found), dtype=bool) for _ in range(4))
    parts = [held for fold in range(FOLDS) if (held := found.folds == fold).any()]
    for held in parts:
        part, others = found.part(held), thresholds(found.part(~held), coverage)
        limits = np.array([math.inf if each.value is None else each.value for each in others])
        promised[held] = np.isfinite(limits[part.labels])
        covered[held] = part.scores[part.labels, np.arange(len(part))] >= limits[part.labels]
        alone[held] = alone_pixels(part.mapped, part.scores, others)
    for held in parts:
        least = least_scores(found.part(~held), alone[~held], coverage)
        limits = np.array([*(math.inf if each is None else each for each in least), math.inf])
        mapped = found.mapped[held]
        scores = found.scores[np.minimum(mapped, len(found.scores) - 1), np.flatnonzero(held)]
        trusted[held] = alone[held] & (scores >= limits[mapped])
    return HeldOut(promised=promised, covered=covered, alone=alone, trusted=trusted)


def held_out_json(found: LabelledScores, held: HeldOut, number: int | None = None) -> dict[str, Any]:
    """What held-out labels say of a class, None: of all, as shares by weights, None of none.

    ``covered`` is of the ``n`` labels of the class, those that are promised anything; ``trusted`` of the ``n_mapped``
    labels that are mapped as it, ``right`` of the trusted ones of these, and ``right_of_all`` of all of these.
    """
    whole = np.ones(len(found), dtype=bool)
    labelled, mapped = (whole if number is None else each == number for each in (found.labels, found.mapped))
    trusted, right = mapped & held.trusted, found.labels == found.mapped
    return {
        "n": int(labelled.sum()),
        "n_mapped": int(mapped.sum()),
        "n_trusted": int(trusted.sum()),
        "covered": _share(found.weights, held.covered, labelled & held.promised),
        "trusted": _share(found.weights, held.trusted, mapped),
        "right": _share(found.weights, right, trusted),
        "right_of_all": _share(found.weights, right, mapped),
    }


def _share(weights: np.ndarray, told: np.ndarray, of: np.ndarray) -> float | None:
    whole = math.fsum(weights[of].tolist())
    return math.fsum(weights[of & told].tolist()) / whole if whole else None
