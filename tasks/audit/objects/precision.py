"""Average precision of objects by their overlap with labels, as the COCO benchmark defines it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import shapely

if TYPE_CHECKING:
    from collections.abc import Sequence

RECALLS = np.linspace(0.0, 1.0, 101)
"""Recalls at which precisions are averaged. Source: pycocotools 2.0, Params.recThrs."""

IOUS = tuple(round(0.5 + 0.05 * number, 2) for number in range(10))
"""Overlaps (intersection over union) from which an object counts as found. Source: the same, Params.iouThrs."""

LEAST_GAP = 1e-10
"""An overlap of 1 is asked for as one of 1 less this. Source: the same, COCOeval.evaluateImg."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlaps:
    """Pairs of an object and a label that overlap: their numbers (pair,) int64 and their IoU."""

    objects: np.ndarray
    labels: np.ndarray
    iou: np.ndarray


def overlaps(objects: np.ndarray, labels: np.ndarray) -> Overlaps:
    """All pairs of polygons that have an area in common."""
    if not len(objects) or not len(labels):
        nobody = np.array([], dtype=np.int64)
        return Overlaps(objects=nobody, labels=nobody, iou=np.array([]))
    owners, held = shapely.STRtree(labels).query(objects, predicate="intersects")
    common = shapely.area(shapely.intersection(objects[owners], labels[held]))
    whole = shapely.area(objects)[owners] + shapely.area(labels)[held] - common
    kept = common > 0
    return Overlaps(objects=owners[kept], labels=held[kept], iou=(common / np.where(kept, whole, 1))[kept])


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
