"""Stored numbers become physical values by a division of float32 only where that gives every bit of the product."""

from __future__ import annotations

import numpy as np
import pytest

from tilewright.tasks.read.resample.pixels import (
    Conversion,
    Pixels,
    every_number,
    look_up,
    quotient_of,
    to_physical,
    value_table,
)

DIVIDED = [(1e-4, 0.0), (1e-4, -0.1), (0.01, 0.0), (0.1, 0.0), (2e-5, -0.1), (1.0, 0.0), (1 / 255, 0.0), (5e-4, 0.0)]
NOT_DIVIDED = [(2.75e-5, -0.2), (1e-4, -0.10005), (3.3e-5, 0.0), (1e40, 0.0), (1e-320, 0.0)]


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
@pytest.mark.parametrize(("scale", "offset"), [*DIVIDED, *NOT_DIVIDED])
def test_every_number_becomes_the_same_bits_however_it_is_made(scale, offset, dtype):
    conversion, stored = Conversion(scale=scale, offset=offset), every_number(np.dtype(dtype).str)
    table = value_table(stored.dtype.str, 3, conversion)
    looked_up = np.empty((1, len(stored)), np.float32)
    look_up(table, stored.view(f"u{stored.dtype.itemsize}")[None], looked_up)
    made = to_physical(Pixels(values=stored[None].copy(), nodata=3, valid=None), conversion)
    assert np.array_equal(made.view(np.uint32), looked_up.view(np.uint32))
    assert np.isnan(made[0, stored == 3]).all()


@pytest.mark.parametrize(("scale", "offset"), DIVIDED)
def test_a_composite_of_numbers_is_written_as_the_product_would_be(scale, offset):
    conversion, stored = Conversion(scale=scale, offset=offset), every_number("<u2").reshape(256, 256)
    assert quotient_of("<u2", conversion) is not None
    out = np.empty(stored.shape, np.float32)
    conversion.write(stored, out)
    assert np.array_equal(out.view(np.uint32), conversion.apply(stored).astype(np.float32).view(np.uint32))


@pytest.mark.parametrize(("scale", "offset"), NOT_DIVIDED)
def test_what_a_division_would_change_is_multiplied(scale, offset):
    assert quotient_of("<u2", Conversion(scale=scale, offset=offset)) is None


def test_numbers_of_four_bytes_are_multiplied():
    assert quotient_of("<u4", Conversion(scale=1e-4, offset=0.0)) is None
