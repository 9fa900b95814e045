"""The corners of the parts of a class map: where their outlines turn.

A part is a set of pixels of one value that are joined by their edges. Around a corner of the lattice lie four pixels:

    a b
    c d

An outline turns there around one of them, the corner's *turn*: 0 a, 1 b, 2 c, 3 d. Its horizontal edge goes left for a
and c, its vertical one up for a and b. The corner is *outer* where that pixel alone is of the part, *inner* where it
alone is not.

A corner where three or four outlines' edges meet is a *node*. Where shapes are simplified, a part that goes straight on
at a node has two corners there, at the ends of an edge without length: what ends at a node ends for both sides of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

INNER, NODE = 4, 8
"""Added to the turn of an inner corner, and of one at a node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corners:
    """Corners of parts, one row each: the part, place on the lattice of pixel corners, and turn (+ INNER, + NODE)."""

    part: np.ndarray
    row: np.ndarray
    col: np.ndarray
    turn: np.ndarray

    def __len__(self) -> int:
        return len(self.part)

    def take(self, which: np.ndarray) -> Corners:
        """Those of a mask or of indices."""
        return Corners(part=self.part[which], row=self.row[which], col=self.col[which], turn=self.turn[which])

    @classmethod
    def joined(cls, several: list[Corners]) -> Corners:
        """All of them; none of an empty list."""
        if not several:
            none = np.zeros(0, dtype=np.int32)
            return cls(part=none, row=none, col=none, turn=none.astype(np.uint8))
        return cls(
            part=np.concatenate([each.part for each in several]),
            row=np.concatenate([each.row for each in several]),
            col=np.concatenate([each.col for each in several]),
            turn=np.concatenate([each.turn for each in several]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossings:
    """Places where two pixels of one value touch at a corner alone: the parts of the upper, `first`, and the lower one.

    `falls`: the upper one is the left one, a and d; otherwise they are b and c. Whether they are one part is known once
    the whole of both is seen.
    """

    first: np.ndarray
    second: np.ndarray
    row: np.ndarray
    col: np.ndarray
    falls: np.ndarray

    def __len__(self) -> int:
        return len(self.first)

    def take(self, which: np.ndarray) -> Crossings:
        """Those of a mask or of indices."""
        return Crossings(
            first=self.first[which], second=self.second[which], row=self.row[which], col=self.col[which],
            falls=self.falls[which],
        )  # fmt: skip

    @classmethod
    def joined(cls, several: list[Crossings]) -> Crossings:
        """All of them; none of an empty list."""
        if not several:
            none = np.zeros(0, dtype=np.int32)
            return cls(first=none, second=none, row=none, col=none, falls=none.astype(bool))
        return cls(
            first=np.concatenate([each.first for each in several]),
            second=np.concatenate([each.second for each in several]),
            row=np.concatenate([each.row for each in several]),
            col=np.concatenate([each.col for each in several]),
            falls=np.concatenate([each.falls for each in several]),
        )

    def corners(self) -> Corners:
        """The corners that they are, both sides of each.

        Two parts have an outer corner each. A part that touches itself encloses one of the other two pixels: its
        outline turns around these, so that a hole and what is around it are rings of their own.
        """
        one = self.first == self.second
        upper = np.where(self.falls, np.where(one, INNER + 1, 0), np.where(one, INNER + 0, 1))
        lower = np.where(self.falls, np.where(one, INNER + 2, 3), np.where(one, INNER + 3, 2))
        return Corners(
            part=np.concatenate([self.first, self.second]),
            row=np.concatenate([self.row, self.row]),
            col=np.concatenate([self.col, self.col]),
            turn=(np.concatenate([upper, lower]) + NODE).astype(np.uint8),
        )


def find_corners(
    parts: np.ndarray, values: np.ndarray, *, row: int, col: int, nodes: bool = False
) -> tuple[Corners, Crossings, np.ndarray]:
    """The corners between the rows of a strip of parts (y, x), 0 = none, whose first row lies above lattice row `row`.

    Pixels that share an edge are of one part where their values are equal. `values` has that of each part; `col` is the
    lattice column at the left edge. Corners above the first row and below the last one are not the strip's. `nodes`:
    tell them, and let parts have corners where they go straight on. The last one returned, (y - 1, x + 1), is True at
    the places of corners.
    """
    padded = np.pad(parts, ((0, 0), (1, 1)))
    a, b, c, d = padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    turning = ~(((a == b) & (c == d)) | ((a == c) & (b == d)))
    rows, cols = np.nonzero(turning)
    a, b, c, d = (each[rows, cols] for each in (a, b, c, d))
    ab, cd, ac, bd = a == b, c == d, a == c, b == d
    falls = (a > 0) & (d > 0) & ~ab & ~ac & (values[a] == values[d])
    rises = (b > 0) & (c > 0) & ~ab & ~bd & (values[b] == values[c])
    # A pixel across from one of its value with which it shares no edge is a crossing, not a corner.
    found = [
        (a, (a > 0) & ~ab & ~ac & ~falls, 0),
        (b, (b > 0) & ~ab & ~bd & ~rises, 1),
        (c, (c > 0) & ~ac & ~cd & ~rises, 2),
        (d, (d > 0) & ~bd & ~cd & ~falls, 3),
        (b, (b > 0) & bd & cd, INNER + 0),
        (a, (a > 0) & ac & cd, INNER + 1),
        (a, (a > 0) & ab & bd, INNER + 2),
        (a, (a > 0) & ab & ac, INNER + 3),
    ]
    node = np.zeros(len(rows), dtype=np.uint8)
    if nodes:
        found += _straight(a, b, c, d)
        node[(~ab).astype(np.uint8) + ~cd + ~ac + ~bd > 2] = NODE
    rows, cols = (rows + row).astype(np.int32), (cols + col).astype(np.int32)
    corners = Corners.joined(
        [
            Corners(part=part[here], row=rows[here], col=cols[here], turn=node[here] + np.uint8(turn))
            for part, here, turn in found
        ]
    )
    crossings = Crossings.joined(
        [
            Crossings(first=first[here], second=second[here], row=rows[here], col=cols[here],
                      falls=np.full(here.sum(), down, dtype=bool))
            for first, second, here, down in ((a, d, falls, True), (b, c, rises, False))
        ]
    )  # fmt: skip
    return corners, crossings, turning


def _straight(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, int]]:
    """The parts that go straight on where two others part: which, where, and the turns of their two corners there."""
    across, along = (a != c) & (b != d), (a != b) & (c != d)
    above, below = (a > 0) & (a == b) & (c != d) & across, (c > 0) & (c == d) & (a != b) & across
    left, right = (a > 0) & (a == c) & (b != d) & along, (b > 0) & (b == d) & (a != c) & along
    return [
        (a, above, 0), (a, above, INNER + 3), (c, below, INNER + 0), (c, below, 3),
        (a, left, 2), (a, left, INNER + 1), (b, right, 1), (b, right, INNER + 2),
    ]  # fmt: skip
