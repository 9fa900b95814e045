"""Stored pixels of a file, the signs by which some are missing, and their conversion to physical values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

TABLE_BITS = 16
"""Integers of up to so many bits are converted with a lookup table, which is faster than arithmetic and as exact."""

LOOKUP_BYTES = 1 << 19
"""Bytes of indices looked up at a time, to stay in the CPU's cache."""


MISSING = np.uint16(65535)
"""Stands for a missing number among stored ones that are kept; it is the largest, so that it is last in order."""

HUGE = 3.3e38
"""A marker of at least this size in a file of floats stands for every number beyond it with its sign: the least
float32 is written in many roundings (-3.4e38, -3.40282e+38), and no measurement is that large."""

EXACT_SHIFT = 1 << 23
"""Offsets in numbers up to which their sum with a number of two bytes has no rounding in float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingSigns:
    """Everything that says of a band's stored pixels that they are missing: any one of the signs is enough.

    `markers` are numbers that `dtype` holds, the first is written where there is no pixel; for floats NaN and infinity
    are missing in any case. `mask`: the file has a mask of its own; `alpha`: its band of transparency, from 1.
    """

    dtype: np.dtype
    markers: tuple[float, ...] = ()
    mask: bool = False
    alpha: int | None = None

    @property
    def marker(self) -> float | None:
        """The number that is written where there is no pixel; None for integers without a marker."""
        if self.markers:
            return self.markers[0]
        return float("nan") if self.dtype.kind == "f" else None

    @property
    def plain(self) -> bool:
        """True if `marker`, and in floats NaN and infinity, say everything."""
        huge = self.dtype.kind == "f" and any(abs(number) >= HUGE for number in self.markers)
        return len(self.markers) < 2 and not (self.mask or self.alpha or huge)

    def marked(self, values: np.ndarray) -> np.ndarray:
        """True where a value is a marker, NaN or infinite, (y, x)."""
        floats = self.dtype.kind == "f"
        missing = ~np.isfinite(values) if floats else np.zeros(values.shape, dtype=bool)
        for number in self.markers:
            if floats and abs(number) >= HUGE:
                missing |= values <= -HUGE if number < 0 else values >= HUGE
            else:
                missing |= values == self.dtype.type(number)
        return missing


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBand:
    """A band, counted from 1, of an open file or overview, with the signs of its missing pixels."""

    dataset: Any
    index: int
    signs: MissingSigns

    def read(self, window: Any) -> tuple[np.ndarray, np.ndarray]:
        """(values in the file's dtype, True where missing) of a window of the file, (y, x) each."""
        values = self.dataset.read(self.index, window=window)
        missing = self.signs.marked(values)
        if self.signs.mask:
            missing |= self.dataset.read_masks(self.index, window=window) == 0
        if self.signs.alpha is not None:
            missing |= self.dataset.read(self.signs.alpha, window=window) == 0
        return values, missing


def held_marker(number: float | None, dtype: np.dtype) -> float | None:
    """The marker as the type holds it, None if it does not; NaN and infinity are none, floats have them in any case."""
    if number is None or not math.isfinite(number) or dtype.kind not in "iuf":
        return None
    if dtype.kind == "f":
        largest = float(np.finfo(dtype).max)
        # Texts round the largest float32 up by a few units of their last digit.
        if largest < abs(number) <= largest * (1 + 1e-6):
            return math.copysign(largest, number)
        return float(dtype.type(number)) if abs(number) <= largest else None
    limits = np.iinfo(dtype)
    return number if limits.min <= number <= limits.max and number == int(number) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """Stored values (y, x) in the file's dtype.

    `valid` is (y, x) bool, or None where `nodata` alone marks what is missing; in floats NaN and infinity always do.
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
            marks.append(~np.isfinite(self.values))
        if not marks:
            return np.zeros(self.values.shape, dtype=bool)
        missing: np.ndarray = marks[0] if len(marks) == 1 else np.logical_or.reduce(marks)
        return missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """The conversion of stored numbers to physical ones: stored * scale + offset."""

    scale: float
    offset: float

    def fits(self, dtype: np.dtype) -> bool:
        """True if no finite stored number of the type becomes infinite in float32."""
        largest = float(np.finfo(dtype).max) if dtype.kind == "f" else float(np.iinfo(dtype).max)
        return largest * abs(self.scale) + abs(self.offset) <= float(np.finfo(np.float32).max)

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

    def write(self, stored: np.ndarray, out: np.ndarray) -> None:
        """Write `apply` of stored integers to `out`, float32: the numbers of `value_table` where all of them fit."""
        shift = round(self.offset / self.scale) if self.offset else 0
        divisor = quotient_of(stored.dtype.str, self)
        if divisor is not None:
            wide = np.add(stored, np.float32(shift), out=out) if shift else stored
            np.divide(wide, divisor, out=out, dtype=np.float32)
            return
        if self.offset and abs(self.offset / self.scale - shift) >= 1e-6:
            np.add(stored * np.float64(self.scale), self.offset, out=out, dtype=np.float64, casting="same_kind")
            return
        wide = np.add(stored, shift, dtype=np.float64) if shift else stored
        np.multiply(wide, self.scale, out=out, dtype=np.float64, casting="same_kind")


@lru_cache(maxsize=64)
def quotient_of(dtype: str, conversion: Conversion) -> np.float32 | None:
    """The float32 by which each number of a type, with the offset in numbers, is to be divided to become the value that
    `Conversion.apply` gives it, in float32 alone; None where that gives another bit for one of them.

    A division of float32 is exact but for one rounding, as is what `apply` makes; it needs a third of the time.
    """
    if not dtype.endswith(("u1", "u2", "i1", "i2")) or not conversion.scale or not conversion.fits(np.dtype(dtype)):
        return None
    numbers, shift = every_number(dtype), round(conversion.offset / conversion.scale)
    divisor = np.float32(1 / conversion.scale)
    if not np.isfinite(divisor) or not divisor or abs(shift) > EXACT_SHIFT:
        return None
    quotients = (numbers + np.float32(shift)) / divisor
    return divisor if np.array_equal(quotients, conversion.apply(numbers).astype(np.float32)) else None


def every_number(dtype: str) -> np.ndarray:
    """Every number of an integer type of one or two bytes, in the order of its bits read as unsigned."""
    size = np.dtype(dtype).itemsize
    return np.arange(2 ** (8 * size), dtype=f"u{size}").view(np.dtype(dtype))


def to_physical(pixels: Pixels, conversion: Conversion, *, out: np.ndarray | None = None) -> np.ndarray:
    """Physical values (y, x) float32, NaN = missing; written to `out` if given, which is then returned.

    A value beyond the largest float32 is missing.
    """
    values = pixels.values
    physical = np.empty(values.shape, dtype=np.float32) if out is None else out
    if quotient_of(values.dtype.str, conversion) is not None:
        conversion.write(values, physical)
        missing = pixels.missing
        if missing.any():
            np.copyto(physical, np.float32(np.nan), where=missing)
        return physical
    if values.dtype.kind in "iu" and values.dtype.itemsize * 8 <= TABLE_BITS:
        table = value_table(values.dtype.str, pixels.nodata, conversion)
        look_up(table, values.view(f"u{values.dtype.itemsize}"), physical)
        if pixels.valid is not None:
            physical[~pixels.valid] = np.nan
        return physical
    with np.errstate(over="ignore"):
        physical[...] = conversion.apply(values)
    physical[pixels.missing] = np.nan
    if not conversion.fits(values.dtype):
        physical[np.isinf(physical)] = np.nan
    return physical


def look_up(table: np.ndarray, indices: np.ndarray, found: np.ndarray) -> None:
    """Write the table's values at indices (y, x) to `found`, some rows at a time: numpy widens indices to 8 bytes."""
    rows = max(1, LOOKUP_BYTES // max(8 * indices.shape[1], 1))
    for start in range(0, indices.shape[0], rows):
        part = slice(start, start + rows)
        # mode "clip" saves numpy a buffer; no index is outside a table of every number.
        np.take(table, indices[part], out=found[part], mode="clip")


def bits_where(where: np.ndarray) -> np.ndarray:
    """65535, all bits, where (y, x) bool holds and 0 elsewhere, uint16: arithmetic on bits is far faster in numpy than
    copies under a mask.
    """
    bits = where.astype(np.uint16)
    return np.negative(bits, out=bits)


def put_where(target: np.ndarray, source: np.ndarray, where: np.ndarray) -> None:
    """Copy (..., y, x) where (y, x) bool holds, stored numbers or floats."""
    if target.dtype != np.uint16:
        np.copyto(target, source, where=where)
        return
    change = np.bitwise_xor(target, source)
    change &= bits_where(where)
    target ^= change


def blank_where(target: np.ndarray, where: np.ndarray) -> None:
    """Make (..., y, x) missing where (y, x) bool holds: stored numbers `MISSING`, which is all bits, floats NaN."""
    if target.dtype == np.uint16:
        target |= bits_where(where)
    else:
        np.copyto(target, np.float32(np.nan), where=where)


@lru_cache(maxsize=64)
def value_table(dtype: str, nodata: float | None, conversion: Conversion) -> np.ndarray:
    """Physical value of every stored number, float32, indexed by its bits read as unsigned."""
    stored = every_number(dtype)
    with np.errstate(over="ignore"):
        table = conversion.apply(stored).astype(np.float32)
    table[np.isinf(table)] = np.nan
    if nodata is not None:
        table[stored == nodata] = np.nan
    return table


def to_db(power: np.ndarray) -> np.ndarray:
    """10 * log10(power), float32 of the same shape; NaN where power is not above 0 or missing."""
    positive = np.where(power > 0, power, np.float32(np.nan))
    decibels: np.ndarray = (10.0 * np.log10(positive, dtype=np.float64)).astype(np.float32)
    return decibels


def to_linear(decibels: np.ndarray) -> np.ndarray:
    """10 ** (dB / 10), float32 of the same shape, NaN where missing or beyond the largest float32."""
    with np.errstate(over="ignore"):
        power: np.ndarray = (10.0 ** (decibels.astype(np.float64) / 10.0)).astype(np.float32)
    power[np.isinf(power)] = np.nan
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
