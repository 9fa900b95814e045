"""Outlines of whole parts as polygons, from their corners alone.

Along a row of the lattice the corners of a part come in pairs, the two ends of a horizontal edge; along a column in
pairs of vertical ones. So each corner has its two neighbours on the ring without any walk over pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tilewright.tasks.vector.corners import INNER, NODE

if TYPE_CHECKING:
    from tilewright.tasks.vector.corners import Corners


CORNERS = 1 << 18
"""Corners that are outlined at a time, or those of one part: some 150 bytes of memory each."""

INDEX = np.int32
"""Corners of one call are fewer than 2**31: they would take 40 GB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlines:
    """Polygons of parts, in the order of `part`, as ragged arrays (those of GeoArrow).

    `places` (point, 2) are int32 (col, row) on the lattice of pixel corners; the points of ring r are
    [rings[r], rings[r + 1]), the first one repeated at the end, the rings of polygon p [polygons[p], polygons[p + 1]):
    the outer one, counterclockwise on a map with north up, then its holes, clockwise. A ring starts at its first corner
    by row and column of those that an edge to the left or right leaves from. `n_pixels` are inside; `across` and
    `along` are the lengths of all horizontal and of all vertical edges, in pixels. `nodes` tells which places are.
    """

    part: np.ndarray
    places: np.ndarray
    nodes: np.ndarray
    rings: np.ndarray
    polygons: np.ndarray
    n_pixels: np.ndarray
    across: np.ndarray
    along: np.ndarray


def outline(corners: Corners) -> Outlines:
    """The polygons of parts of which all corners are given."""
    if len(corners) <= CORNERS:
        return _outline(corners)
    order = np.argsort(corners.part, kind="stable").astype(INDEX)
    part, several, start = corners.part[order], [], 0
    while start < len(order):
        # All of a part at a time.
        stop = int(np.searchsorted(part, part[min(start + CORNERS, len(order)) - 1], side="right"))
        several.append(_outline(corners.take(order[start:stop])))
        start = stop
    return _joined(several)


def _joined(several: list[Outlines]) -> Outlines:
    """Outlines of several calls as those of one."""

    def all_of(name: str) -> np.ndarray:
        return np.concatenate([getattr(each, name) for each in several])

    def chained(name: str) -> np.ndarray:
        counts = [np.diff(getattr(each, name)) for each in several]
        return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(np.concatenate(counts))])

    plain = ("part", "places", "nodes", "n_pixels", "across", "along")
    return Outlines(rings=chained("rings"), polygons=chained("polygons"), **{name: all_of(name) for name in plain})


def _outline(corners: Corners) -> Outlines:
    # Left before right at one place: the edge that comes from the left ends there before the next one begins.
    order = np.lexsort((corners.turn & 1, corners.col, corners.row, corners.part))
    corners = corners.take(order)
    part, row, col = corners.part, corners.row, corners.col
    starts, following = _edges(corners)
    ring, place, n_edges = _places_on_rings(following)
    # From here on one row per horizontal edge, ring by ring, each from its start.
    first_edge = np.concatenate([[0], np.cumsum(n_edges)])
    edges = np.empty(len(starts), dtype=INDEX)
    edges[first_edge[ring] + place] = starts
    length = col[edges ^ 1].astype(np.int64) - col[edges]
    area = _sums(length * row[edges], first_edge)
    of_part = part[edges[first_edge[:-1]]]
    # Rings are numbered by their first corner; the outer one, of positive area, leads those of its part.
    ordered = np.lexsort((area < 0, of_part)) if len(area) else np.zeros(0, dtype=np.int64)
    across = _sums(np.abs(length), first_edge)
    along = _sums(np.abs(row[_shifted(edges, first_edge)].astype(np.int64) - row[edges]), first_edge)
    polygons = np.flatnonzero(np.concatenate([[True], of_part[ordered][1:] != of_part[ordered][:-1], [True]]))
    polygons = polygons if len(area) else np.zeros(1, dtype=np.int64)
    places, nodes, rings = _points(edges, first_edge, ordered, corners)
    return Outlines(
        part=of_part[ordered][polygons[:-1]],
        places=places,
        nodes=nodes,
        rings=rings,
        polygons=polygons,
        n_pixels=_sums(area[ordered], polygons),
        across=_sums(across[ordered], polygons),
        along=_sums(along[ordered], polygons),
    )


