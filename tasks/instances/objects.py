"""The objects of a layer of ids: numbered as rows come, and numbered alike a second time, when their ids are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.instances.marks import INSIDE
from tilewright.tasks.vector.parts import label_parts
from tilewright.tasks.vector.shapes import ShapeStream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilewright.tasks.instances.mask_file import MaskFile
    from tilewright.tasks.vector.shapes import Shapes


class Objects(Protocol):
    """Takes the marks of a product's rows from north to south, twice: for shapes, and for numbers.

    Both times in the same strips. Shapes of one `figure` (a column of `FIGURES`) are an object, whose number that is.
    """

    figure: str

    def take(self, box: PixelBox, marks: np.ndarray, *, edge: np.ndarray) -> Iterator[Shapes]:
        """The shapes that are whole after these rows (y, x), some at a time, before the next rows are taken."""

    def end(self) -> Iterator[Shapes]:
        """The shapes that are left after the last row."""

    def numbers(self, box: PixelBox, marks: np.ndarray) -> np.ndarray:
        """The number of the object at each pixel (y, x), 0 = none, of rows that were taken; in their order."""


class BoundedObjects:
    """Parts of marked pixels that are joined by their edges; `value` is that of their class."""

    figure = "group"

    def __init__(self, extent: PixelBox, *, value: int) -> None:
        self._value = np.uint8(value)
        self._stream = ShapeStream(row=extent.row_start, col=extent.col_start, width=extent.shape[1])
        self._n_before = 1

    def take(self, box: PixelBox, marks: np.ndarray, *, edge: np.ndarray) -> Iterator[Shapes]:
        """See `Objects`."""
        return self._stream.take(np.full(box.shape, self._value), marks == INSIDE, edge=edge)

    def end(self) -> Iterator[Shapes]:
        """See `Objects`."""
        return self._stream.end()

    def numbers(self, box: PixelBox, marks: np.ndarray) -> np.ndarray:
        """See `Objects`."""
        labelled, kinds = label_parts(np.full(box.shape, self._value), marks == INSIDE)
        first, self._n_before = self._n_before, self._n_before + len(kinds) - 1
        whole = self._stream.parts.find(np.arange(first, self._n_before))
        return np.concatenate([np.zeros(1, dtype=whole.dtype), whole])[labelled]


class MaskedObjects:
    """The objects of masks that are left of all, the best first; a pixel is of the best one that has it."""

    figure = "value"

    def __init__(self, extent: PixelBox, masks: MaskFile) -> None:
        self._masks, self._tops = masks, masks.records["row"]
        self._bottoms = masks.records["row"] + masks.records["height"].astype(np.int64)
        ends = np.concatenate([[extent.row_start], np.minimum(self._bottoms, extent.row_stop)])
        self._stream = ShapeStream(row=extent.row_start, col=extent.col_start, width=extent.shape[1], ends=ends)

    def take(self, box: PixelBox, marks: np.ndarray, *, edge: np.ndarray) -> Iterator[Shapes]:
        """See `Objects`."""
        numbers = self.numbers(box, marks)
        return self._stream.take(numbers, numbers > 0, edge=edge)

    def end(self) -> Iterator[Shapes]:
        """See `Objects`."""
        return self._stream.end()

    def numbers(self, box: PixelBox, marks: np.ndarray) -> np.ndarray:
        """See `Objects`."""
        painted = np.zeros(box.shape, dtype=np.int32)
        near = np.flatnonzero((self._tops < box.row_stop) & (self._bottoms > box.row_start))
        for number in near[::-1].tolist():
            self._paint(painted, box, number)
        painted[marks < 0] = 0
        return painted

    def _paint(self, painted: np.ndarray, box: PixelBox, number: int) -> None:
        """Paint one mask over those that are worse."""
        pixels, record = self._masks.pixels(number), self._masks.records[number]
        own = PixelBox.at(int(record["row"]), int(record["col"]), shape=pixels.shape)
        shared = own.intersect(box)
        if not shared.empty:
            painted[shared.slices_in(box)][pixels[shared.slices_in(own)]] = number + 1
