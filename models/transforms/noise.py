"""Random numbers of pixels, a function of a seed and of the place alone: no order and no cut of the work changes them.

Hashes of whole numbers, and of floats only the operations that IEEE 754 rounds exactly (sums, products, quotients,
roots): so the numbers are the same, bit for bit, on every processor, which logarithms and cosines of libraries are not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray


GAMMA: Final = 0x9E3779B97F4A7C15
"""The odd constant by which SplitMix64 steps. Source: Steele, Lea and Flood, OOPSLA 2014."""

MIXERS: Final = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
"""Shifts and factors of its finaliser, which ends with a shift by 31. Source: the same, variant 13 of Stafford."""

CENTRAL: Final = 0.425
"""Distance from 1/2 up to which a share belongs to the middle of the distribution.

Source of this and of the coefficients: Wichura, Algorithm AS 241, PPND7, Applied Statistics 37 (1988), 477-484; about
seven digits, as float32 has them."""

MIDDLE: Final = (
    (3.3871327179, 50.434271938, 159.29113202, 59.109374720),
    (1.0, 17.895169469, 78.757757664, 67.187563600),
)

TAIL: Final = (
    (1.4234372777, 2.7568153900, 1.3067284816, 0.17023821103),
    (1.0, 0.73700164250, 0.12021132975),
)

FAR_TAIL: Final = (
    (6.6579051150, 3.0812263860, 0.42868294337, 0.017337203997),
    (1.0, 0.24197894225, 0.012258202635),
)
"""Coefficients of a quotient of two polynomials, the lowest power first."""

AT_ONCE: Final = 2**17
"""Numbers that are drawn at a time: their steps fit into the caches of a core, and no window's size shows in memory."""

LOG_TERMS: Final = 12
"""Terms of the series of a logarithm: the next one is below the last digit of float64."""


def mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The hash of each whole number: every bit of it hangs on all bits of the number."""
    for shift, factor in MIXERS:
        values = (values ^ (values >> np.uint64(shift))) * np.uint64(factor)
    return values ^ (values >> np.uint64(31))


def stepped(numbers: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint64]:
    """Whole numbers, negative ones too, as steps of SplitMix64."""
    with np.errstate(over="ignore"):
        return np.asarray(numbers, dtype=np.int64).astype(np.uint64) * np.uint64(GAMMA)


def place_hashes(start: NDArray[np.uint64], rows: range, cols: range) -> NDArray[np.uint64]:
    """A hash of each place (..., row, column), uint64, for hashes (...) to start from."""
    with np.errstate(over="ignore"):
        of_rows = mixed(start[..., None] + stepped(rows))
        return mixed(of_rows[..., None] + stepped(cols))


def normal_noise(*, seed: int, step: int, channels: int, rows: range, cols: range) -> NDArray[np.float32]:
    """Noise (channel, row, column) of mean 0 and deviation 1, float32, of absolute rows and columns.

    `step` is the step of a loop that draws: 0 before the first.
    """
    noise = np.empty((channels, len(rows), len(cols)), np.float32)
    for part, hashes in _hashes(seed, step, channels, rows, cols):
        # 52 bits and a half, which float64 holds: never 0, never 1.
        noise[:, part] = quantile(((hashes >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52)
    return noise


def uniform_noise(*, seed: int, step: int, channels: int, rows: range, cols: range) -> NDArray[np.float32]:
    """Numbers (channel, row, column) from 0 to below 1, float32, as `normal_noise` draws its own."""
    noise = np.empty((channels, len(rows), len(cols)), np.float32)
    for part, hashes in _hashes(seed, step, channels, rows, cols):
        # 24 bits, which float32 holds: never 1.
        noise[:, part] = (hashes >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
    return noise


def kept_places(*, seed: int, step: int, share: float, channels: int, rows: range, cols: range) -> NDArray[np.bool_]:
    """Of each (channel, row, column) whether it is kept where a `share` is dropped, to 1 in 131,072.

    A hash serves four channels, sixteen bits each: so many numbers are drawn as a layer of a network has.
    """
    kept = np.empty((channels, len(rows), len(cols)), np.bool_)
    dropped = np.uint64(round(share * 2**16))
    for part, hashes in _hashes(seed, step, -(-channels // 4), rows, cols):
        for number in range(min(4, channels)):
            mine = kept[number::4, part]
            bits = hashes[: len(mine)] >> np.uint64(16 * number) & np.uint64(2**16 - 1)
            np.greater_equal(bits, dropped, out=mine)
    return kept


def _hashes(
    seed: int, step: int, channels: int, rows: range, cols: range
) -> Iterator[tuple[slice, NDArray[np.uint64]]]:
    """The hashes (channel, row, column) of a draw, some of its rows at a time, and which rows these are."""
    with np.errstate(over="ignore"):
        start = mixed(mixed(mixed(stepped([seed])) + stepped([step])) + stepped(range(channels)))
    some = max(1, AT_ONCE // max(1, channels * len(cols)))
    for first in range(0, len(rows), some):
        yield slice(first, first + some), place_hashes(start, rows[first : first + some], cols)


def quantile(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """The value below which a normal number lies with each probability, between 0 and 1 and neither; seven digits."""
    centred = share - 0.5
    values = centred * _quotient(CENTRAL**2 - centred * centred, MIDDLE)
    outside = np.abs(centred) > CENTRAL
    tails = centred[outside]
    root = np.sqrt(-_logarithm(0.5 - np.abs(tails)))
    found = np.where(root <= 5.0, _quotient(root - 1.6, TAIL), _quotient(root - 5.0, FAR_TAIL))
    values[outside] = np.where(tails < 0, -found, found)
    return values


def _quotient(at: NDArray[np.float64], coefficients: tuple[tuple[float, ...], ...]) -> NDArray[np.float64]:
    above, below = (_polynomial(at, each) for each in coefficients)
    return above / below


def _polynomial(at: NDArray[np.float64], coefficients: tuple[float, ...]) -> NDArray[np.float64]:
    """By Horner's rule; no product is joined with a sum, which some processors would round once instead of twice."""
    value = np.full(at.shape, coefficients[-1])
    for each in reversed(coefficients[:-1]):
        value *= at
        value += each
    return value


def _logarithm(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The natural logarithm of positive numbers, by the series of the inverse hyperbolic tangent."""
    share, power = np.frexp(values)
    small = share < 0.5**0.5
    share, power = np.where(small, 2 * share, share), np.where(small, power - 1, power)
    slope = (share - 1) / (share + 1)
    square = slope * slope
    series = _polynomial(square, tuple(1 / (2 * term + 1) for term in range(LOG_TERMS)))
    return 2 * slope * series + power * 0.6931471805599453
