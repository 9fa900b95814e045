"""Scores from counts, as evaluation.json holds them; None where there is nothing to divide by."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tilewright.tasks.audit.evaluate.tally import N_BINS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from tilewright.tasks.audit.evaluate.tally import ClassCounts, ValueSums

OTHER = "no class"
"""The name of stored values that are no class of their layer."""

SIGNIFICANT = 0.05

Z95 = 1.959963984540054
"""The 97.5th percentile of the normal distribution."""


def class_scores(names: Sequence[str], counts: ClassCounts) -> dict[str, Any]:
    """The scores of classes: overall accuracy, Cohen's kappa, and precision, recall, F1 and IoU of each class.

    Rows of ``confusion`` are labels. Values that are no class come last, as a class of their own, where there are any.

    Source: Congalton and Green, Assessing the Accuracy of Remotely Sensed Data (2019), chapter 5.
    """
    found = counts.confusion.tolist()
    listed = list(names)
    if any(row[-1] for row in found):
        # A layer may have a class of that name.
        listed.append(next(each for each in (OTHER, *(f"{OTHER} ({i})" for i in range(2, 99))) if each not in listed))
        found.append([0] * (len(names) + 1))
    else:
        found = [row[:-1] for row in found]
    n = sum(map(sum, found))
    of_labels = [sum(row) for row in found]
    of_product = [sum(row[number] for row in found) for number in range(len(found))]
    right = [found[number][number] for number in range(len(found))]
    agreed = _share(sum(right), n)
    chance = _share(sum(a * b for a, b in zip(of_labels, of_product, strict=True)), n * n)
    kappa = None if agreed is None or chance is None or chance == 1 else (agreed - chance) / (1 - chance)
    return {
        "n": n,
        "classes": listed,
        "confusion": found,
        "overall_accuracy": agreed,
        "kappa": kappa,
        "per_class": {
            name: {
                "precision": _share(right[i], of_product[i]),
                "recall": _share(right[i], of_labels[i]),
                "f1": _share(2 * right[i], of_labels[i] + of_product[i]),
                "iou": _share(right[i], of_labels[i] + of_product[i] - right[i]),
                "n_labels": of_labels[i],
                "n_product": of_product[i],
            }
            for i, name in enumerate(listed)
        },
        "calibration": calibration(counts.bins),
    }


def calibration(bins: np.ndarray) -> dict[str, Any] | None:
    """The calibration of confidences from (3, bin) counts, right ones and sums; None where none is told.

    ``ece`` is the mean of |accuracy - confidence| over bins, weighted by their pairs.

    Source: Guo et al., On Calibration of Modern Neural Networks (2017), equation 3.
    """
    n_all = bins[0].sum()
    if not n_all:
        return None
    rows, gaps = [], []
    for number, (n, right, sure) in enumerate(bins.T.tolist()):
        ends = {"low": number / N_BINS, "high": (number + 1) / N_BINS, "n": int(n)}
        rows.append({**ends, "confidence": _share(sure, n), "accuracy": _share(right, n)})
        gaps.append(abs(right - sure))
    return {"ece": math.fsum(gaps) / float(n_all), "bins": rows}


def value_scores(sums: ValueSums) -> dict[str, Any]:
    """The scores of values: an error is the product less the label; R2 = 1 - SSE / SST, None for equal labels."""
    n = sums.n
    mean_square = _share(sums.squared, n)
    return {
        "n": n,
        "rmse": None if mean_square is None else math.sqrt(mean_square),
        "mae": _share(sums.absolute, n),
        "bias": _share(sums.error, n),
        "r2": 1 - sums.squared / sums.deviation if sums.deviation > 0 else None,
    }


def wilson(right: int, n: int) -> tuple[float, float] | None:
    """The 95 % interval of a share by Wilson's score, None for none of none.

    It takes pairs for independent ones, each drawn as likely. Source: Brown, Cai and DasGupta (2001), equation 4.
    """
    if not n:
        return None
    share, squared = right / n, Z95**2
    middle = (share + squared / (2 * n)) / (1 + squared / n)
    half = Z95 / (1 + squared / n) * math.sqrt(share * (1 - share) / n + squared / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def mcnemar(n: int, only_a: int, only_b: int) -> dict[str, Any]:
    """McNemar's test of two maps on ``n`` labels, of which A alone and B alone are right on some.

    The exact test: had both maps the same chance, the labels on which one alone is right would be tosses of a coin. The
    ``statistic`` is that of the usual approximation, which is too sure of few labels. ``better`` names the better one
    where chance explains it in less than 5 %.
    Source: McNemar (1947), Psychometrika 12; Foody (2004), Photogrammetric Engineering and Remote Sensing 70; the exact
    form: Agresti, Categorical Data Analysis (2013), section 11.1.
    """
    from scipy.special import bdtr  # noqa: PLC0415 - slow to load, and only of use here

    apart = only_a + only_b
    statistic = (only_a - only_b) ** 2 / apart if apart else None
    # Both tails of a binomial distribution of one half.
    p_value = min(1.0, 2 * float(bdtr(min(only_a, only_b), apart, 0.5))) if apart else None
    better = None if p_value is None or p_value >= SIGNIFICANT else "a" if only_a > only_b else "b"
    facts = {"n": n, "only_a_right": only_a, "only_b_right": only_b}
    return {**facts, "statistic": statistic, "p_value": p_value, "better": better}


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
