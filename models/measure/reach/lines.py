"""One axis of a tensor: which reference pixels each of its pixels could depend on, phase by phase."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from fractions import Fraction

    from numpy.typing import NDArray

MOST_PHASES = 4096
"""Reference pixels after which a graph must repeat; no network has so large a stride."""

MOST_TAPS = 2**21
"""Taps of all phases of a kernel beyond which nothing is proven: a picture of its size is no neighbourhood."""


class UnprovenError(Exception):
    """No bound follows from an operator; the message says why."""


class PeriodError(Exception):
    """The graph repeats only every `period` reference pixels, more than was assumed."""

    def __init__(self, period: int) -> None:
        super().__init__(f"the graph repeats every {period} px")
        self.period = period


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The pixels of a tensor along one axis, in windows whose side is a multiple of `period` reference pixels.

    A window of `side` reference pixels has `ratio * side + extra` of them. Pixel `index` depends at most on the
    reference pixels from `first[index]` to `last[index]`, both counted from the window's start; the pixels of one
    period are stored, since `n` pixels later everything lies `period` later. A pixel that a window lacks depends on a
    reference pixel outside the window, so that padding, reflected borders and cut rims count as reach.
    """

    period: int
    ratio: Fraction
    extra: int
    first: NDArray[np.int64]
    last: NDArray[np.int64]

    @property
    def n(self) -> int:
        """Pixels in one period."""
        return len(self.first)

    def span(self, index: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The first and last reference pixels on which the pixels at `index` depend."""
        later = index // self.n * self.period
        return self.first[index % self.n] + later, self.last[index % self.n] + later

    def read(self, positions: NDArray[np.int64], *, ratio: Fraction, extra: int) -> Line:
        """The line of a tensor whose pixel `index` reads this one's pixels `positions[index]` (pixel, tap)."""
        first, last = self.span(positions)
        return bounded_line(self.period, ratio, extra, first.min(axis=1), last.max(axis=1))

    def joined(self, other: Line) -> Line:
        """The line of a tensor whose pixels each read the same pixel of both."""
        if (self.ratio, self.extra) != (other.ratio, other.extra):
            raise UnprovenError("layers of unlike sizes are joined")
        first, last = np.minimum(self.first, other.first), np.maximum(self.last, other.last)
        return bounded_line(self.period, self.ratio, self.extra, first, last)


def n_phases(ratio: Fraction, period: int) -> int:
    """Pixels of a tensor per period; raises PeriodError if that is no whole number."""
    pixels = ratio * period
    if pixels.denominator > 1:
        larger = period * pixels.denominator
        if larger > MOST_PHASES:
            raise UnprovenError(f"the graph would repeat only every {larger} px")
        raise PeriodError(larger)
    return int(pixels)


def bounded_line(period: int, ratio: Fraction, extra: int, first: NDArray[np.int64], last: NDArray[np.int64]) -> Line:
    """A line in which every pixel also depends on its own place, so that one outside its tensor counts as outside."""
    own = [floor(index / ratio) for index in range(len(first))]
    end = [floor((index - extra) / ratio) for index in range(len(first))]
    return Line(period=period, ratio=ratio, extra=extra, first=np.minimum(first, own), last=np.maximum(last, end))


def input_line(ratio: Fraction, period: int) -> Line:
    """The line of an input: each of its pixels covers its own reference pixels."""
    index = range(n_phases(ratio, period))
    first = np.array([floor(each / ratio) for each in index], np.int64)
    last = np.array([-floor(-(each + 1) / ratio) - 1 for each in index], np.int64)
    return bounded_line(period, ratio, 0, first, last)


def kernel(line: Line, *, size: int, dilation: int, stride: int, pads: tuple[int, int]) -> Line:
    """After a kernel of `size` taps: a convolution or a pooling."""
    ratio = line.ratio / stride
    starts = np.arange(n_phases(ratio, line.period)) * stride - pads[0]
    if size * len(starts) > MOST_TAPS:
        raise UnprovenError(f"a kernel of {size:,} pixels is too wide to be followed")
    extra = (line.extra + sum(pads) - dilation * (size - 1) - 1) // stride + 1
    return line.read(starts[:, None] + np.arange(size) * dilation, ratio=ratio, extra=extra)


def same_pads(line: Line, *, extent: int, stride: int, lower: bool) -> tuple[int, int]:
    """The padding of auto_pad SAME for a kernel whose taps span `extent` pixels."""
    if line.extra:
        raise UnprovenError("auto_pad pads a layer whose size is no multiple of the window's")
    n_phases(line.ratio / stride, line.period)
    total = max(extent - stride, 0)
    half = total // 2
    return (total - half, half) if lower else (half, total - half)


def transposed(line: Line, *, size: int, dilation: int, stride: int, pads: tuple[int, int], extended: int) -> Line:
    """After a transposed convolution of `size` taps; `extended` pixels are added at the end."""
    ratio = line.ratio * stride
    if size * n_phases(ratio, line.period) > MOST_TAPS:
        raise UnprovenError(f"a kernel of {size:,} pixels is too wide to be followed")
    index = np.arange(n_phases(ratio, line.period))[:, None] + pads[0]
    # Pixel = source * stride + tap * dilation - pad; a position between two sources is rounded both ways, which only
    # adds sources.
    sources = (index - np.arange(size) * dilation) / stride
    positions = np.concatenate([np.floor(sources), np.ceil(sources)], axis=1).astype(np.int64)
    if dilation == 1:
        taps = np.arange(-(-size // stride))
        positions = index // stride - taps
        positions = np.where(positions * stride + size - 1 >= index, positions, index // stride)
    extra = stride * (line.extra - 1) + extended + dilation * (size - 1) + 1 - sum(pads)
    return line.read(positions, ratio=ratio, extra=extra)


def shifted(line: Line, *, start: int, step: int, extra: int) -> Line:
    """Pixels from `start` on, every `step`th; `extra` is that of the result."""
    ratio = line.ratio / step
    return line.read((np.arange(n_phases(ratio, line.period)) * step + start)[:, None], ratio=ratio, extra=extra)


def cells_joined(line: Line, *, block: int) -> Line:
    """Each pixel reads a cell of `block` pixels."""
    if line.extra % block:
        raise UnprovenError("cells cut through the border of a layer")
    ratio = line.ratio / block
    if block > MOST_PHASES:
        raise UnprovenError(f"cells of {block:,} pixels are too wide to be followed")
    starts = np.arange(n_phases(ratio, line.period)) * block
    return line.read(starts[:, None] + np.arange(block), ratio=ratio, extra=line.extra // block)


def cells_split(line: Line, *, block: int) -> Line:
    """Each pixel is split into `block` pixels."""
    ratio = line.ratio * block
    if block * line.n > MOST_TAPS:
        raise UnprovenError(f"cells of {block:,} pixels are too wide to be followed")
    index = np.arange(n_phases(ratio, line.period))
    return line.read((index // block)[:, None], ratio=ratio, extra=line.extra * block)
