"""Of boxes that are of one thing the best: suppression over all boxes of a product at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely

from tilewright.tasks.boxes.overlap import iou, outlines

if TYPE_CHECKING:
    from collections.abc import Callable

RANKS = 256
"""Things taken at a time, at most; what is kept does not depend on it."""

PAIRS = 500_000
"""Pairs of neighbours aimed at in memory together: where all things overlap, they are taken one by one."""


def best_first(boxes: np.ndarray) -> np.ndarray:
    """The order of boxes (BOX) by score, the best first; of equal ones the upper comes first, then the left one.

    The other numbers decide what is left, so that the order of `boxes` never does.
    """
    rest = ("value", "angle", "h", "w", "x", "y")
    return np.lexsort([*(boxes[name] for name in rest), -boxes["score"]])


def suppress(boxes: np.ndarray, *, most: float, per_class: bool) -> np.ndarray:
    """The boxes (BOX) that are left, best first: each is dropped that overlaps a better one that is left by more than
    `most` (intersection over union, 0 to 1); with `per_class` only one of its own class counts.
    """
    boxes = boxes[best_first(boxes)]
    if most >= 1:
        return boxes
    shapes = outlines(boxes)

    def overlap(better: np.ndarray, worse: np.ndarray) -> np.ndarray:
        return iou(boxes[better], boxes[worse], shapes[better], shapes[worse])

    return boxes[~dropped(boxes["value"], shapes, overlap, most=most, per_class=per_class)]


def dropped(
    values: np.ndarray,
    shapes: np.ndarray,
    overlap: Callable[[np.ndarray, np.ndarray], np.ndarray],
    *,
    most: float,
    per_class: bool,
) -> np.ndarray:
    """True for each of some things, the best first, that a better one drops that is left.

    `values` of their classes; things can overlap if their `shapes` do, and `overlap` gives by how much those of two
    arrays of numbers do, pair by pair. The number of comparisons grows with the things that are left and their
    neighbours, by a tree over all of them.
    """
    tree = shapely.STRtree(shapes)
    gone = np.zeros(len(shapes), dtype=bool)
    start = 0
    while start < len(shapes):
        ranks = np.arange(start, min(start + RANKS, len(shapes)))
        ranks = ranks[~gone[ranks]]
        start += RANKS
        if not len(ranks):
            continue
        # Of many neighbours most are dropped at once, and need not be asked for theirs.
        most_near = max(len(tree.query(shapes[rank])) for rank in (ranks[0], ranks[-1]))
        n_ranks = max(1, PAIRS // max(1, most_near))
        start = int(ranks[n_ranks]) if n_ranks < len(ranks) else start
        better, worse = _near(shapes, ranks[:n_ranks], tree, gone)
        if per_class:
            alike = values[better] == values[worse]
            better, worse = better[alike], worse[alike]
        over = overlap(better, worse) > most
        better, worse = better[over], worse[over]
        for first, last in _runs(better):
            # Whether a thing is left is known once all better ones are done.
            if not gone[better[first]]:
                gone[worse[first:last]] = True
    return gone


def _near(
    shapes: np.ndarray, ranks: np.ndarray, tree: shapely.STRtree, gone: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(better, worse), by rank of the better: one of `ranks` and a worse thing near it that is not gone."""
    asked, found = tree.query(shapes[ranks])
    better = ranks[asked]
    maybe = (found > better) & ~gone[found]
    better, worse = better[maybe], found[maybe]
    order = np.argsort(better, kind="stable")
    return better[order], worse[order]


def _runs(sorted_values: np.ndarray) -> list[tuple[int, int]]:
    """(first, past the last) of each run of equal values."""
    starts = np.flatnonzero(np.diff(sorted_values, prepend=-1))
    return list(zip(starts.tolist(), [*starts[1:].tolist(), len(sorted_values)], strict=True)) if len(starts) else []
