"""Which of two maps is better on labels, by how much, and how sure that is: intervals beside McNemar's test."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

N_DRAWS = 2000
"""Draws of the bootstrap."""

SEED = 1
"""Of the draws, so that the same labels give the same intervals."""

NORMAL = 1.959963984540054
"""The 97.5th percentile of the normal distribution."""

INTERVAL = (2.5, 97.5)
"""Percentiles of the draws between which an interval lies."""

DRAWN_CELLS = 1 << 22
"""Counts that are drawn at a time, about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedLabels:
    """Labels that both maps can be held against (label,): indices into ``names`` of the label's class, A's and B's.

    ``scored``: the classes of the first so many names are scored; the others are no class of the layer. Of a sample by
    strata ``stratum`` (label,) is the number of each one's, and ``sizes`` (stratum,) its pixels: labels then stand for
    as many pixels as their stratum has for each of its labels. None: they count alike. ``n_copies``:
    labels left out because another one says the same of the same pixel.
    """

    names: Sequence[str]
    scored: int
    labels: np.ndarray
    a: np.ndarray
    b: np.ndarray
    stratum: np.ndarray | None = None
    sizes: np.ndarray | None = None
    n_copies: int = 0

    @property
    def weighted(self) -> bool:
        """True for labels of a sample by strata."""
        return self.stratum is not None


def bootstrap(pairs: PairedLabels) -> dict[str, Any]:
    """B - A in overall accuracy and in the F1 of each class, with 95 % intervals, as JSON values.

    The interval of an F1 is the bootstrap's: labels are drawn with replacement, within their strata, each with what
    both maps say there. A figure hangs on the counts of (label, A, B) alone, so that counts are drawn, in the order of
    the classes: the order of labels changes nothing. A class that neither map nor the labels of a draw have is left out
    of its interval. That of the overall accuracy is `paired_interval`: the bootstrap's is too short where the maps
    differ on few labels. ``better`` is a or b where it leaves out 0.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13 (percentile interval).
    """
    n, n_names = len(pairs.labels), len(pairs.names)
    told = {"n": n, "draws": N_DRAWS, "seed": SEED, "weighted": pairs.weighted}
    if not n:
        return {**told, "overall_accuracy": _entry(np.full((2, 1), np.nan)), "per_class": {}, "better": None}
    order = np.array(sorted(range(n_names), key=lambda at: (pairs.names[at], at)), dtype=np.int64)
    rank = np.argsort(order)
    stratum = np.zeros(n, dtype=np.int64) if pairs.stratum is None else pairs.stratum
    said = np.stack([stratum, *(rank[each] for each in (pairs.labels, pairs.a, pairs.b))])
    cells, counts = np.unique(said, axis=1, return_counts=True)
    n_of = np.bincount(stratum)
    sizes = n_of if pairs.sizes is None else pairs.sizes[: len(n_of)]
    used = n_of > 0
    weight = np.divide(sizes, n_of, out=np.zeros(len(n_of)), where=used)
    whole = [
        _figures(order[cells[1:]], each * weight[cells[0]], n=float(sizes[used].sum()), scored=pairs.scored)
        for each in chain([counts[np.newaxis]], _drawn(cells[0], counts))
    ]
    # (map, figure, draw), of which the first draw is the labels themselves.
    figures = np.concatenate(whole, axis=2)
    overall = _entry(figures[:, :1, 0]) | paired_interval(pairs)
    low, high = overall["low"], overall["high"]
    return {
        **told,
        "overall_accuracy": overall,
        "per_class": {pairs.names[k]: _entry(figures[:, k + 1]) for k in range(pairs.scored)},
        "better": "b" if low is not None and low > 0 else "a" if high is not None and high < 0 else None,
    }


