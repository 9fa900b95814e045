"""The vertices of rings that simplification keeps: those where outlines meet, and more of rings that have few."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tilewright.tasks.vector.geometries import Geometries, ranges

FEW = 3
"""Anchors below which a ring could become a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """Places (point,) int64 on the lattice of pixel corners."""

    row: np.ndarray
    col: np.ndarray

    def __len__(self) -> int:
        return len(self.row)

    def take(self, which: np.ndarray) -> Points:
        """Those of indices or of a mask."""
        return Points(row=self.row[which], col=self.col[which])

    @property
    def key(self) -> np.ndarray:
        """One number each, in the order of rows, then columns."""
        return (self.row << 32) + self.col


def points_of(places: np.ndarray) -> Points:
    """Points of places (point, 2), (col, row)."""
    return Points(row=places[:, 1].astype(np.int64), col=places[:, 0].astype(np.int64))


def squared_distances(points: Points, one: Points, other: Points) -> np.ndarray:
    """The squared distance of each point to the line from one to another, in pixels.

    The same whichever of the two is the first: numbers below 2**53 are exact, and those above are rounded alike.
    """
    along_row, along_col = other.row - one.row, other.col - one.col
    row, col = points.row - one.row, points.col - one.col
    squared = (along_row * along_row + along_col * along_col).astype(np.float64)
    place = row * along_row + col * along_col
    across = (row * along_col - col * along_row).astype(np.float64)
    beside = across * across / np.maximum(squared, 1)
    beyond = np.square(points.row - other.row) + np.square(points.col - other.col)
    return np.where(place <= 0, row * row + col * col, np.where(place >= squared, beyond, beside))


def farthest(distances: np.ndarray, keys: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The index of the greatest number from each start to the next, and the number; of equals that of the least key."""
    counts = np.diff(np.append(starts, len(distances)))
    greatest = np.maximum.reduceat(distances, starts)
    is_candidate = distances == np.repeat(greatest, counts)
    candidates = np.flatnonzero(is_candidate)
    first = np.searchsorted(candidates, starts)
    least = np.minimum.reduceat(keys[candidates], first)
    chosen = keys[candidates] == np.repeat(least, np.diff(np.append(first, len(candidates))))
    return candidates[chosen], greatest


def lens_anchors(some: Geometries) -> np.ndarray:
    """The keys of one more anchor for each outer ring with two nodes: its two sides might become the same line.

    The neighbours, on whose rings it lies, do not know that ring: so anchors are found for all before any is used.
    """
    outer = some.parts[:-1]
    counts = np.diff(some.rings)[outer]
    n_nodes = np.add.reduceat(some.nodes, some.rings[:-1], dtype=np.int64)[outer]
    outer, counts = outer[n_nodes == FEW - 1], counts[n_nodes == FEW - 1]
    if not len(outer):
        return np.zeros(0, dtype=np.int64)
    which = ranges(some.rings[outer], counts)
    points, starts = points_of(some.places[which]), np.cumsum(counts) - counts
    both = points.take(np.flatnonzero(some.nodes[which]).reshape(-1, 2))
    one, other = (
        Points(row=np.repeat(both.row[:, n], counts), col=np.repeat(both.col[:, n], counts)) for n in range(2)
    )
    found, _ = farthest(squared_distances(points, one, other), points.key, starts)
    return points.key[found]


def anchors(points: Points, nodes: np.ndarray, rings: np.ndarray, lenses: np.ndarray) -> np.ndarray:
    """True at the points of rings that are kept, given the nodes and the sorted keys of `lens_anchors`.

    A ring with one node, or none, is the same line for both of its sides: it is kept at its node or first point, at the
    point farthest from that, and at the one farthest from the line between them.
    """
    kept = nodes.copy()
    keys = points.key
    if len(lenses):
        place = np.minimum(np.searchsorted(lenses, keys), len(lenses) - 1)
        kept |= lenses[place] == keys
    counts = np.diff(rings)
    n_kept = np.add.reduceat(kept, rings[:-1], dtype=np.int64)
    few = np.flatnonzero(n_kept < FEW - 1)
    if not len(few):
        return kept
    which, counts = ranges(rings[few], counts[few]), counts[few]
    own, starts = points.take(which), np.cumsum(counts) - counts
    # A node comes before all other points.
    first, _ = farthest(kept[which].astype(np.float64), own.key, starts)
    one = own.take(np.repeat(first, counts))
    second, _ = farthest(squared_distances(own, one, one), own.key, starts)
    third, _ = farthest(squared_distances(own, one, own.take(np.repeat(second, counts))), own.key, starts)
    kept[which[np.concatenate([first, second, third])]] = True
    return kept
