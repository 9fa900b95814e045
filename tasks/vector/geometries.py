"""Geometries of many shapes as flat arrays, as records in a file, and as WKB."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tilewright.tasks.vector.rings import Outlines

POINTS = 1 << 17
"""Points that are taken at a time, or those of one ring: some 50 bytes of memory each."""

HEAD = np.dtype([("order", "u1"), ("kind", "<u4"), ("n", "<u4")])
"""The head of a polygon in WKB, kind 3, or of a multipolygon, 6.

Source: OGC 06-103r4, Simple feature access, part 1, 8.2.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometries:
    """Shapes as ragged arrays: those of `Outlines`, but no first point is repeated, and part p is of shape s where
    shapes[s] <= p < shapes[s + 1]; the rings of part p are [parts[p], parts[p + 1]). `nodes` tells which places are.
    """

    places: np.ndarray
    nodes: np.ndarray
    rings: np.ndarray
    parts: np.ndarray
    shapes: np.ndarray

    def __len__(self) -> int:
        return len(self.shapes) - 1

    def bounds(self) -> np.ndarray:
        """The least and the greatest column and row of each shape, (shape, 4)."""
        first = self.rings[self.parts[self.shapes[:-1]]]
        least, greatest = np.minimum.reduceat(self.places, first), np.maximum.reduceat(self.places, first)
        return np.concatenate([least, greatest], axis=1)


def geometries_of(outlines: Outlines, parts: np.ndarray, n_parts: np.ndarray) -> Geometries:
    """The shapes that take so many of some parts of outlines each, in their order."""
    n_rings = np.diff(outlines.polygons)[parts]
    rings = ranges(outlines.polygons[parts], n_rings)
    n_points = np.diff(outlines.rings)[rings] - 1
    starts, ends = outlines.rings[rings], offsets(n_points)
    places, nodes = np.empty((ends[-1], 2), dtype=np.int32), np.empty(ends[-1], dtype=bool)
    for first, last in batches(ends, POINTS):
        points, some = ranges(starts[first:last], n_points[first:last]), slice(ends[first], ends[last])
        places[some], nodes[some] = outlines.places[points], outlines.nodes[points]
    return Geometries(
        places=places,
        nodes=nodes,
        rings=offsets(n_points),
        parts=offsets(n_rings),
        shapes=offsets(n_parts),
    )


def offsets(counts: np.ndarray) -> np.ndarray:
    """0, counts[0], counts[0] + counts[1], ... as int64."""
    found = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=found[1:])
    return found


def ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The numbers from starts[0] on, counts[0] of them, then those from starts[1] on, ..."""
    before = offsets(counts)
    found = np.arange(before[-1])
    found += np.repeat(starts - before[:-1], counts)
    return found


def batches(ends: np.ndarray, limit: int) -> Iterator[tuple[int, int]]:
    """The first and the last, not included, of things that are taken at a time: thing i takes ends[i + 1] - ends[i]."""
    first = 0
    while first < len(ends) - 1:
        last = max(first + 1, int(np.searchsorted(ends, ends[first] + limit, side="right")) - 1)
        yield first, last
        first = last


class GeometryFile:
    """Geometries that wait in a file of a folder.

    Each is a record of int32: its counts of parts, of rings per part and of points per ring, a 0 if these are odd in
    number, and for each point its column * 2, + 1 for a node, and its row.
    """

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 -- closed by `close`
        self._end = 0

    def close(self) -> None:
        """Remove the file."""
        self._file.close()

    def add(self, some: Geometries) -> tuple[np.ndarray, np.ndarray]:
        """Write geometries; returns where each begins and how many numbers it takes."""
        n_parts = np.diff(some.shapes)
        n_rings = np.diff(some.parts[some.shapes])
        n_points = np.diff(some.rings[some.parts[some.shapes]])
        heads = _head_sizes(n_parts, n_rings)
        sizes = heads + 2 * n_points
        at = offsets(sizes)
        record = np.zeros(at[-1], dtype=np.int32)
        record[at[:-1]] = n_parts
        record[ranges(at[:-1] + 1, n_parts)] = np.diff(some.parts)
        record[ranges(at[:-1] + 1 + n_parts, n_rings)] = np.diff(some.rings)
        is_point = _is_point(at, heads)
        pairs = some.places * np.array([2, 1], dtype=np.int32)
        pairs[:, 0] += some.nodes
        record.reshape(-1, 2)[is_point] = pairs
        self._file.seek(4 * self._end)
        self._file.write(record.data)
        begins, self._end = self._end + at[:-1], self._end + int(at[-1])
        return begins, sizes

    def read(self, at: np.ndarray, sizes: np.ndarray) -> Geometries:
        """The geometries at these places, in their order."""
        record = np.empty(int(sizes.sum()), dtype=np.int32)
        start = 0
        for place, size in zip(at.tolist(), sizes.tolist(), strict=True):
            self._file.seek(4 * place)
            self._file.readinto(record[start : start + size].data)
            start += size
        ends = offsets(sizes)
        begins = ends[:-1]
        n_parts = record[begins].astype(np.int64)
        shapes = offsets(n_parts)
        parts = offsets(record[ranges(begins + 1, n_parts)])
        n_rings = np.diff(parts[shapes])
        rings = offsets(record[ranges(begins + 1 + n_parts, n_rings)])
        places = record.reshape(-1, 2)[_is_point(ends, _head_sizes(n_parts, n_rings))]
        nodes = (places[:, 0] & 1).astype(bool)
        places[:, 0] >>= 1
        return Geometries(places=places, nodes=nodes, rings=rings, parts=parts, shapes=shapes)


def _head_sizes(n_parts: np.ndarray, n_rings: np.ndarray) -> np.ndarray:
    """The numbers of each record before its points, an even one."""
    heads = 1 + n_parts + n_rings
    return heads + heads % 2


def _is_point(at: np.ndarray, heads: np.ndarray) -> np.ndarray:
    """True at the pairs of numbers of records that are points; the records begin and end at these places."""
    found = np.ones(at[-1] // 2, dtype=bool)
    found[ranges(at[:-1] // 2, heads // 2)] = False
    return found


def to_wkb(some: Geometries, size: float) -> tuple[np.ndarray, np.ndarray]:
    """The WKB of geometries one after another, uint8, and where each begins; `size` of a pixel in CRS units.

    Little-endian polygons, and multipolygons where a shape has several parts.
    """
    n_points = np.diff(some.rings) + 1
    ring_bytes = offsets(4 + 16 * n_points)
    part_bytes = offsets(HEAD.itemsize + np.diff(ring_bytes[some.parts]))
    n_parts = np.diff(some.shapes)
    several = n_parts > 1
    heads = HEAD.itemsize * several
    begins = offsets(heads + np.diff(part_bytes[some.shapes]))
    at_parts = part_bytes[:-1] + np.repeat(np.cumsum(heads), n_parts)
    n_rings = np.diff(some.parts)
    at_rings = ring_bytes[:-1] + np.repeat(at_parts + HEAD.itemsize - ring_bytes[some.parts[:-1]], n_rings)
    stored = np.empty(begins[-1], dtype=np.uint8)
    is_place = np.ones(len(stored), dtype=bool)
    for at, head in (
        (begins[:-1][several], _heads(6, n_parts[several])),
        (at_parts, _heads(3, n_rings)),
        (at_rings, n_points.astype("<u4").view(np.uint8).reshape(-1, 4)),
    ):
        for number in range(head.shape[1]):
            stored[at + number], is_place[at + number] = head[:, number], False
    closed = offsets(n_points)
    for first, last in batches(closed, POINTS):
        points = ranges(some.rings[first:last], n_points[first:last])
        points[closed[first + 1 : last + 1] - closed[first] - 1] = some.rings[first:last]
        places = (some.places[points] * np.array([size, -size])).astype("<f8", copy=False)
        own = slice(at_rings[first], at_rings[last] if last < len(at_rings) else None)
        stored[own][is_place[own]] = places.view(np.uint8).ravel()
    return stored, begins


def _heads(kind: int, n: np.ndarray) -> np.ndarray:
    """The heads, (geometry, 9) uint8, of geometries of one kind with n members each."""
    heads = np.zeros(len(n), dtype=HEAD)
    heads["order"], heads["kind"], heads["n"] = 1, kind, n
    return heads.view(np.uint8).reshape(-1, HEAD.itemsize)
