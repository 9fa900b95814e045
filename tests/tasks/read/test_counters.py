"""Needed blocks of files count once, in one number per row of a file."""

from __future__ import annotations

import pickle

from hypothesis import given
from hypothesis import strategies as st

from tilewright.tasks.read.counters import ReadStats
from tilewright.tasks.read.resample.source_window import FileWindow

BLOCK = (4, 8)
FILES = (("a.tif", None, 1), ("a.tif", None, 2), ("a.tif", 0, 1))

windows = st.tuples(
    st.integers(0, 1), st.integers(0, 2), st.integers(0, 40), st.integers(1, 30), st.integers(0, 90), st.integers(1, 60)
)


@given(st.lists(windows, max_size=12))
def test_each_block_counts_once_whoever_needed_it(asked: list[tuple[int, int, int, int, int, int]]) -> None:
    """`asked`: (which of two counters, file, first row, rows, first column, columns)."""
    counters, needed = (ReadStats(), ReadStats()), set()
    for which, file, row, n_rows, col, n_cols in asked:
        window = FileWindow(row_start=row, row_stop=row + n_rows, col_start=col, col_stop=col + n_cols)
        counters[which].add(file=FILES[file], window=window, block=BLOCK, itemsize=2, n_decoded=1, stored_bytes=5)
        needed |= {(file, *place) for place in window.blocks(BLOCK)}
    whole = pickle.loads(pickle.dumps(ReadStats()))  # noqa: S301 -- our own
    for stats in counters:
        whole.absorb(pickle.loads(pickle.dumps(stats)))  # noqa: S301 -- our own
    assert whole.needed_pixels == len(needed) * BLOCK[0] * BLOCK[1]
    assert whole.decoded_pixels == len(asked) * BLOCK[0] * BLOCK[1]
    assert (whole.stored_bytes, whole.reads) == (5 * len(asked), len(asked))


def test_a_file_costs_a_number_for_each_row_of_its_blocks() -> None:
    stats = ReadStats()
    for col in range(0, 800, 8):
        window = FileWindow(row_start=0, row_stop=400, col_start=col, col_stop=col + 8)
        stats.add(file=FILES[0], window=window, block=BLOCK, itemsize=2, n_decoded=0)
    assert stats.needed_pixels == 400 * 800
    (seen,) = stats._seen.values()
    assert len(seen.rows) == 100
