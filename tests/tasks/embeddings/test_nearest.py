"""The nearest vectors are those of comparing all, however they come."""

from __future__ import annotations

import numpy as np
import pytest

from tilewright.tasks.embeddings.nearest import nearest, scores
from tilewright.tasks.embeddings.stored_vectors import Vectors


def batches(rows, cols, values, sizes):
    start = 0
    for size in sizes:
        part = slice(start, start + size)
        yield Vectors(rows=rows[part], cols=cols[part], values=values[part])
        start += size


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize("most", [1, 3, 50, 1000])
def test_no_cut_changes_what_is_found(metric, most):
    random = np.random.default_rng(4)
    n = 600
    # Few distinct vectors, so that places decide often.
    values = random.normal(size=(7, 5)).astype(np.float32)[random.integers(0, 7, n)]
    rows, cols = (random.permutation(n).astype(np.int64) for _ in range(2))
    query = values[3]
    wanted = sorted(zip(-np.round(scores(values, query, metric), 9), rows, cols, strict=True))[:most]
    for sizes in ([n], [1] * n, [599, 1], [7, 300, 293]):
        found, n_compared = nearest(batches(rows, cols, values, sizes), query, metric=metric, most=most)
        assert n_compared == n
        assert [*zip(found.rows, found.cols, strict=True)] == [(row, col) for _, row, col in wanted]
    order = random.permutation(n)
    found, _ = nearest(batches(rows[order], cols[order], values[order], [200] * 3), query, metric=metric, most=most)
    assert [*zip(found.rows, found.cols, strict=True)] == [(row, col) for _, row, col in wanted]


def test_scores_mean_what_is_said():
    vectors = np.array([[3, 4], [0, 0], [-3, -4], [4, 3], [1e-30, 0]], np.float32)
    query = np.array([3, 4], np.float32)
    assert scores(vectors, query, "cosine").tolist() == pytest.approx([1, 0, -1, 0.96, 0.6])
    assert scores(vectors, query, "dot").tolist() == pytest.approx([25, 0, -25, 24, 0], abs=1e-20)
    assert scores(vectors, query, "euclidean").tolist() == pytest.approx([0, -5, -10, -(2**0.5), -5])
    assert scores(vectors, query, "euclidean")[0] == 0


def test_what_does_not_count_is_left_out():
    rows, cols = np.arange(10), np.zeros(10, dtype=np.int64)
    values = np.eye(10, dtype=np.float32)
    found, n = nearest(
        batches(rows, cols, values, [10]), values[2], metric="dot", most=3, inside=lambda rows, _cols: rows > 4
    )
    assert (n, found.rows.tolist()) == (5, [5, 6, 7])
    found, n = nearest(iter(()), values[2], metric="dot", most=3)
    assert (n, found.rows.tolist()) == (0, [])
