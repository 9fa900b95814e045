"""Simpler outlines of the shapes of a map, which still fit: shapes stay valid, and neighbours have no gap or overlap.

The edges between pixels that differ are a plane graph. Its *nodes* are corners where three or four of them meet; its
*vertices* are these and the corners where two turn. Anchors (`anchors`) are kept: all nodes, and so many more that each
ring has three, or that no two pieces between anchors have both ends in common. Between anchors vertices are left out as
by Douglas and Peucker: a piece becomes the chord between its ends if no vertex on it is farther than the tolerance from
that, and if the chord is *free*; else it is cut at the vertex farthest from the chord. Of equals that is the first by
row and column. All of it depends on the piece alone, in either direction, and on the map's vertices within its bounds:
so both sides of an arc become the same line, in any cut of the map.

A chord is free if no vertex but those of its own piece lies in the area that piece and chord enclose, on the chord
included (`_is_free` looks at an area that is a little larger). Then the simplified graph is as the original one was:

1. No chord s of a piece a crosses an edge e of another piece. From the crossing e goes on into an area that a and s
   enclose. It cannot leave it: not through s, which is straight, nor through a, for edges do not cross. So it ends
   there, at a vertex. That is none of a's, or e and s would have two points in common: s is not free.
2. No two chords s and t cross, of pieces a and b. From the crossing t goes on into an area that a and s enclose. It
   does not end there, for s is free, nor leaves it through s. So it crosses an edge of a, against 1.
3. No chord touches a vertex, or another chord but at common ends, for its own line is part of what must be free. Two
   chords with both ends in common would enclose with their pieces no vertex of others, so that pieces a and b would be
   the outline of one shape with two nodes, or of two with a straight edge between: `lens_anchors` gives each of them a
   third. The pixels without a polygon are shapes here, too.
4. So a piece and its chord enclose nothing else, neither edges nor vertices, nor those of chords, and the one can be
   moved into the other with all the rest where it is, piece by piece: what lies inside, outside or beside stays there.

Source: D. H. Douglas, T. K. Peucker, Algorithms for the reduction of the number of points required to represent a
digitized line or its caricature, 1973; M. de Berg, M. van Kreveld, S. Schirra, Topologically correct subdivision
simplification using the bandwidth criterion, 1998, for vertices that must stay on their side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tilewright.tasks.vector.anchors import Points, anchors, farthest, points_of, squared_distances
from tilewright.tasks.vector.geometries import Geometries, batches, offsets, ranges

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilewright.tasks.vector.vertices import Vertices

PIXELS = 1 << 19
"""Points and lengths of rings that are simplified at a time, about; some 200 bytes of memory each."""


def simplified(some: Geometries, *, tolerance: float, vertices: Vertices, lenses: np.ndarray) -> Geometries:
    """Geometries with fewer points; `tolerance` in pixels, `lenses` the sorted keys of all of `lens_anchors`.

    Each ring begins at its first point by row and column of those that are left. Each edge is at most the tolerance
    away from what it stands for, and the other way around.
    """
    found = [
        _rings(some, first, last, tolerance=tolerance, vertices=vertices, lenses=lenses)
        for first, last in _batches(some)
    ]
    counts = np.concatenate([each for _, each in found])
    places = np.concatenate([each for each, _ in found])
    return Geometries(
        places=places, nodes=np.zeros(len(places), dtype=bool), rings=offsets(counts), parts=some.parts,
        shapes=some.shapes,
    )  # fmt: skip


def _batches(some: Geometries) -> Iterator[tuple[int, int]]:
    """The first and the last ring, not included, of those that are simplified at a time."""
    lengths = np.zeros(len(some.places) + 1, dtype=np.int64)
    steps = np.abs(np.diff(some.places, axis=0)).sum(axis=1)
    # The step between two rings counts as none.
    steps[some.rings[1:-1] - 1] = 0
    np.cumsum(1 + np.append(steps, 0), out=lengths[1:])
    return batches(lengths[some.rings], PIXELS)


def _rings(
    some: Geometries, first: int, last: int, *, tolerance: float, vertices: Vertices, lenses: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The places that are left of some rings, and how many each has."""
    begin, end = some.rings[first], some.rings[last]
    rings, places, nodes = some.rings[first : last + 1] - begin, some.places[begin:end], some.nodes[begin:end]
    is_anchor = anchors(points_of(places), nodes, rings, lenses)
    places, is_anchor, rings = _turned(places, is_anchor, rings)
    points = points_of(places)
    kept = is_anchor.copy()
    start = np.flatnonzero(is_anchor)
    is_last = np.zeros(len(places), dtype=bool)
    is_last[rings[1:] - 1] = True
    start, end = start[:-1], start[1:]
    within = ~is_last[start]
    for cut in _cuts(points, start[within], end[within], tolerance=tolerance, vertices=vertices):
        kept[cut] = True
    kept[rings[1:] - 1] = False
    counts = np.add.reduceat(kept, rings[:-1], dtype=np.int64)
    return _first_first(places[kept], offsets(counts)), counts


