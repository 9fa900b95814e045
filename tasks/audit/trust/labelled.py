"""Labelled pixels with the scores of all classes there, in an order, in parts and with weights of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tilewright.models.transforms.noise import mixed, stepped
from tilewright.tasks.audit.design.table import sample_design
from tilewright.tasks.audit.evaluate.pairs import gathered
from tilewright.tasks.zones.layers import LayerPixels, ProductLayers

if TYPE_CHECKING:
    from tilewright.tasks.audit.evaluate.evaluate import LayerEvaluation
    from tilewright.tasks.audit.trust.sureness import Sureness

FOLDS = 5
"""Parts of the labels of which each is held out once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledScores:
    """Labels (label,) and mapped classes (label,), by their indices, with ``scores`` (class, label) of all classes.

    ``mapped`` may be one beyond the classes, for a stored value that is none. ``weights`` (label,) are the pixels that
    each stands for, the same for all where the labels are no sample with strata; ``heaviest`` is that of a pixel of any
    stratum. ``folds`` (label,) are from 0 to `FOLDS`: by the pixel, so that labels of one are in one. ``n_untold``
    counts labels where the product does not say how sure it is, ``n_repeated`` those of a pixel that another one with
    the same class has: they are one label.
    """

    labels: np.ndarray
    mapped: np.ndarray
    scores: np.ndarray
    weights: np.ndarray
    heaviest: float
    folds: np.ndarray
    full: float
    of: str
    n_untold: int
    n_repeated: int

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def weighted(self) -> bool:
        """Whether labels stand for different numbers of pixels."""
        return bool((self.weights != self.heaviest).any())

    def part(self, kept: np.ndarray) -> LabelledScores:
        """Some of the labels, by a mask; a pixel of any stratum is as heavy as before."""
        return LabelledScores(
            labels=self.labels[kept],
            mapped=self.mapped[kept],
            scores=self.scores[:, kept],
            weights=self.weights[kept],
            heaviest=self.heaviest,
            folds=self.folds[kept],
            full=self.full,
            of=self.of,
            n_untold=self.n_untold,
            n_repeated=self.n_repeated,
        )


def labelled_scores(evaluation: LayerEvaluation, sureness: Sureness) -> LabelledScores:
    """The labelled pixels of an evaluation of points, in the order of their pixels: the file's order is no matter.

    Raises DesignError for a sample whose columns tell no design; StorageError or ChangedStoreError where pixels cannot
    be read.
    """
    pairs, table = evaluation.pairs, evaluation.table
    assert pairs is not None, "labels are points"
    assert table is not None, "points are a table"
    product = ProductLayers(storage=evaluation.storage, grid=evaluation.grid, layers=sureness.layers)
    with LayerPixels(product) as pixels:
        found = [gathered(pixels, layer, pairs.rows, pairs.cols, evaluation.grid) for layer in sureness.layers]
    scores, told = sureness.scores(pairs.product, np.stack(found))
    weights = _weights(evaluation)
    order = np.lexsort([weights, pairs.labels, pairs.cols, pairs.rows])
    order = order[told[order]]
    # A label that is copied says no more than once: as many as are needed would soon be there.
    places = np.stack([pairs.rows[order], pairs.cols[order], pairs.labels[order]])
    kept = order[(np.diff(places, axis=1, prepend=places[:, :1] - 1) != 0).any(axis=0)]
    return LabelledScores(
        labels=pairs.labels[kept],
        mapped=pairs.product[kept],
        scores=scores[:, kept],
        weights=weights[kept],
        heaviest=float(weights.max(initial=1.0)),
        folds=folds_of(pairs.rows[kept], pairs.cols[kept]),
        full=sureness.full,
        of=sureness.of,
        n_untold=int((~told).sum()),
        n_repeated=len(order) - len(kept),
    )


def folds_of(rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """The part, from 0 to `FOLDS`, of absolute pixels (place,): the same in every file, product and cut."""
    with np.errstate(over="ignore"):
        hashes = mixed(mixed(stepped(rows)) + stepped(cols))
    folds: np.ndarray = (hashes % np.uint64(FOLDS)).astype(np.int64)
    return folds


def _weights(evaluation: LayerEvaluation) -> np.ndarray:
    """The pixels that each label stands for: its stratum's by the labels there; 1 where they are no drawn sample."""
    pairs, table = evaluation.pairs, evaluation.table
    assert pairs is not None, "labels are points"
    assert table is not None, "points are a table"
    drawn = sample_design(table.columns)
    if drawn is None or not len(pairs):
        return np.ones(len(pairs))
    _, of_label, often = np.unique(drawn.stratum[pairs.owners].astype(str), return_inverse=True, return_counts=True)
    weights = drawn.stratum_pixels[pairs.owners] / often[of_label]
    # Only their ratios count: of one stratum all are 1.
    scaled: np.ndarray = weights / weights.max()
    return scaled
