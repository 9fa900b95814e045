"""The masks of a whole product: their bits in a file, what is left after suppression, and how much two overlap."""

from __future__ import annotations

import tempfile
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import shapely

from tilewright.tasks.boxes.suppress import best_first, dropped
from tilewright.tasks.instances.mask_parts import MASK, n_bytes

if TYPE_CHECKING:
    from pathlib import Path


class MaskFile:
    """Masks that were added, best first after `keep_best`; `records` (MASK) of each. Their bits lie in a file of a
    folder, which is gone with it, or after `close`.
    """

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 -- closed by `close`
        self._records = [np.zeros(0, dtype=MASK)]
        self.records = self._records[0]
        self._at = np.zeros(0, dtype=np.int64)
        self._bits = np.zeros(0, dtype=np.uint8)

    def close(self) -> None:
        """Remove the file."""
        self._bits = np.zeros(0, dtype=np.uint8)
        self._file.close()

    def add(self, records: np.ndarray, bits: bytes) -> None:
        """Add masks (MASK) and the bits of all of them."""
        self._records.append(records)
        self._file.write(bits)

    def keep_best(self, *, most: float, per_class: bool) -> None:
        """After the last mask: keep each that overlaps no better one that is kept by more than `most`, best first.

        With `per_class` only one of its own class counts. Whole masks are compared, also where nothing was seen.
        """
        records = np.concatenate(self._records)
        self._records = []
        sizes = n_bytes(records)
        order = best_first(records["box"])
        self.records, self._at = records[order], (np.cumsum(sizes) - sizes)[order]
        self._file.flush()
        if len(records):
            self._bits = np.memmap(self._file, dtype=np.uint8, mode="r")
        if most >= 1:
            return
        left, top = self.records["col"], self.records["row"]
        around = shapely.box(left, top, left + self.records["width"], top + self.records["height"])
        kept = ~dropped(
            self.records["box"]["value"], around, partial(self._overlap, most), most=most, per_class=per_class
        )
        self.records, self._at = self.records[kept], self._at[kept]

    def pixels(self, number: int) -> np.ndarray:
        """A mask (y, x), bool, from its upper left pixel on."""
        shape = int(self.records["height"][number]), int(self.records["width"][number])
        start, size = int(self._at[number]), shape[0] * shape[1]
        bits = np.unpackbits(self._bits[start : start + -(-size // 8)], count=size)
        return bits.reshape(shape).view(bool)

    def _overlap(self, most: float, better: np.ndarray, worse: np.ndarray) -> np.ndarray:
        """Intersection over union of pairs of masks; of those whose sizes and boxes do not let it exceed `most`, what
        they would let it be at most.
        """
        records = self.records
        tops = np.maximum(records["row"][better], records["row"][worse])
        lefts = np.maximum(records["col"][better], records["col"][worse])
        bottoms, rights = (
            np.minimum(*(records[at][each] + records[size][each].astype(np.int64) for each in (better, worse)))
            for at, size in (("row", "height"), ("col", "width"))
        )
        sizes = [records["n_pixels"][each].astype(np.float64) for each in (better, worse)]
        shared = np.maximum(bottoms - tops, 0) * np.maximum(rights - lefts, 0)
        shared = np.minimum(np.minimum(*sizes), shared)
        last, one = -1, np.zeros((0, 0), dtype=bool)
        for pair in np.flatnonzero(shared / (sum(sizes) - shared) > most).tolist():
            first, second = int(better[pair]), int(worse[pair])
            if first != last:
                last, one = first, self.pixels(first)
            other = self.pixels(second)
            box = int(tops[pair]), int(bottoms[pair]), int(lefts[pair]), int(rights[pair])
            shared[pair] = np.count_nonzero(self._part(first, one, box) & self._part(second, other, box))
        return np.asarray(shared / (sum(sizes) - shared))

    def _part(self, number: int, pixels: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
        row, col = int(self.records["row"][number]), int(self.records["col"][number])
        top, bottom, left, right = box
        return pixels[top - row : bottom - row, left - col : right - col]
