"""Scenes kept in their stored numbers while they are composited: half the memory of floats, and the same composites.

Scale and offset keep the order of numbers, so the median of numbers becomes the median of values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from tilewright.tasks.read.resample.pixels import MISSING, Conversion, blank_where

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


def write_numbers(pixels: Pixels, out: np.ndarray) -> None:
    """Write stored numbers to `out`, (y, x) uint16, `MISSING` where there is none. Raises NotStoredError."""
    values = pixels.values
    if values.dtype.name not in DTYPES:
        raise OtherTypeError(f"numbers of type {values.dtype}")
    marked = pixels.nodata is not None and pixels.nodata == MISSING
    rows = max(1, SLAB_PIXELS // max(values.shape[1], 1))
    for start in range(0, len(values), rows):
        part = slice(start, start + rows)
        stored, target = values[part], out[part]
        if not marked and values.dtype.itemsize > 1 and stored.size and stored.max() == MISSING:
            raise NotStoredError("the largest number is a value")
        target[...] = stored
        if pixels.nodata is not None and not marked:
            blank_where(target, stored == values.dtype.type(pixels.nodata))
        if pixels.valid is not None:
            blank_where(target, ~pixels.valid[part])