def paired_interval(pairs: PairedLabels) -> dict[str, float | None]:
    """The ends ``low`` and ``high`` of the 95 % interval of B - A in overall accuracy.

    Half a label is added to each of the four ways in which the maps may be right and wrong, as Agresti and Min, Simple
    improved confidence intervals for comparing matched proportions, Statistics in Medicine 24 (2005); of a sample by
    strata it is shared out by their sizes, and the variance is that of stratified sampling (Cochran, Sampling
    Techniques, 1977, chapter 5). Of labels that count alike the interval is no shorter than the exact one (Clopper and
    Pearson) of B's share of those on which one map alone is right: it leaves out 0 only where McNemar's exact test
    finds a winner.
    """
    n = len(pairs.labels)
    stratum = np.zeros(n, dtype=np.int64) if pairs.stratum is None else pairs.stratum
    n_of = np.bincount(stratum)
    sizes = n_of if pairs.sizes is None else pairs.sizes[: len(n_of)]
    right_a, right_b = pairs.a == pairs.labels, pairs.b == pairs.labels
    alone = [np.bincount(stratum[each], minlength=len(n_of)) for each in (right_a & ~right_b, right_b & ~right_a)]
    used = n_of > 0
    share = sizes[used] / sizes[used].sum()
    total = n_of[used] + 2 * share
    only_a, only_b = ((each[used] + share / 2) / total for each in alone)
    middle = float((share * (only_b - only_a)).sum())
    variance = float((share**2 * (only_a + only_b - (only_b - only_a) ** 2) / total).sum())
    half = NORMAL * math.sqrt(variance)
    low, high = max(-1.0, middle - half), min(1.0, middle + half)
    n_apart = int(alone[0].sum() + alone[1].sum())
    if pairs.weighted or not n_apart:
        return {"low": low, "high": high}
    exact = [(2 * share - 1) * n_apart / n for share in _clopper_pearson(int(alone[1].sum()), n_apart)]
    return {"low": min(low, exact[0]), "high": max(high, exact[1])}


def _clopper_pearson(k: int, n: int) -> tuple[float, float]:
    """The ends of the exact 95 % interval of a share of which ``k`` of ``n`` were seen."""
    from scipy.special import betaincinv  # noqa: PLC0415 - slow to load, and only of use here

    low = float(betaincinv(k, n - k + 1, 0.025)) if k else 0.0
    return low, float(betaincinv(k + 1, n - k, 0.975)) if k < n else 1.0


def _drawn(stratum: np.ndarray, counts: np.ndarray) -> Iterator[np.ndarray]:
    """Counts (draw, cell) of labels drawn with replacement within each stratum, from the stratum and count of cells."""
    random = np.random.Generator(np.random.PCG64(SEED))
    at_once = max(1, DRAWN_CELLS // len(counts))
    parts = [counts[stratum == each] for each in range(int(stratum.max()) + 1)]
    for start in range(0, N_DRAWS, at_once):
        size = min(at_once, N_DRAWS - start)
        yield np.concatenate(
            [random.multinomial(each.sum(), each / each.sum(), size=size) for each in parts if len(each)], axis=1
        )


def _figures(cells: np.ndarray, counts: np.ndarray, *, n: float, scored: int) -> np.ndarray:
    """Overall accuracy and F1 of the scored classes, (map, 1 + class, draw), from counts (draw, cell)."""
    labels = cells[0]
    found = np.empty((2, 1 + scored, len(counts)))
    for which in (0, 1):
        said = cells[1 + which]
        found[which, 0] = counts[:, said == labels].sum(axis=1) / n
        for k in range(scored):
            right = counts[:, (labels == k) & (said == k)].sum(axis=1)
            both = counts[:, labels == k].sum(axis=1) + counts[:, said == k].sum(axis=1)
            found[which, 1 + k] = np.divide(2.0 * right, both, out=np.full(len(counts), np.nan), where=both > 0)
    return found


def _entry(figures: np.ndarray) -> dict[str, float | None]:
    """One figure of A and B, their difference and its interval, from (map, draw)."""
    a, b = figures[:, 0]
    apart = figures[1, 1:] - figures[0, 1:]
    apart = apart[np.isfinite(apart)]
    # Draws that are all one say nothing of how sure a figure is.
    told = len(apart) > 0 and np.isfinite(b - a) and apart.min() < apart.max()
    low, high = np.percentile(apart, INTERVAL) if told else (np.nan, np.nan)
    entry = {"a": a, "b": b, "difference": b - a, "low": low, "high": high}
    return {name: float(value) if np.isfinite(value) else None for name, value in entry.items()}
