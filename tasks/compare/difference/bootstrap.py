"""Which of two maps is better on labels, by how much, and how sure that is: a paired bootstrap beside McNemar's."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

N_DRAWS = 2000
"""Draws of the bootstrap."""

SEED = 1
"""Of the draws, so that the same labels give the same intervals."""

INTERVAL = (2.5, 97.5)
"""Percentiles of the draws between which an interval lies."""

DRAWN_CELLS = 1 << 22
"""Counts that are drawn at a time, about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedLabels:
    """Labels that both maps can be held against (label,): indices into ``names`` of the label's class, A's and B's.

    ``scored``: the classes of the first so many names are scored; the others are no class of the layer.
    """

    names: Sequence[str]
    scored: int
    labels: np.ndarray
    a: np.ndarray
    b: np.ndarray


def bootstrap(pairs: PairedLabels) -> dict[str, Any]:
    """B - A in overall accuracy and in the F1 of each class, with 95 % intervals, as JSON values.

    Labels are drawn with replacement, each with what both maps say there. A figure hangs on the counts of (label, A, B)
    alone, so that counts are drawn, in the order of the classes: the order of labels changes nothing. A class that
    neither map nor the labels of a draw have is left out of its interval. Where all labels say the same of the maps, no
    draw does otherwise, and the interval is that of Clopper and Pearson for what no label happened to hit. ``better``
    is a or b where the interval of the overall accuracy leaves out 0. Labels count alike, whatever the design that drew
    them.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13 (percentile interval).
    """
    n, n_names = len(pairs.labels), len(pairs.names)
    triples = np.stack([pairs.labels, pairs.a, pairs.b])
    order = np.array(sorted(range(n_names), key=lambda at: (pairs.names[at], at)), dtype=np.int64)
    rank = np.argsort(order)
    cells, counts = np.unique(rank[triples], axis=1, return_counts=True)
    cells = order[cells]
    told = {"n": n, "draws": N_DRAWS, "seed": SEED}
    if not n:
        return {**told, "overall_accuracy": _entry(np.full((2, 1), np.nan)), "per_class": {}, "better": None}
    random = np.random.Generator(np.random.PCG64(SEED))
    at_once = max(1, DRAWN_CELLS // len(counts))
    drawn = (
        random.multinomial(n, counts / n, size=min(at_once, N_DRAWS - start)) for start in range(0, N_DRAWS, at_once)
    )
    whole = [_figures(cells, each, n=n, scored=pairs.scored) for each in chain([counts[np.newaxis]], drawn)]
    # (map, figure, draw), of which the first draw is the labels themselves.
    figures = np.concatenate(whole, axis=2)
    overall = _entry(figures[:, 0]) | _all_alike(cells, n)
    low, high = overall["low"], overall["high"]
    return {
        **told,
        "overall_accuracy": overall,
        "per_class": {pairs.names[k]: _entry(figures[:, k + 1]) for k in range(pairs.scored)},
        "better": "b" if low is not None and low > 0 else "a" if high is not None and high < 0 else None,
    }


def _all_alike(cells: np.ndarray, n: int) -> dict[str, float]:
    """The ends of the interval where the same map, or both, or neither, is right on each of ``n`` labels; else none."""
    right = (cells[1:] == cells[0]).astype(np.int64)
    says = right[1] - right[0]
    if (says != says[0]).any():
        return {}
    # Of labels that say otherwise there may be this share; each moves the difference by 1, or 2 from end to end.
    unseen = 1 - ((100 - INTERVAL[1]) / 100) ** (1 / n)
    middle, reach = int(says[0]), unseen * (2 if says[0] else 1)
    return {"low": max(-1.0, middle - reach), "high": min(1.0, middle + reach)}


def _figures(cells: np.ndarray, counts: np.ndarray, *, n: int, scored: int) -> np.ndarray:
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
