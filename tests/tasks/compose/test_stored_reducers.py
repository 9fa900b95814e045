"""Composites of stored numbers: exactly those of their physical values, however many passes saw a pixel."""

from __future__ import annotations

import numpy as np
import pytest

from tilewright.tasks.compose.composite import count_passes, reduce_passes
from tilewright.tasks.compose.reducers import NETWORK_LIMIT
from tilewright.tasks.compose.stored_reducers import count_numbers, reduce_numbers, takes_numbers
from tilewright.tasks.read.resample.pixels import MISSING, Conversion, blank_where, put_where, value_table

STATES = [Conversion(scale=scale, offset=offset) for scale, offset in ((1e-4, 0.0), (1e-4, -0.1), (0.0275, -0.2))]


def numbers_of(n_passes, *, missing, seed, top=65535):
    """(pass, y, x) uint16 with a share of missing ones, whole rows without any pass and columns with all of them."""
    random = np.random.default_rng(seed)
    numbers = random.integers(0, top, (n_passes, 33, 47), dtype=np.uint16)
    numbers[random.random(numbers.shape) < missing] = MISSING
    numbers[:, :2] = MISSING
    numbers[:, 5:, :3] = random.integers(0, 9, (n_passes, 28, 3))
    return numbers


@pytest.mark.parametrize("missing", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("n_passes", [2, 3, 4, 5, 7, 12, NETWORK_LIMIT])
@pytest.mark.parametrize("reducer", ["median", "min", "max"])
def test_the_composite_of_numbers_is_that_of_their_values(reducer, n_passes, missing):
    for seed, conversion in enumerate(STATES):
        numbers = numbers_of(n_passes, missing=missing, seed=seed)
        table = value_table(np.dtype(np.uint16).str, None, conversion)
        values = np.where(numbers == MISSING, np.float32(np.nan), table[numbers])
        counts, out = count_numbers(numbers), np.empty(numbers.shape[1:], dtype=np.float32)
        assert np.array_equal(counts, count_passes(values[None]))
        expected = reduce_passes(values[None], reducer)[0]
        reduce_numbers(numbers.copy(), counts, reducer, conversion, out=out)
        assert np.array_equal(out, expected, equal_nan=True), (reducer, n_passes, conversion)


def test_zero_and_the_largest_kept_number_are_values():
    numbers = np.array([[[0, 0, 65534]], [[65534, MISSING, MISSING]], [[MISSING, MISSING, 65534]]], dtype=np.uint16)
    out = np.empty((1, 3), dtype=np.float32)
    reduce_numbers(numbers, count_numbers(numbers), "median", Conversion(scale=1.0, offset=0.0), out=out)
    assert out.tolist() == [[32767.0, 0.0, 65534.0]]


@pytest.mark.parametrize(
    ("reducer", "n_passes", "takes"),
    [("median", 2, True), ("median", NETWORK_LIMIT + 1, False), ("max", 3, True), ("mean", 3, False),
     ("percentile:25", 3, False), ("first", 3, False), ("medoid", 3, False)],
)  # fmt: skip
def test_only_reducers_that_go_by_order_take_numbers(reducer, n_passes, takes):
    assert takes_numbers(reducer, n_passes) is takes


@pytest.mark.parametrize("scale", [1e-4, 2e-5, 0.0275, 3.1e-5, 1.0, 0.1, 7.0])
@pytest.mark.parametrize("offset", [0.0, -0.1, -0.2, 0.5, 1000.0, -1e-9])
def test_numbers_are_converted_to_the_bits_of_the_table(scale, offset):
    conversion = Conversion(scale=scale, offset=offset)
    numbers = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    out = np.empty((300, 256), dtype=np.float32)[20:276]
    conversion.write(numbers, out)
    assert out.tobytes() == value_table(np.dtype(np.uint16).str, None, conversion)[numbers].tobytes()


def test_numbers_are_put_and_made_missing_where_it_is_asked_and_nowhere_else():
    random = np.random.default_rng(0)
    for dtype, missing in ((np.uint16, MISSING), (np.float32, np.float32(np.nan))):
        target, source = (random.integers(0, 65536, (3, 41, 29)).astype(dtype) for _ in range(2))
        where = random.random((41, 29)) < 0.3
        put, blank = np.zeros((3, 50, 40), dtype=dtype)[:, 2:43, 3:32], target.copy()
        put[...] = target
        put_where(put, source, where)
        blank_where(blank, where)
        assert np.array_equal(put, np.where(where, source, target))
        assert np.array_equal(blank, np.where(where, missing, target), equal_nan=True)
