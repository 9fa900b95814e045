"""Rows of a unit that are read together: neighbours along the curve that have the same scenes and steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tilewright.tasks.grid.blocks import Block
from tilewright.tasks.grid.windows import Window

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.places.matches import Match
    from tilewright.tasks.places.rows import PlaceRows

SIDE = 1024
"""Pixels; rows are read together in boxes of at most so many a side, unless a window is larger."""

SPARE_PIXELS = 128 * 128
"""Pixels that may be read in vain to save a further read, which costs about as much."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Patch:
    """Rows with one match, and the ``box`` around their windows; rows without a scene are in patches without a plan."""

    match: Match
    rows: tuple[int, ...]
    box: PixelBox

    def block(self, unit: Block, *, margin: int) -> Block:
        """The block that is read for it, under the name of its unit."""
        return Block(row=unit.row, col=unit.col, inner=self.box, outer=self.box.pad(margin))


def window_of(box: PixelBox) -> Window:
    """A window that is kept whole, at no place of the lattice."""
    return Window(row=0, col=0, outer=box, kept=box)


def cut_patches(places: PlaceRows, rows: Iterable[int], matches: Iterable[Match]) -> Iterator[Patch]:
    """The rows, of which ``matches`` are in their order, in patches. What a row gets does not depend on the cut."""
    match: Match | None = None
    members: list[int] = []
    box: PixelBox | None = None
    for row, found in zip(rows, matches, strict=True):
        window = places.box(row)
        joined = window if box is None else box.around(window)
        if match is not None and box is not None and members:
            fits = _area(joined) <= _area(box) + _area(window) + SPARE_PIXELS
            small = max(joined.shape) <= max(SIDE, places.window)
            if found is not match or not (fits and small):
                yield Patch(match=match, rows=tuple(members), box=box)
                members, joined = [], window
        match, box = found, joined
        members.append(row)
    if match is not None and box is not None:
        yield Patch(match=match, rows=tuple(members), box=box)


def _area(box: PixelBox) -> int:
    height, width = box.shape
    return height * width
