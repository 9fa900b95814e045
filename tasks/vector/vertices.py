"""The vertices of a whole class map: how many lie between two places of a lattice row or column.

Two files, by rows and by columns, have a bit for each lattice corner, in words of 32. Beside each word stands the count
of bits before it on its line, so that a count takes two looks, at any place, whatever the size of the map.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

BITS = 32
"""Bits of a word."""

LOOKS = 1 << 16
"""Counts that are taken at a time: pages of the files that were looked at are let go of after them."""


class Vertices:
    """Takes the rows of a lattice in order, from absolute (row, col) on, `width` corners each, then counts.

    The files lie in `folder` and are gone with it, or after `close`.
    """

    def __init__(self, folder: Path, *, row: int, col: int, width: int) -> None:
        self._row, self._col, self._width = row, col, width
        self._n_words = width // BITS + 1
        self._open = ExitStack()
        self._by_row = self._open.enter_context(tempfile.TemporaryFile(dir=folder))  # noqa: SIM115 -- closed by the stack
        self._by_col = self._open.enter_context(tempfile.TemporaryFile(dir=folder))  # noqa: SIM115
        self._waiting = np.zeros((0, width), dtype=bool)
        self._before = np.zeros(width, dtype=np.uint32)
        self._n_rows = 0

    def close(self) -> None:
        """Remove the files."""
        self._open.close()

    def add(self, is_vertex: np.ndarray) -> None:
        """The next rows (y, x) of the lattice."""
        self._n_rows += len(is_vertex)
        padded = np.pad(is_vertex, ((0, 0), (0, self._n_words * BITS - self._width)))
        words = np.packbits(padded, axis=1, bitorder="little").view("<u4")
        before = np.zeros(words.shape, dtype=np.uint32)
        np.cumsum(np.bitwise_count(words[:, :-1]), axis=1, dtype=np.uint32, out=before[:, 1:])
        self._by_row.write(np.stack([words, before], axis=-1).tobytes())
        waiting = np.concatenate([self._waiting, is_vertex])
        whole = len(waiting) // BITS * BITS
        self._add_bands(waiting[:whole])
        self._waiting = waiting[whole:]

    def end(self) -> None:
        """After the last row."""
        self._add_bands(np.pad(self._waiting, ((0, BITS - len(self._waiting)), (0, 0))))
        self._by_row.flush()
        self._by_col.flush()

    def _add_bands(self, rows: np.ndarray) -> None:
        """Rows in bands of a word's height, one word per column."""
        for start in range(0, len(rows), BITS):
            packed = np.packbits(rows[start : start + BITS], axis=0, bitorder="little")
            words = np.ascontiguousarray(packed.T).view("<u4")[:, 0]
            self._by_col.write(np.stack([words, self._before], axis=-1).tobytes())
            self._before = self._before + np.bitwise_count(words)

    def in_rows(self, row: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
        """The vertices of each lattice row from column `first` to `last`, both included."""
        shape = (self._n_rows, self._n_words, 2)
        line, first, last = row - self._row, first - self._col, last - self._col + 1
        return _counts(self._by_row, shape, line, first, last, is_column=False)

    def in_cols(self, col: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
        """The vertices of each lattice column from row `first` to `last`, both included."""
        shape = (self._n_rows // BITS + 1, self._width, 2)
        line, first, last = col - self._col, first - self._row, last - self._row + 1
        return _counts(self._by_col, shape, line, first, last, is_column=True)


def _counts(
    file: object, shape: tuple[int, int, int], line: np.ndarray, first: np.ndarray, end: np.ndarray, *, is_column: bool
) -> np.ndarray:
    """The bits of each line in [first, end)."""
    found = np.empty(len(line), dtype=np.int64)
    for start in range(0, len(line), LOOKS):
        words = np.memmap(file, dtype="<u4", mode="r", shape=shape)  # type: ignore[call-overload]
        some = slice(start, start + LOOKS)
        upto = [_before(words, line[some], place[some], is_column=is_column) for place in (first, end)]
        found[some] = upto[1] - upto[0]
    return found


def _before(words: np.ndarray, line: np.ndarray, place: np.ndarray, *, is_column: bool) -> np.ndarray:
    """The bits of each line before a place."""
    word = place // BITS
    bits, before = (words[word, line] if is_column else words[line, word]).T
    mask = (np.uint64(1) << (place % BITS).astype(np.uint64)) - np.uint64(1)
    return before.astype(np.int64) + np.bitwise_count(bits & mask.astype(np.uint32))
