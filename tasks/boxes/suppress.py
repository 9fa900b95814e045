"""Of boxes that are of one thing the best: suppression over all boxes of a product at once."""

from __future__ import annotations

import numpy as np
import shapely

from tilewright.tasks.boxes.overlap import iou, outlines

RANKS = 256
"""Boxes taken at a time, at most; what is kept does not depend on it."""

PAIRS = 500_000
"""Pairs of neighbours aimed at in memory together: where all boxes overlap, they are taken one by one."""


def best_first(boxes: np.ndarray) -> np.ndarray:
    """The order of boxes (BOX) by score, the best first; of equal ones the upper comes first, then the left one.

    The other numbers decide what is left, so that the order of `boxes` never does.
    """
    rest = ("value", "angle", "h", "w", "x", "y")
    return np.lexsort([*(boxes[name] for name in rest), -boxes["score"]])


def suppress(boxes: np.ndarray, *, most: float, per_class: bool) -> np.ndarray:
    """The boxes (BOX) that are left, best first: each is dropped that overlaps a better one that is left by more than
    `most` (intersection over union, 0 to 1); with `per_class` only one of its own class counts.

    The number of comparisons grows with the boxes that are left and their neighbours, by a tree over all boxes.
    """
    boxes = boxes[best_first(boxes)]
    if most >= 1:
        return boxes
    shapes = outlines(boxes)
    tree = shapely.STRtree(shapes)
    dropped = np.zeros(len(boxes), dtype=bool)
    start = 0
    while start < len(boxes):
        ranks = np.arange(start, min(start + RANKS, len(boxes)))
        ranks = ranks[~dropped[ranks]]
        start += RANKS
        if len(ranks):
            # Of many neighbours most are dropped at once, and need not be asked for theirs.
            most_near = max(len(tree.query(shapes[rank])) for rank in (ranks[0], ranks[-1]))
            n_ranks = max(1, PAIRS // max(1, most_near))
            start = int(ranks[n_ranks]) if n_ranks < len(ranks) else start
            ranks = ranks[:n_ranks]
        better, worse = _pairs(boxes, shapes, ranks, tree, dropped, most=most, per_class=per_class)
        for first, last in _runs(better):
            # Whether a box is left is known once all better ones are done.
            if not dropped[better[first]]:
                dropped[worse[first:last]] = True
    return boxes[~dropped]


def _pairs(
    boxes: np.ndarray,
    shapes: np.ndarray,
    ranks: np.ndarray,
    tree: shapely.STRtree,
    dropped: np.ndarray,
    *,
    most: float,
    per_class: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """(better, worse), by rank of the better: one of `ranks` and a worse box that it drops if it is left."""
    asked, found = tree.query(shapes[ranks])
    better = ranks[asked]
    maybe = (found > better) & ~dropped[found]
    if per_class:
        maybe &= boxes["value"][better] == boxes["value"][found]
    better, worse = better[maybe], found[maybe]
    over = iou(boxes[better], boxes[worse], shapes[better], shapes[worse]) > most
    better, worse = better[over], worse[over]
    order = np.argsort(better, kind="stable")
    return better[order], worse[order]


def _runs(sorted_values: np.ndarray) -> list[tuple[int, int]]:
    """(first, past the last) of each run of equal values."""
    starts = np.flatnonzero(np.diff(sorted_values, prepend=-1))
    return list(zip(starts.tolist(), [*starts[1:].tolist(), len(sorted_values)], strict=True)) if len(starts) else []