def _turned(places: np.ndarray, is_anchor: np.ndarray, rings: np.ndarray) -> tuple[np.ndarray, ...]:
    """Rings that begin at an anchor and end with it again, and where each begins."""
    counts = np.diff(rings)
    anchor = np.flatnonzero(is_anchor)
    shift = anchor[np.searchsorted(anchor, rings[:-1])] - rings[:-1]
    within = ranges(np.zeros(len(counts), dtype=np.int64), counts + 1)
    which = (within + np.repeat(shift, counts + 1)) % np.repeat(counts, counts + 1) + np.repeat(rings[:-1], counts + 1)
    return places[which], is_anchor[which], offsets(counts + 1)


def _first_first(places: np.ndarray, rings: np.ndarray) -> np.ndarray:
    """Rings turned so that each begins at its first place by row and column."""
    counts = np.diff(rings)
    first, _ = farthest(np.zeros(len(places)), points_of(places).key, rings[:-1])
    within = ranges(first - rings[:-1], counts)
    return places[within % np.repeat(counts, counts) + np.repeat(rings[:-1], counts)]


def _cuts(
    points: Points, start: np.ndarray, end: np.ndarray, *, tolerance: float, vertices: Vertices
) -> Iterator[np.ndarray]:
    """The points at which pieces, from a point to a later one, are cut until all chords stand for them."""
    while True:
        bent = end - start > 1
        start, end = start[bent], end[bent]
        if not len(start):
            return
        counts = end - start - 1
        inner = ranges(start + 1, counts)
        own = points.take(inner)
        one, other = points.take(np.repeat(start, counts)), points.take(np.repeat(end, counts))
        found, distance = farthest(squared_distances(own, one, other), own.key, np.cumsum(counts) - counts)
        cut = distance > tolerance * tolerance
        near = np.flatnonzero(~cut)
        cut[near[~_is_free(points, start[near], end[near], vertices)]] = True
        middle = inner[found][cut]
        yield middle
        start, end = np.concatenate([start[cut], middle]), np.concatenate([middle, end[cut]])


def _is_free(points: Points, start: np.ndarray, end: np.ndarray, vertices: Vertices) -> np.ndarray:
    """True where the area between a piece and its chord holds no vertex but the piece's own.

    A place in it has the piece or its chord on both sides, along its row and along its column. So the area is part of
    all that lies between in rows, and of what does in columns: if one of these holds as many vertices as the piece has,
    the area is free. Where piece and chord go down, or across, without turning back, one of them is the area itself.
    """
    n_own = end - start + 1
    free = _n_between(points, start, end, vertices) == n_own
    left = np.flatnonzero(~free)
    if len(left):
        turned = Points(row=points.col, col=points.row)
        free[left] = _n_between(turned, start[left], end[left], vertices, is_turned=True) == n_own[left]
    return free


def _n_between(
    points: Points, start: np.ndarray, end: np.ndarray, vertices: Vertices, *, is_turned: bool = False
) -> np.ndarray:
    """The vertices in rows between the outermost places of a piece and its chord; `is_turned`: rows are columns."""
    if not len(start):
        return np.zeros(0, dtype=np.int64)
    n_edges = end - start
    edge = ranges(start, n_edges)
    top = np.minimum(points.row[edge], points.row[edge + 1])
    bottom = np.maximum(points.row[edge], points.row[edge + 1])
    edges_of = np.cumsum(n_edges) - n_edges
    first, last = np.minimum.reduceat(top, edges_of), np.maximum.reduceat(bottom, edges_of)
    n_rows = last - first + 1
    lines = offsets(n_rows)
    row = ranges(first, n_rows)
    # Both ends of every edge, which is all of one along a row; an edge along a column at all rows that it passes.
    least, greatest = np.full(lines[-1], np.iinfo(np.int64).max), np.full(lines[-1], np.iinfo(np.int64).min)
    base = lines[:-1] - first
    height = bottom - top + 1
    line, col = ranges(top + np.repeat(base, n_edges), height), np.repeat(points.col[edge], height)
    end_line = points.row[edge + 1] + np.repeat(base, n_edges)
    for at, where in ((line, col), (end_line, points.col[edge + 1])):
        np.minimum.at(least, at, where)
        np.maximum.at(greatest, at, where)
    _add_chords(points.take(start), points.take(end), base, least, greatest)
    counts = (vertices.in_cols if is_turned else vertices.in_rows)(row, least, greatest)
    return np.add.reduceat(counts, lines[:-1])


def _add_chords(one: Points, other: Points, base: np.ndarray, least: np.ndarray, greatest: np.ndarray) -> None:
    """Widen the lines of pieces, row r at base + r, by the chords from one point to another."""
    down = one.row <= other.row
    top_row, top_col = np.where(down, one.row, other.row), np.where(down, one.col, other.col)
    across = np.where(down, other.col, one.col) - top_col
    height = np.abs(other.row - one.row)
    n_rows = height + 1
    step = ranges(np.zeros(len(height), dtype=np.int64), n_rows)
    line = step + np.repeat(base + top_row, n_rows)
    moved, of = step * np.repeat(across, n_rows), np.repeat(np.maximum(height, 1), n_rows)
    col = np.repeat(top_col, n_rows)
    least[line] = np.minimum(least[line], col - (-moved // of))
    greatest[line] = np.maximum(greatest[line], col + moved // of)
