"""Stored pixels as a file gave them, and how they become physical values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

TABLE_BITS = 16
"""Integers of up to so many bits are converted by a table, which is faster than arithmetic and as exact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """Stored values (y, x) in the file's dtype.

    `valid` is (y, x) bool, or None where `nodata` alone marks what is missing.
    """

    values: np.ndarray
    nodata: float | None
    valid: np.ndarray | None

    @property
    def missing(self) -> np.ndarray:
        """True where there is no value, (y, x) bool."""
        missing = np.isnan(self.values) if self.values.dtype.kind == "f" else np.zeros(self.values.shape, dtype=bool)
        if self.nodata is not None and not np.isnan(self.nodata):
            missing |= self.values == self.nodata
        if self.valid is not None:
            missing |= ~self.valid
        return missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """How stored numbers become physical ones: stored * scale + offset."""

    scale: float
    offset: float

    def apply(self, stored: np.ndarray) -> np.ndarray:
        """Physical values, float64, of the same shape.

        Computed as (stored + offset/scale) * scale where that quotient is whole: DN 2000 with an offset of -1000 DN and
        DN 1000 without one are then the same number to the last bit.
        """
        wide = stored.astype(np.float64)
        if not self.offset:
            return wide * self.scale
        shift = self.offset / self.scale
        if abs(shift - round(shift)) < 1e-6:
            return (wide + round(shift)) * self.scale
        return wide * self.scale + self.offset


def to_physical(pixels: Pixels, conversion: Conversion) -> np.ndarray:
    """Physical values (y, x) float32, NaN where there is none."""
    values = pixels.values
    if values.dtype.kind in "iu" and values.dtype.itemsize * 8 <= TABLE_BITS:
        table = _table(values.dtype.str, pixels.nodata, conversion)
        physical = table.take(values.view(f"u{values.dtype.itemsize}"))
        if pixels.valid is not None:
            physical[~pixels.valid] = np.nan
        return physical
    physical = conversion.apply(values).astype(np.float32)
    physical[pixels.missing] = np.nan
    return physical


@lru_cache(maxsize=64)
def _table(dtype: str, nodata: float | None, conversion: Conversion) -> np.ndarray:
    """Physical value of every stored number, float32, indexed by its bits read as unsigned."""
    bits = np.arange(2 ** (np.dtype(dtype).itemsize * 8), dtype=f"u{np.dtype(dtype).itemsize}")
    stored = bits.view(np.dtype(dtype))
    table = conversion.apply(stored).astype(np.float32)
    if nodata is not None:
        table[stored == nodata] = np.nan
    return table
