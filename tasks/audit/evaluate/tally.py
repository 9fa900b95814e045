"""What is counted of pairs as they come: classes by classes, errors of values, confidences, and where it errs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tilewright.tasks.audit.evaluate.label_file import LabelError

if TYPE_CHECKING:
    from tilewright.tasks.audit.evaluate.pairs import Pairs
    from tilewright.tasks.audit.evaluate.targets import Target
    from tilewright.tasks.grid.pixel_box import PixelBox

N_BINS = 10

CELL = 64
"""Pixels of a side of the cells in which errors are counted, at multiples of it from the CRS origin."""

MOST_COUNTS = 2**24
"""Counts that are kept: groups by classes by classes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassCounts:
    """Counts of one group: ``confusion`` (label, product), whose last column is of values that are no class.

    ``bins`` (3, bin): pairs with a confidence, those that agree, and the sum of confidences.
    """

    confusion: np.ndarray
    bins: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueSums:
    """Sums of one group of values: how many, errors, absolute and squared errors, and the labels' squared deviations
    from their mean.
    """

    n: int
    error: float
    absolute: float
    squared: float
    deviation: float


class PairCounts:
    """Counts of all pairs (group 0) and of each group. Batches come in one order, so that sums of floats are one."""

    def __init__(self, target: Target, extent: PixelBox, *, n_groups: int) -> None:
        self._n_classes = len(target.classes.names) if target.classes else 0
        self._groups = n_groups + 1
        self._check(self._groups)
        self._confusion = np.zeros((self._groups, self._n_classes, self._n_classes + 1), dtype=np.int64)
        self._bins = np.zeros((self._groups, 3, N_BINS))
        # n, mean of labels, squared deviations of labels, errors, absolute errors, squared errors
        self._sums = np.zeros((6, self._groups))
        self._top, self._left = extent.row_start // CELL, extent.col_start // CELL
        shape = (-(-extent.row_stop // CELL) - self._top, -(-extent.col_stop // CELL) - self._left)
        self.cell_n = np.zeros(shape, dtype=np.int64)
        self.cell_off = np.zeros(shape)

    @property
    def first_cell(self) -> tuple[int, int]:
        """Row and column of the first cell, in cells from the CRS origin."""
        return self._top, self._left

    def add(self, pairs: Pairs, groups: np.ndarray | None) -> None:
        """Count pairs; ``groups`` (pair,) are their groups from 0, below 0 for none. New ones get room.

        Raises LabelError for too many groups.
        """
        if groups is not None and len(groups):
            self._make_room(int(groups.max()) + 2)
        whole = np.zeros(len(pairs), dtype=np.int64)
        count = self._add_classes if self._n_classes else self._add_values
        count(pairs, whole)
        if groups is not None:
            kept = groups >= 0
            count(pairs, np.where(kept, groups + 1, 0), kept)
        off = (pairs.labels != pairs.product) if self._n_classes else np.abs(pairs.product - pairs.labels)
        at = (pairs.rows // CELL - self._top) * self.cell_n.shape[1] + pairs.cols // CELL - self._left
        self.cell_n += np.bincount(at, minlength=self.cell_n.size).reshape(self.cell_n.shape)
        self.cell_off += np.bincount(at, weights=off, minlength=self.cell_n.size).reshape(self.cell_n.shape)

    def _make_room(self, n_groups: int) -> None:
        more = n_groups - self._groups
        if more > 0:
            self._check(n_groups)
            self._confusion = np.concatenate([self._confusion, np.zeros((more, *self._confusion.shape[1:]), np.int64)])
            self._bins = np.concatenate([self._bins, np.zeros((more, 3, N_BINS))])
            self._sums = np.concatenate([self._sums, np.zeros((6, more))], axis=1)
            self._groups = n_groups

    def _check(self, n_groups: int) -> None:
        if n_groups * max(self._n_classes, 1) * (self._n_classes + 1) > MOST_COUNTS:
            raise LabelError(
                f"--by makes {n_groups - 1:,} groups, too many to be compared: give a column of fewer values."
            )

    def _add_classes(self, pairs: Pairs, groups: np.ndarray, kept: np.ndarray | None = None) -> None:
        labels, product, sure = pairs.labels, pairs.product, pairs.confidence
        if kept is not None:
            groups, labels, product, sure = groups[kept], labels[kept], product[kept], sure[kept]
        n = self._n_classes
        places = (groups * n + labels) * (n + 1) + product
        self._confusion += np.bincount(places, minlength=self._confusion.size).reshape(self._confusion.shape)
        told = ~np.isnan(sure)
        groups, sure, right = groups[told], sure[told], (labels == product)[told]
        places = groups * N_BINS + bin_of(sure)
        for number, weights in enumerate((np.ones(len(sure)), right, sure)):
            found = np.bincount(places, weights=weights, minlength=self._groups * N_BINS)
            self._bins[:, number] += found.reshape(self._groups, N_BINS)

    def _add_values(self, pairs: Pairs, groups: np.ndarray, kept: np.ndarray | None = None) -> None:
        labels, product = pairs.labels, pairs.product
        if kept is not None:
            groups, labels, product = groups[kept], labels[kept], product[kept]
        n = np.bincount(groups, minlength=self._groups).astype(np.float64)
        mean = np.bincount(groups, weights=labels, minlength=self._groups) / np.maximum(n, 1)
        deviation = np.bincount(groups, weights=(labels - mean[groups]) ** 2, minlength=self._groups)
        error = product - labels
        # Source: Chan, Golub and LeVeque (1983), the parallel update of a sum of squared deviations.
        was, had = self._sums[0], self._sums[1]
        total = np.maximum(was + n, 1)
        self._sums[2] += deviation + (mean - had) ** 2 * was * n / total
        self._sums[1] = np.where(n > 0, had + (mean - had) * n / total, had)
        self._sums[0] = was + n
        for number, weights in ((3, error), (4, np.abs(error)), (5, error**2)):
            self._sums[number] += np.bincount(groups, weights=weights, minlength=self._groups)

    def classes_of(self, group: int) -> ClassCounts:
        """What was counted of a group of classes, 0: all pairs."""
        return ClassCounts(confusion=self._confusion[group], bins=self._bins[group])

    def values_of(self, group: int) -> ValueSums:
        """What was summed of a group of values, 0: all pairs."""
        n, _, deviation, error, absolute, squared = self._sums[:, group].tolist()
        return ValueSums(n=int(n), error=error, absolute=absolute, squared=squared, deviation=deviation)


def bin_of(confidence: np.ndarray) -> np.ndarray:
    """The bin of confidences 0-1: (0, 0.1], (0.1, 0.2], ... each with its upper end; the first holds 0 too."""
    ends = np.arange(1, N_BINS) / N_BINS
    bins: np.ndarray = np.searchsorted(ends, confidence, side="left")
    return bins
