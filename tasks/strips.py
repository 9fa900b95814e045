"""Rows of a stored layer in the strips its chunks are cut in, so that each chunk is read and unpacked once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.grid import PixelBox

if TYPE_CHECKING:
    from tasks.store import ProductStore


@dataclass(slots=True, kw_only=True)
class Strips:
    """Rows of one layer inside ``box`` (absolute pixels), asked for from top to bottom; one strip is held."""

    store: ProductStore
    name: str
    box: PixelBox
    _start: int = 0
    _held: np.ndarray | None = field(default=None)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows ``start`` to ``stop`` of the box, (stop - start, width) in the stored dtype.

        Raises StorageError where storage refuses, and whatever the codecs raise where stored bytes are broken.
        """
        pieces: list[np.ndarray] = []
        while start < stop:
            strip, first = self._strip(start)
            end = min(stop, first + strip.shape[0])
            pieces.append(strip[start - first : end - first])
            start = end
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _strip(self, row: int) -> tuple[np.ndarray, int]:
        """The strip that holds a row of the box, cut to the box, and its first row there."""
        if self._held is None or not self._start <= row < self._start + self._held.shape[0]:
            layer: Any = self.store.layers[self.name]
            height, offset = layer.chunks[0], self.box.row_start - self.store.box.row_start
            first = max((row + offset) // height * height - offset, 0)
            stop = min(((row + offset) // height + 1) * height - offset, self.box.shape[0])
            self._held = None
            self._held = self.store.read_box(
                self.name,
                PixelBox(
                    row_start=self.box.row_start + first,
                    row_stop=self.box.row_start + stop,
                    col_start=self.box.col_start,
                    col_stop=self.box.col_stop,
                ),
            )
            self._start = first
        return self._held, self._start