def _edges(corners: Corners) -> tuple[np.ndarray, np.ndarray]:
    """The corners that horizontal edges start from, and per edge the number of the next one on its ring.

    Corner i is joined to corner i ^ 1 by a horizontal edge.
    """
    n = len(corners)
    by_column = np.lexsort((corners.turn >> 1 & 1, corners.row, corners.col, corners.part)).astype(INDEX)
    below = np.empty(n, dtype=INDEX)
    below[by_column[0::2]], below[by_column[1::2]] = by_column[1::2], by_column[0::2]
    turn = corners.turn & 3
    outer = (corners.turn & INNER) == 0
    # Seen from above with north up, the part lies to the left of its outline.
    leaves = np.where(outer, (turn == 1) | (turn == 2), (turn == 0) | (turn == 3))
    starts = np.flatnonzero(leaves).astype(INDEX)
    number = np.empty(n, dtype=INDEX)
    number[starts] = np.arange(len(starts))
    return starts, number[below[starts ^ 1]]


def _places_on_rings(following: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per edge its ring and its place on it, and the edges of each ring. Rings are numbered by their first edge."""
    n = len(following)
    if not n:
        none = np.zeros(0, dtype=np.int64)
        return none, none, none
    from scipy.sparse import csr_array  # noqa: PLC0415 -- slow to load, and few jobs need it
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415 -- as above

    graph = csr_array(  # type: ignore[no-untyped-call]
        (np.ones(n, dtype=np.int8), following, np.arange(n + 1)), shape=(n, n)
    )
    n_rings, found = connected_components(graph, directed=False)
    _, first = np.unique(found, return_index=True)
    renamed = np.empty(n_rings, dtype=INDEX)
    renamed[np.argsort(first)] = np.arange(n_rings)
    ring, first = renamed[found], np.sort(first)
    n_edges = np.bincount(ring, minlength=n_rings)
    # Steps to the ring's first edge, by jumps that double.
    steps, jump = np.ones(n, dtype=INDEX), following.copy()
    steps[first], jump[first] = 0, first
    left = np.flatnonzero(jump != first[ring])
    while left.size:
        there = jump[left]
        steps[left], jump[left] = steps[left] + steps[there], jump[there]
        left = left[jump[left] != first[ring[left]]]
    return ring, (n_edges[ring] - steps) % n_edges[ring], n_edges


def _points(
    edges: np.ndarray, first_edge: np.ndarray, ordered: np.ndarray, corners: Corners
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The points (point, 2) of the rings in an order, closed, which of them are nodes, and where each ring begins."""
    n_edges = np.diff(first_edge)[ordered]
    rings = np.concatenate([[0], np.cumsum(2 * n_edges + 1)])
    own = np.concatenate([[0], np.cumsum(n_edges)])
    ring = np.repeat(np.arange(len(ordered)), n_edges)
    within = np.arange(len(edges)) - own[ring]
    moved = edges[first_edge[:-1][ordered][ring] + within]
    places, nodes = np.empty((rings[-1], 2), dtype=np.int32), np.empty(rings[-1], dtype=bool)
    at = rings[ring] + 2 * within
    for which in (moved, moved ^ 1):
        places[at, 0], places[at, 1], nodes[at] = corners.col[which], corners.row[which], corners.turn[which] >= NODE
        at += 1
    places[rings[1:] - 1], nodes[rings[1:] - 1] = places[rings[:-1]], nodes[rings[:-1]]
    # Where a part goes straight on at a node it has two corners at one place.
    repeated = np.zeros(len(places), dtype=bool)
    repeated[1:] = (places[1:] == places[:-1]).all(axis=1)
    repeated[rings[:-1]] = False
    if not repeated.any():
        return places, nodes, rings
    n_before = np.concatenate([[0], np.cumsum(~repeated)])
    return places[~repeated], nodes[~repeated], n_before[rings]


def _shifted(edges: np.ndarray, first_edge: np.ndarray) -> np.ndarray:
    """Per edge the next one of its ring."""
    moved = np.empty_like(edges)
    moved[:-1] = edges[1:]
    moved[first_edge[1:] - 1] = edges[first_edge[:-1]]
    return moved


def _sums(numbers: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """The sums of the parts [bounds[i], bounds[i + 1]), none of which is empty."""
    return np.add.reduceat(numbers, bounds[:-1]) if len(bounds) > 1 else np.zeros(0, dtype=np.int64)
