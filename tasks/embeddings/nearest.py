"""The vectors that are most alike a given one, exactly: all are compared, and the best kept, some at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tilewright.tasks.embeddings.stored_vectors import Vectors

BITS = 40
"""Bits of a score that are kept: the rest is rounding, which must not decide between vectors that are the same."""


NUMBERS_AT_ONCE = 2**19
"""Numbers that are made doubles at a time: they fit a processor's cache, where they take a third of the time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest:
    """The absolute ``rows`` and ``cols`` of the vectors found and their ``scores``, (n,) each, the best first.

    Of equal scores the northern one comes first, then the western one.
    """

    rows: np.ndarray
    cols: np.ndarray
    scores: np.ndarray


NOBODY = Nearest(rows=np.zeros(0, np.int64), cols=np.zeros(0, np.int64), scores=np.zeros(0))


def scores(vectors: np.ndarray, query: np.ndarray, metric: str) -> np.ndarray:
    """How much vectors (n, number) are alike a query (number,), (n,) float64; greater is more.

    ``cosine`` is that of the angle (0 for a vector of zeros), ``dot`` the product, ``euclidean`` minus the distance.
    """
    query = query.astype(np.float64)
    at_once = max(1, NUMBERS_AT_ONCE // len(query))
    parts = [_scores(vectors[start : start + at_once], query, metric) for start in range(0, len(vectors), at_once)]
    mantissa, exponent = np.frexp(np.concatenate(parts) if parts else np.zeros(0))
    return np.asarray(np.ldexp(np.rint(np.ldexp(mantissa, BITS)), exponent - BITS)) + 0.0


def _scores(vectors: np.ndarray, query: np.ndarray, metric: str) -> np.ndarray:
    vectors = vectors.astype(np.float64, copy=False)
    if metric == "euclidean":
        return np.asarray(-np.sqrt(np.square(vectors - query).sum(axis=1)))
    found = vectors @ query
    if metric == "dot":
        return np.asarray(found)
    sizes = np.sqrt(np.einsum("ij,ij->i", vectors, vectors)) * np.linalg.norm(query)
    return np.asarray(np.clip(np.divide(found, sizes, out=np.zeros(len(found)), where=sizes > 0), -1, 1))


def nearest(
    batches: Iterable[Vectors],
    query: np.ndarray,
    *,
    metric: str,
    most: int,
    inside: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
) -> tuple[Nearest, int]:
    """At most so many vectors that are most alike a query (number,), and the number of those that were compared.

    ``inside`` tells of absolute rows and columns which count. Peak memory is a batch and the best so far.
    """
    best, n_compared = NOBODY, 0
    for batch in batches:
        rows, cols, values = batch.rows, batch.cols, batch.values
        if inside is not None:
            kept = inside(rows, cols)
            rows, cols, values = rows[kept], cols[kept], values[kept]
        n_compared += len(rows)
        found = scores(values, query, metric)
        known = np.isfinite(found)
        best = _best_of(best, rows[known], cols[known], found[known], most=most)
    return best, n_compared


def _best_of(best: Nearest, rows: np.ndarray, cols: np.ndarray, found: np.ndarray, *, most: int) -> Nearest:
    if len(found) > most:
        # All that reach the last one's score, so that places decide between equal ones.
        last = np.partition(found, len(found) - most)[len(found) - most]
        kept = found >= last
        rows, cols, found = rows[kept], cols[kept], found[kept]
    together = Nearest(
        rows=np.concatenate([best.rows, rows]),
        cols=np.concatenate([best.cols, cols]),
        scores=np.concatenate([best.scores, found]),
    )
    order = np.lexsort([together.cols, together.rows, -together.scores])[:most]
    return Nearest(rows=together.rows[order], cols=together.cols[order], scores=together.scores[order])
