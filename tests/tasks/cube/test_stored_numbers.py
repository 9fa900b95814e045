"""Stored numbers of a scene's bands: what is missing in one is missing in all, and no value is lost for a marker."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tilewright.tasks.cube.stored_numbers import NotStoredError, OtherTypeError, in_place, settle_numbers
from tilewright.tasks.read.resample.pixels import MISSING, Pixels

SHAPE = 300, 257


def numbers(seed, *, marker, share=0.2, top=65535, dtype=np.uint16):
    random = np.random.default_rng(seed)
    values = random.integers(0, top, SHAPE).astype(dtype)
    if marker is not None:
        values[random.random(SHAPE) < share] = marker
    return values


def expected(bands, usable):
    """The same, pixel by pixel, as the sentence says it."""
    seen = np.ones(SHAPE, bool) if usable is None else usable.copy()
    for band in bands:
        seen &= ~band.missing
    return seen


@pytest.mark.parametrize("usable", [False, True])
@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize(
    "markers", [(0,), (0, 0, 0), (7,), (0, 9, None), (None, None), (65535, 65535), (0, 65535), (65535, None, 3)]
)
def test_what_is_missing_in_one_band_is_missing_in_all(markers, mask, usable):
    seen_by_cloud_mask = np.random.default_rng(9).random(SHAPE) < 0.7 if usable else None
    bands = []
    for seed, marker in enumerate(markers):
        valid = np.random.default_rng(50 + seed).random(SHAPE) < 0.9 if mask and seed != 1 else None
        bands.append(Pixels(values=numbers(seed, marker=marker), nodata=marker, valid=valid))
    wanted = expected(bands, seen_by_cloud_mask)
    before = [band.values.copy() for band in bands]
    seen = settle_numbers(bands, seen_by_cloud_mask)
    assert np.array_equal(seen, wanted)
    assert 0 < np.count_nonzero(seen) < seen.size or (markers, mask, usable) == ((None, None), False, False)
    for band, old in zip(bands, before, strict=True):
        assert np.array_equal(band.values, np.where(wanted, old, MISSING))


@pytest.mark.parametrize("markers", [(0,), (None,), (0, 0), (65535, 0), (12, None)])
@pytest.mark.parametrize("place", [(0, 0), (299, 256), (150, 3)])
def test_the_largest_number_as_a_value_is_not_taken_for_a_missing_one(markers, place):
    bands = [Pixels(values=numbers(4, marker=None), nodata=marker, valid=None) for marker in markers]
    last = next(band for band in reversed(bands) if band.nodata != MISSING)
    last.values[place] = MISSING
    with pytest.raises(NotStoredError):
        settle_numbers(bands)


def test_numbers_that_were_read_into_their_place_are_not_copied_and_others_are():
    out = np.zeros(SHAPE, np.uint16)
    there = Pixels(values=out, nodata=0, valid=None)
    assert in_place(there, out).values is out
    small = Pixels(values=numbers(1, marker=0, top=255, dtype=np.uint8), nodata=0, valid=None)
    placed = in_place(small, out)
    assert placed.values is out
    assert np.array_equal(out, small.values)
    with pytest.raises(OtherTypeError):
        in_place(replace(small, values=small.values.astype(np.float32)), out)


def test_nothing_is_seen_of_no_pixels():
    empty = Pixels(values=np.empty((0, 5), np.uint16), nodata=None, valid=None)
    assert settle_numbers([empty]).shape == (0, 5)
