"""The shapes of a class map, made strip by strip from north to south: only those that are open are held.

A shape is a part, or for eight neighbours the parts that touch at corners too. It is given out once a strip has passed
below it. The shapes do not depend on the strips' heights.
"""

from __future__ import annotations

import itertools
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from tilewright.tasks.vector.corners import Corners, Crossings, find_corners
from tilewright.tasks.vector.parts import NUMBER, Unions, grown, label_parts
from tilewright.tasks.vector.rings import outline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilewright.tasks.vector.rings import Outlines
    from tilewright.tasks.vector.vertices import Vertices

LEAST_CORNERS = 1 << 20
"""Corners below which no shape is made of them: many at once take less time."""

AT_A_TIME = 1 << 18
"""Corners of shapes that are given out together, or those of one shape: some 150 bytes of memory each."""

SAMPLE = 64
"""Of so many corners one is looked at to cut shapes into even portions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """Whole shapes: one row per part, in `outlines`. `value` of each, the `group` it belongs to (parts of one number
    are one shape), and `touches_edge`: a pixel of the part lies at the edge of what was asked for.
    """

    outlines: Outlines
    value: np.ndarray
    group: np.ndarray
    touches_edge: np.ndarray


class ShapeStream:
    """Takes the rows of a map in order and gives its shapes out; `col` is the absolute column at its left edge.

    `vertices` are filled with the map's, if given, and the shapes have their nodes. `ends`: all parts of one value, a
    whole number, are one shape, whose last row lies above the absolute row `ends[value]`; else a shape is a part.
    """

    def __init__(
        self,
        *,
        row: int,
        col: int,
        width: int,
        connectivity: Literal[4, 8] = 4,
        vertices: Vertices | None = None,
        ends: np.ndarray | None = None,
    ) -> None:
        assert connectivity == 4 or ends is None, "parts of one value are one shape, whether they touch or not"
        self._vertices = vertices
        self._row, self._col = row, col
        self._parts = Unions()
        # Shapes of four neighbours are parts.
        self._groups = self._parts if connectivity == 4 and ends is None else Unions()
        self._values = np.zeros(0)
        self._above = np.zeros(width, dtype=NUMBER)
        self._ends: np.ndarray | None = None
        # Number 0 stands for no part.
        self._number(np.zeros(2, dtype=np.uint8))
        self._ends, self._first = ends, np.zeros(0 if ends is None else len(ends), dtype=NUMBER)
        self._corners: list[Corners] = []
        self._crossings: list[Crossings] = []
        self._touching: list[np.ndarray] = []
        self._n_held, self._limit = 0, LEAST_CORNERS

    @property
    def parts(self) -> Unions:
        """The numbers of parts: in each strip as `label_parts` gives them, one strip after another from 1 on."""
        return self._parts

    def take(self, values: np.ndarray, valid: np.ndarray, *, edge: np.ndarray) -> Iterator[Shapes]:
        """Take the next rows (y, x); `edge`: pixels at the edge of the map. Gives the shapes that are whole, if any,
        some at a time, before the next rows are taken.

        All values of a stream have one type. Shapes may come later than they could: several strips make them at once.
        """
        labelled, kinds = label_parts(values, valid)
        first = self._number(kinds)
        above, own = self._above, labelled[0].astype(np.int64) - 1 + first
        joined = (above > 0) & (labelled[0] > 0)
        joined[joined] = self._values[above[joined]] == self._values[own[joined]]
        self._parts.join(above[joined], own[joined])
        if self._groups is not self._parts:
            self._groups.join(above[joined], own[joined])
        numbers, rows = self._renumbered(labelled, first)
        corners, crossings, places = find_corners(
            rows, self._values[numbers], row=self._row, col=self._col, nodes=self._vertices is not None
        )
        if self._vertices is not None:
            self._vertices.add(places)
        self._hold(corners, crossings, numbers)
        touching = np.unique(rows[1:][edge & valid])
        self._touching.append(numbers[touching])
        self._above = numbers[rows[-1]]
        self._row += len(values)
        return self._whole() if self._n_held > self._limit else iter(())

    def end(self) -> Iterator[Shapes]:
        """The shapes that are left, after the last row."""
        width, self._limit = len(self._above), sys.maxsize
        nothing = np.zeros((1, width), dtype=bool)
        self.take(np.zeros((1, width), dtype=self._values.dtype), nothing, edge=nothing)
        if self._vertices is not None:
            self._vertices.end()
        return self._whole() if self._n_held else iter(())

    def _number(self, kinds: np.ndarray) -> int:
        """Numbers for new parts, all but the first of `kinds`; the first of them is returned."""
        first = self._parts.add(len(kinds) - 1)
        if self._groups is not self._parts:
            self._groups.add(len(kinds) - 1)
        self._values = grown(self._values.astype(kinds.dtype, copy=False), len(self._parts))
        self._values[first : len(self._parts)] = kinds[1:]
        if self._ends is not None:
            self._join_alike(np.arange(first, len(self._parts)), kinds[1:])
        return first

    def _join_alike(self, parts: np.ndarray, values: np.ndarray) -> None:
        """Make new parts one shape with those of their values."""
        known, first = np.unique(values, return_index=True)
        new = self._first[known] == 0
        self._first[known[new]] = parts[first[new]]
        self._groups.join(parts, self._first[values])

    def _renumbered(self, labelled: np.ndarray, first: int) -> tuple[np.ndarray, np.ndarray]:
        """The parts of the row above and of a strip as small numbers (y + 1, x), 0 = none, and what they stand for."""
        n_parts = len(self._parts) - first
        there = self._above > 0
        above = self._above[there]
        everywhere = self._parts.find(np.concatenate([above, np.arange(first, first + n_parts)]))
        roots, small = np.unique(everywhere, return_inverse=True)
        table = np.concatenate([[0], small[len(above) :] + 1]).astype(np.int32)
        rows = np.zeros((len(labelled) + 1, labelled.shape[1]), dtype=np.int32)
        rows[0, there] = small[: len(above)] + 1
        np.take(table, labelled, out=rows[1:])
        return np.concatenate([np.zeros(1, dtype=NUMBER), roots]), rows

    def _hold(self, corners: Corners, crossings: Crossings, numbers: np.ndarray) -> None:
        """Keep corners and crossings of small part numbers until their parts are whole."""
        self._corners.append(replace(corners, part=numbers[corners.part]))
        crossings = replace(crossings, first=numbers[crossings.first], second=numbers[crossings.second])
        self._crossings.append(crossings)
        self._n_held += len(corners) + len(crossings)
        if self._groups is not self._parts:
            self._groups.join(crossings.first, crossings.second)

    def _whole(self) -> Iterator[Shapes]:
        """The shapes of which no row is missing. Those that are open stay."""
        open_parts = self._parts.find(np.unique(self._above[self._above > 0]))
        if self._ends is not None:
            open_parts = np.concatenate([open_parts, self._unended()])
        open_groups = np.unique(self._group(open_parts))
        crossings = Crossings.joined(self._crossings)
        crossings = replace(
            crossings, first=self._parts.find(crossings.first), second=self._parts.find(crossings.second)
        )
        # Of two parts that touch one is whole: they are not one part.
        known = ~(self._is_open(crossings.first, open_groups) & self._is_open(crossings.second, open_groups))
        held = [*self._corners, crossings.take(known).corners()]
        self._crossings, self._corners = [crossings.take(~known)], []
        whole, still = [], []
        while held:
            # Each is let go of once it is copied.
            some = held.pop()
            some = replace(some, part=self._parts.find(some.part))
            is_open = self._is_open(some.part, open_groups)
            whole.append(some.take(~is_open))
            still.append(some.take(is_open))
        del some
        self._corners = [Corners.joined(still)]
        self._n_held = len(self._corners[0]) + int((~known).sum())
        self._limit = max(LEAST_CORNERS, 2 * self._n_held)
        touching = np.unique(self._parts.find(np.concatenate(self._touching)))
        self._touching = [touching[self._is_open(touching, open_groups)]]
        return self._shapes(whole, touching)

    def _unended(self) -> np.ndarray:
        """Parts that are held of values of which rows may come, one of each shape at least."""
        assert self._ends is not None
        # The upper left pixel of a shape has a corner that is no crossing.
        held = np.concatenate([np.unique(each.part) for each in self._corners])
        parts = np.unique(self._parts.find(held))
        return parts[self._ends[self._values[parts]] > self._row]

    def _shapes(self, corners: list[Corners], touching: np.ndarray) -> Iterator[Shapes]:
        """The shapes of corners of whole parts, whole groups at a time; `touching` has the parts at the map's edge."""
        for some in self._portions(corners):
            outlines = outline(some)
            yield Shapes(
                outlines=outlines,
                value=self._values[outlines.part],
                group=self._group(outlines.part),
                touches_edge=np.isin(outlines.part, touching),
            )

    def _portions(self, corners: list[Corners]) -> Iterator[Corners]:
        """All corners in portions of some AT_A_TIME by the numbers of their groups, none of which is cut."""
        sample = np.concatenate([self._group(each.part[::SAMPLE]) for each in corners])
        cuts = np.unique(np.sort(sample)[:: AT_A_TIME // SAMPLE][1:])
        last = np.iinfo(NUMBER).max
        for low, high in itertools.pairwise([0, *cuts.tolist(), last]):
            found = []
            for each in corners:
                group = self._group(each.part)
                here = (group >= low) & (group < high)
                if here.any():
                    found.append(each.take(here))
            if found:
                yield Corners.joined(found)

    def _group(self, parts: np.ndarray) -> np.ndarray:
        """The number of the shape that parts belong to."""
        return self._groups.find(parts)

    def _is_open(self, parts: np.ndarray, open_groups: np.ndarray) -> np.ndarray:
        return np.isin(self._group(parts), open_groups)
