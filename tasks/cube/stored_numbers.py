"""Scenes kept in their stored numbers while they are composited: half the memory of floats, and the same composites.

Scale and offset keep the order of numbers, so the median of numbers becomes the median of values.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from tilewright.tasks.read.resample.pixels import MISSING, Conversion, bits_where

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.catalogs.scene import Scene
    from tilewright.tasks.cube.scene_band import BandRequest
    from tilewright.tasks.read.resample.pixels import Pixels


DTYPES: Final = frozenset({"uint8", "uint16"})

SLAB_PIXELS: Final = 1 << 16
"""Pixels of a slab, whose numbers and masks stay in the CPU's cache."""


class NotStoredError(ValueError):
    """A file whose numbers cannot be kept: they are of another type than stated, or `MISSING` is one of them."""


class OtherTypeError(NotStoredError):
    """A file whose numbers are of another type than its item states: none of them can be kept."""


def common_conversions(scenes: Sequence[Scene], bands: Sequence[BandRequest]) -> tuple[Conversion, ...] | None:
    """The conversion of each band, if all scenes have all bands, in one state and in unsigned numbers; else None."""
    found = []
    for band in bands:
        assets = [scene.asset(band.band) for scene in scenes]
        states = {
            None if each is None else (each.dtype in DTYPES, each.unit, each.scale, each.offset) for each in assets
        }
        if len(states) != 1 or None in states:
            return None
        ((plain, unit, scale, offset),) = states  # type: ignore[misc]
        conversion = Conversion(scale=scale, offset=offset)
        # The sum of two, of which a median is the half, is to fit too.
        twice = Conversion(scale=2 * scale, offset=2 * offset)
        if not (plain and unit == band.unit and scale > 0 and twice.fits(np.dtype(np.uint16))):
            return None
        found.append(conversion)
    return tuple(found)


def in_place(pixels: Pixels, out: np.ndarray) -> Pixels:
    """The same pixels with their numbers in `out`, (y, x) uint16; nothing is copied where they were read into it.

    Raises NotStoredError.
    """
    values = pixels.values
    if values is not out:
        if values.dtype.name not in DTYPES:
            raise OtherTypeError(f"numbers of type {values.dtype}")
        out[...] = values
    return replace(pixels, values=out)


def settle_numbers(bands: Sequence[Pixels], usable: np.ndarray | None = None) -> np.ndarray:
    """Make the numbers of one scene's bands, (y, x) uint16 each, `MISSING` where one of them has none; returns where
    all have one, (y, x) bool. What is not `usable` (y, x) is missing too.

    Raises NotStoredError where the number that stands for a missing one is a value.
    """
    shape = bands[0].values.shape
    seen = np.empty(shape, dtype=bool)
    rows = max(1, SLAB_PIXELS // max(shape[1], 1))
    for start in range(0, shape[0], rows):
        part = slice(start, start + rows)
        hidden = np.zeros(seen[part].shape, dtype=bool) if usable is None else ~usable[part]
        _mark_missing(bands, part, hidden)
        change = bits_where(hidden)
        for band in bands:
            target = band.values[part]
            target |= change
        np.logical_not(hidden, out=seen[part])
    return seen


def _mark_missing(bands: Sequence[Pixels], part: slice, hidden: np.ndarray) -> None:
    """Set `hidden` (y, x) where one of the bands has no number in these rows. Raises NotStoredError."""
    # Of the most usual marker the least number of all bands tells, which saves a comparison for each of them.
    zeros = [band.values[part] for band in bands if band.nodata == 0]
    if zeros:
        hidden |= _extreme(np.minimum, zeros) == 0
    for band in bands:
        if band.nodata not in (None, 0):
            hidden |= band.values[part] == np.uint16(band.nodata)
        if band.valid is not None:
            hidden |= ~band.valid[part]
    unmarked = [band.values[part] for band in bands if band.nodata != MISSING]
    if unmarked and hidden.size and _extreme(np.maximum, unmarked).max() == MISSING:
        raise NotStoredError("the largest number is a value")


def _extreme(function: np.ufunc, arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The least or the largest number of arrays of one shape, pixel by pixel."""
    found = arrays[0]
    for number, array in enumerate(arrays[1:]):
        found = function(found, array, out=found if number else None)
    return found
