"""Memory that is lent again: never to two at a time, never more kept than allowed, and none after a failure."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tilewright.tasks.cube.spare import SpareArrays


def test_the_next_borrower_of_as_much_or_less_gets_the_same_memory():
    spare = SpareArrays(most_bytes=1e6)
    with spare.lent((4, 100), np.uint16) as first:
        assert first.shape == (4, 100)
        assert first.dtype == np.uint16
    with spare.lent((7, 3), np.float32) as second:
        assert np.shares_memory(first, second)
        with spare.lent((4, 100), np.uint16) as third:
            assert not np.shares_memory(second, third)
    with spare.lent((5, 100), np.uint16) as larger:
        assert larger.size == 500
    spare.release()
    with spare.lent((4, 100), np.uint16) as fourth:
        assert not any(np.shares_memory(fourth, each) for each in (first, larger))


def test_no_more_is_kept_than_allowed_and_nothing_after_a_failure():
    spare = SpareArrays(most_bytes=1000)
    with spare.lent((1001,), np.uint8) as large:
        pass
    with spare.lent((900,), np.uint8) as fitting, spare.lent((900,), np.uint8) as beside:
        assert not np.shares_memory(large, fitting)
    with spare.lent((10,), np.uint8) as kept, spare.lent((10,), np.uint8) as fresh:
        assert np.shares_memory(kept, beside)
        assert not np.shares_memory(fresh, fitting)
    with pytest.raises(ValueError, match="a failure"), spare.lent((20,), np.uint8) as lost:
        raise ValueError("a failure")
    with spare.lent((5,), np.uint8) as next_one:
        assert not np.shares_memory(next_one, lost)


def test_threads_never_share_memory():
    spare = SpareArrays(most_bytes=1e6)

    def use(number: int) -> bool:
        shape = (50 + number % 7, 40)
        with spare.lent(shape, np.uint16) as mine:
            mine[...] = number
            return all(bool((mine == number).all()) for _ in range(20))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(use, range(400)))
