"""Stored pixels of a file, and their conversion to physical values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

TABLE_BITS = 16
"""Integers of up to so many bits are converted with a lookup table, which is faster than arithmetic and as exact."""

LOOKUP_BYTES = 1 << 19
"""Bytes of indices looked up at a time, to stay in the CPU's cache."""


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
        marks = [] if self.valid is None else [~self.valid]
        if self.nodata is not None and not np.isnan(self.nodata):
            marks.append(self.values == self.values.dtype.type(self.nodata))
        if self.values.dtype.kind == "f":
            marks.append(np.isnan(self.values))
        if not marks:
            return np.zeros(self.values.shape, dtype=bool)
        missing: np.ndarray = marks[0] if len(marks) == 1 else np.logical_or.reduce(marks)
        return missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """The conversion of stored numbers to physical ones: stored * scale + offset."""

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


def to_physical(pixels: Pixels, conversion: Conversion, *, out: np.ndarray | None = None) -> np.ndarray:
    """Physical values (y, x) float32, NaN = missing; written to `out` if given, which is then returned."""
    values = pixels.values
    physical = np.empty(values.shape, dtype=np.float32) if out is None else out
    if values.dtype.kind in "iu" and values.dtype.itemsize * 8 <= TABLE_BITS:
        table = _table(values.dtype.str, pixels.nodata, conversion)
        _look_up(table, values.view(f"u{values.dtype.itemsize}"), physical)
        if pixels.valid is not None:
            physical[~pixels.valid] = np.nan
        return physical
    physical[...] = conversion.apply(values)
    physical[pixels.missing] = np.nan
    return physical


def _look_up(table: np.ndarray, indices: np.ndarray, found: np.ndarray) -> None:
    """Write the table's values at indices (y, x) to `found`, some rows at a time: numpy widens indices to 8 bytes."""
    rows = max(1, LOOKUP_BYTES // max(8 * indices.shape[1], 1))
    for start in range(0, indices.shape[0], rows):
        part = slice(start, start + rows)
        # mode "clip" saves numpy a buffer; no index is outside a table of every number.
        np.take(table, indices[part], out=found[part], mode="clip")


@lru_cache(maxsize=64)
def _table(dtype: str, nodata: float | None, conversion: Conversion) -> np.ndarray:
    """Physical value of every stored number, float32, indexed by its bits read as unsigned."""
    bits = np.arange(2 ** (np.dtype(dtype).itemsize * 8), dtype=f"u{np.dtype(dtype).itemsize}")
    stored = bits.view(np.dtype(dtype))
    table = conversion.apply(stored).astype(np.float32)
    if nodata is not None:
        table[stored == nodata] = np.nan
    return table


def to_db(power: np.ndarray) -> np.ndarray:
    """10 * log10(power), float32 of the same shape; NaN where power is not above 0 or missing."""
    positive = np.where(power > 0, power, np.float32(np.nan))
    decibels: np.ndarray = (10.0 * np.log10(positive, dtype=np.float64)).astype(np.float32)
    return decibels


def to_linear(decibels: np.ndarray) -> np.ndarray:
    """10 ** (dB / 10), float32 of the same shape, NaN where missing."""
    power: np.ndarray = (10.0 ** (decibels.astype(np.float64) / 10.0)).astype(np.float32)
    return power


def convert_unit(values: np.ndarray, *, source: str, target: str) -> np.ndarray:
    """Values in the unit `target`: linear and db are converted into each other, other units are returned unchanged.

    Raises ValueError if only one of the units is backscatter.
    """
    pair = source, target
    if source == target:
        return values
    if pair == ("linear", "db"):
        return to_db(values)
    if pair == ("db", "linear"):
        return to_linear(values)
    if {"linear", "db"} & set(pair):
        raise ValueError(f"values in {source!r} cannot be given in {target!r}: only linear and db turn into each other")
    return values
