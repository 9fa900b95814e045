"""Average precision of objects by their overlap with labels, as the COCO benchmark defines it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import shapely

from tilewright.tasks.audit.evaluate.label_file import LabelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

RECALLS = np.linspace(0.0, 1.0, 101)
"""Recalls at which precisions are averaged. Source: pycocotools 2.0, Params.recThrs."""

IOUS = tuple(round(0.5 + 0.05 * number, 2) for number in range(10))
"""Overlaps (intersection over union) from which an object counts as found. Source: the same, Params.iouThrs."""

LEAST_GAP = 1e-10
"""An overlap of 1 is asked for as one of 1 less this. Source: the same, COCOeval.evaluateImg."""


MOST_PAIRS = 2**22
"""Pairs of an object and a label that overlap enough, at most; of a real map few objects have more than some."""

MOST_LOOKED = 2**29
"""Pairs whose bounds meet, at most: of shapes that all lie on one another there are as many as their product."""

AT_ONCE, CUT_AT_ONCE = 2**21, 2**16
"""Pairs that are looked at together, and cut with one another: a shape takes some hundred bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlaps:
    """Pairs of an object and a label that overlap: their numbers (pair,) int64 and their IoU, by object, then label."""

    objects: np.ndarray
    labels: np.ndarray
    iou: np.ndarray

    def best(self, n_objects: int) -> np.ndarray:
        """The largest IoU of each object, 0 for none (object,)."""
        found = np.zeros(n_objects)
        np.maximum.at(found, self.objects, self.iou)
        return found

    def taken(self, takes: np.ndarray) -> list[float]:
        """The IoUs of the objects that took a label, in the order of objects; ``takes`` as `matched` gives them."""
        kept: list[float] = self.iou[takes[self.objects] == self.labels].tolist()
        return kept


def overlaps(objects: np.ndarray, labels: np.ndarray, least: float = 0.0) -> Overlaps:
    """All pairs of polygons that have an area in common, and an IoU of ``least`` or more.

    Memory is that of the pairs that are kept. Raises LabelError for too many of them, or too many to be looked at.
    """
    least = min(least, 1 - LEAST_GAP)
    nobody = np.zeros(0, dtype=np.int64)
    owners, held, ious = [nobody], [nobody], [np.zeros(0)]
    n_kept = 0
    for mine, theirs in _near(objects, labels, least):
        n_kept += len(mine)
        if n_kept > MOST_PAIRS:
            raise _too_many(MOST_PAIRS)
        for start in range(0, len(mine), CUT_AT_ONCE):
            one, other = (each[start : start + CUT_AT_ONCE] for each in (mine, theirs))
            common = shapely.area(shapely.intersection(objects[one], labels[other]))
            whole = shapely.area(objects[one]) + shapely.area(labels[other]) - common
            iou = np.divide(common, whole, out=np.zeros(len(common)), where=common > 0)
            kept = (common > 0) & (iou >= least)
            owners.append(one[kept])
            held.append(other[kept])
            ious.append(iou[kept])
    return Overlaps(objects=np.concatenate(owners), labels=np.concatenate(held), iou=np.concatenate(ious))


def _near(objects: np.ndarray, labels: np.ndarray, least: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The pairs (object, label) that may overlap so much, by their bounds and areas, some objects at a time."""
    if not len(objects) or not len(labels):
        return
    tree, n_looked = shapely.STRtree(labels), 0
    bounds, areas = [shapely.bounds(each) for each in (objects, labels)], [*map(shapely.area, (objects, labels))]
    part = np.cumsum(_meetings(*bounds)) // AT_ONCE
    starts = np.flatnonzero(np.diff(part, prepend=-1))
    for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(objects)], strict=True):
        mine, theirs = tree.query(objects[start:stop])
        n_looked += len(mine)
        if n_looked > MOST_LOOKED:
            raise _too_many(MOST_LOOKED)
        mine += start
        one, other = bounds[0][mine], bounds[1][theirs]
        sides = np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2])
        of_one, of_other = areas[0][mine], areas[1][theirs]
        common = np.minimum(np.prod(np.maximum(sides, 0), axis=1), np.minimum(of_one, of_other))
        # An IoU grows with what is common. Rounding must leave out none.
        kept = (common > 0) & (common >= least * (1 - 1e-9) * (of_one + of_other - common))
        order = np.lexsort([theirs[kept], mine[kept]])
        yield mine[kept][order], theirs[kept][order]


def _meetings(objects: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many labels can meet each object, at most, by bounds (shape, 4): those that meet it along one axis."""
    along = []
    for axis in (0, 1):
        begun = np.searchsorted(np.sort(labels[:, axis]), objects[:, axis + 2], side="right")
        ended = np.searchsorted(np.sort(labels[:, axis + 2]), objects[:, axis], side="left")
        along.append(begun - ended)
    least: np.ndarray = np.minimum(*along)
    return least


def _too_many(n: int) -> LabelError:
    return LabelError(
        f"Over {n:,} pairs of shapes overlap: shapes that all lie on one another are no objects. Keep one of each, or "
        "cut the files into several."
    )


def matched(order: np.ndarray, found: Overlaps, n_labels: int, least: float) -> np.ndarray:
    """The label that each object takes at a least IoU, -1 for none (object,).

    Objects choose in an ``order``, each the label with the largest IoU that nobody has taken, of equal ones the last.

    Source: pycocotools 2.0, COCOeval.evaluateImg.
    """
    least = min(least, 1 - LEAST_GAP)
    takes = np.full(len(order), -1, dtype=np.int64)
    taken = np.zeros(n_labels, dtype=bool)
    kept = found.iou >= least
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.arange(len(order))
    objects, labels, iou = found.objects[kept], found.labels[kept], found.iou[kept]
    sequence = np.lexsort([-labels, -iou, ranks[objects]])
    for number in sequence.tolist():
        one, label = objects[number], labels[number]
        if takes[one] < 0 and not taken[label]:
            takes[one], taken[label] = label, True
    return takes


def average_precision(right: np.ndarray, n_labels: int) -> float | None:
    """The mean precision at 101 recalls of objects, best first, ``right`` or not; None without a label.

    Source: pycocotools 2.0, COCOeval.accumulate.
    """
    if not n_labels:
        return None
    hits = np.cumsum(right)
    if not len(hits):
        return 0.0
    recall = hits / n_labels
    precision = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
    places = np.searchsorted(recall, RECALLS, side="left")
    return float(np.where(places < len(hits), precision[np.minimum(places, len(hits) - 1)], 0.0).mean())


def mean_of(values: Sequence[float | None]) -> float | None:
    """The mean of the numbers, None if there is none."""
    known = [each for each in values if each is not None]
    return sum(known) / len(known) if known else None
