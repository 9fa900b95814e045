"""Runs a graph on noise windows and measures how far a perturbed part of the input changes the outputs.

Positions and reaches are in *reference pixels*, those of the finest spatial input. `ratio` is a port's own pixels
per reference pixel: below one for a coarser input (1/2), above one for a finer output.
"""

from __future__ import annotations

import warnings
import zlib
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, lcm
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.models.errors import InferenceError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tilewright.models.run.session import ModelSession


Arrays = dict[str, "NDArray[Any]"]

HEIGHT_NAMES, WIDTH_NAMES = ("height", "y"), ("width", "x")

# Length of free dimensions other than height and width, such as dates.
FREE_LENGTH = 2

# Pixels at the far border that must stay unchanged for a reach to count as completely visible in the window.
UNCHANGED_MARGIN = 4

GROUNDS = ("noise", "smooth ground", "plateaus", "filled areas")
"""Kinds of pixels to try: a gate that texture keeps shut opens where there is none, or where data is missing."""

FILLED_SHARE, PATCH = 0.3, 24
"""Share of the areas that hold the lowest value alone; pixels across an area, and between the points of a slope."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """An input or output of the graph: axis names, lengths (-1 free), dtype, pixels per reference pixel; for an input
    the range of its random values, or the `constants` that it always holds; for an output the pixels of its own that it
    leaves out of a window, before and after its rows and columns.
    """

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    ratio: Fraction = Fraction(1)
    low: float = -1.0
    high: float = 1.0
    constants: tuple[float, ...] = ()
    crop: tuple[int, int] = (0, 0)

    @property
    def spatial(self) -> bool:
        """True if the port has height and width."""
        return any(each in HEIGHT_NAMES for each in self.dims) and any(each in WIDTH_NAMES for each in self.dims)

    @property
    def axes(self) -> tuple[int, int]:
        """Positions of height and width among the dimensions."""
        height = next(at for at, each in enumerate(self.dims) if each in HEIGHT_NAMES)
        width = next(at for at, each in enumerate(self.dims) if each in WIDTH_NAMES)
        return height, width

    @property
    def fixed(self) -> tuple[int, int] | None:
        """Height and width in reference pixels if the shape fixes both, else None."""
        sides = [self.shape[axis] for axis in self.axes] if self.spatial else [-1]
        if min(sides) < 1:
            return None
        height, width = (int((side + sum(self.crop)) / self.ratio) for side in sides)
        return height, width


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """The distance, in reference pixels, up to which a perturbation changes outputs: `exact` for any change,
    `effective` for changes above the tolerance.

    None if the change extends to the window's border. `strength` is the largest change at the far end, relative to the
    outputs' own deviation; `any_change` is False if no output pixel changed.
    """

    exact: int | None
    effective: int | None
    strength: float
    any_change: bool


class Probe:
    """A session and the meaning of its axes; runs on seeded noise.

    `crop` is the widest rim, in reference pixels, that an output leaves out; `unit` divides the sides of windows.
    """

    def __init__(self, session: ModelSession, *, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> None:
        self.session = session
        self.inputs = inputs
        self.outputs = tuple(each for each in outputs if each.spatial)
        self.crop = max((ceil(each / port.ratio) for port in self.outputs for each in port.crop), default=0)
        self.unit = lcm(*(each.ratio.denominator for each in (*inputs, *outputs) if each.spatial), 1)

    def noise(
        self, size: tuple[int, int], *, seed: int, stretch: float = 0.0, sign: int = 0, ground: str = GROUNDS[0]
    ) -> Arrays:
        """Seeded noise of `size` reference pixels for every input, uniform over its range, or another ground.

        `stretch` shifts the values by that many ranges: upwards (`sign` 1), downwards (-1) or randomly either way (0).
        """
        return {
            port.name: _noise(port, size, seed=seed, stretch=stretch, sign=sign, ground=ground) for port in self.inputs
        }

    def cut(self, field: Arrays, origin: tuple[int, int], size: tuple[int, int]) -> Arrays:
        """The part of `field` from `origin`, of `size`, both in reference pixels."""
        return {port.name: _cut(port, field[port.name], origin, size) for port in self.inputs}

    def run(self, field: Arrays) -> Arrays:
        """Every spatial output as (channels, height, width); channels are all its other axes, flattened.

        Its outermost pixels are repeated over the rim that it leaves out, so that it covers the window.
        """
        outputs = self.session.run(field)
        return {port.name: _planes(port, outputs[port.name]) for port in self.outputs}

    def sizes(self, size: tuple[int, int]) -> dict[str, tuple[int, int]] | None:
        """The height and width that the graph gives for a window of `size`, without the rim left out; by output.

        None if it does not run, or gives another number of windows than it takes.
        """
        if any(side % self.unit for side in size):
            return None
        field = self.noise(size, seed=0)
        try:
            outputs = self.session.run(field)
        except InferenceError:
            return None
        given = {len_of(field[port.name], port) for port in self.inputs} - {None}
        if any(len_of(outputs[port.name], port) not in {None, *given} for port in self.outputs):
            return None
        return {port.name: _sides(port, outputs[port.name]) for port in self.outputs}

    def accepts(self, size: tuple[int, int]) -> bool:
        """True if the graph runs on windows of `size` and every output has the size that follows from its ratio."""
        sizes = self.sizes(size)
        return sizes is not None and self.fits(size, sizes)

    def fits(self, size: tuple[int, int], sizes: dict[str, tuple[int, int]]) -> bool:
        """True if the `sizes` of the outputs are those that their ratios and crops ask for."""
        return all(
            given + sum(port.crop) == side * port.ratio
            for port in self.outputs
            for given, side in zip(sizes[port.name], size, strict=True)
        )

    def change_profile(
        self, base: Arrays, baseline: Arrays, perturbed: Arrays, *, edge: int, axis: int, side: int
    ) -> NDArray[Any]:
        """The change of each reference pixel along `axis` if `base` (whose outputs are `baseline`) is replaced by
        `perturbed` from `edge` on (`side` 1) or before it (-1).

        The maximum over all other axes and outputs, relative to each output's deviation. Zero: bit-identical.
        """
        mixed = {
            port.name: _mixed(port, base[port.name], perturbed[port.name], edge=edge, axis=axis, side=side)
            for port in self.inputs
        }
        return self.profile(baseline, self.run(mixed), axis=axis)

    def profile(self, one: Arrays, other: Arrays, *, axis: int) -> NDArray[Any]:
        """Largest relative difference per reference pixel along `axis`, over all outputs."""
        lines = []
        for port in self.outputs:
            line = relative(one[port.name], other[port.name]).max(axis=(0, 2 if axis == 0 else 1))
            lines.append(_per_reference_pixel(line, port.ratio))
        whole: NDArray[Any] = np.max(lines, axis=0)
        return whole


def len_of(values: NDArray[Any], port: Port) -> int | None:
    """The number of windows in an array of a port; None if windows do not lie along an axis."""
    return values.shape[port.dims.index("batch")] if "batch" in port.dims else None


def relative(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    """Difference per value in units of the deviation of `one`; infinite where only one of the two is NaN.

    Integer results (classes) have no magnitude of difference: 1 where they differ, else 0.
    """
    if not np.issubdtype(one.dtype, np.floating):
        return (one != other).astype(np.float64)
    a, b = one.astype(np.float64), other.astype(np.float64)
    with np.errstate(all="ignore"):
        difference = np.abs(a - b) / (deviation(one) or 1.0)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return np.where(same, 0.0, np.where(np.isnan(difference), np.inf, difference))


def deviation(values: NDArray[Any]) -> float:
    """Standard deviation of (channels, height, width) about each channel's own mean, over the finite values.

    The offset between channels does not count. 0 if nothing varies.
    """
    finite = np.where(np.isfinite(values), values.astype(np.float64), np.nan)
    if np.isnan(finite).all():
        return 0.0
    with warnings.catch_warnings(action="ignore"):
        return float(np.sqrt(np.nanmean(np.nanvar(finite, axis=(1, 2)))))


def read_reach(profile: NDArray[Any], *, edge: int, side: int, tolerance: float) -> Reach:
    """The reach in one profile: the distance from the edge of the perturbed part to the farthest changed pixel."""
    line = profile if side > 0 else profile[::-1]
    n_unperturbed = edge if side > 0 else len(profile) - edge
    unperturbed = line[:n_unperturbed]
    return Reach(
        exact=_distance(unperturbed > 0),
        effective=_distance(unperturbed > tolerance),
        strength=float(unperturbed[: max(UNCHANGED_MARGIN, n_unperturbed // 8)].max(initial=0.0)),
        any_change=bool((line > 0).any()),
    )


def _distance(changed: NDArray[np.bool_]) -> int | None:
    if not changed.any():
        return 0
    first = int(np.argmax(changed))
    return None if first < UNCHANGED_MARGIN else len(changed) - first


def _shape(port: Port, size: tuple[int, int]) -> tuple[int, ...]:
    lengths = [each if each > 0 else FREE_LENGTH for each in port.shape]
    if "batch" in port.dims and port.shape[port.dims.index("batch")] < 1:
        lengths[port.dims.index("batch")] = 1
    if port.spatial:
        for axis, side in zip(port.axes, size, strict=True):
            lengths[axis] = int(side * port.ratio)
    return tuple(lengths)


def _noise(port: Port, size: tuple[int, int], *, seed: int, stretch: float, sign: int, ground: str) -> NDArray[Any]:
    if port.constants:
        return np.resize(np.asarray(port.constants, port.dtype), _shape(port, size))
    random = np.random.default_rng([seed, zlib.crc32(port.name.encode())])
    value_range = port.high - port.low
    values: NDArray[Any] = random.uniform(0, 1, _shape(port, size))
    if port.spatial and ground == GROUNDS[3]:
        height, width = port.axes
        patches = _coarsened(_coarsened(random.uniform(0, 1, values.shape), height), width)
        values = np.where(patches < FILLED_SHARE, 0.0, values)
    elif port.spatial and ground != GROUNDS[0]:
        for axis in port.axes:
            values = _coarsened(values, axis, smooth=ground == GROUNDS[1])
    signs = np.full(values.shape, sign) if sign else random.choice([-1, 1], values.shape)
    values = port.low + value_range * (values + signs * stretch)
    dtype = np.dtype(port.dtype)
    if not np.issubdtype(dtype, np.floating):
        limits = np.iinfo(dtype) if dtype != np.bool_ else None
        values = np.clip(np.rint(values), limits.min, limits.max) if limits else values > port.low + value_range / 2
    return values.astype(dtype)


def _coarsened(values: NDArray[Any], axis: int, *, smooth: bool = False) -> NDArray[Any]:
    """The values at every PATCHth place along an axis, repeated, or joined by straight lines."""
    at = np.arange(values.shape[axis])
    first = np.take(values, at // PATCH * PATCH, axis=axis)
    if not smooth:
        return first
    after = np.take(values, np.minimum((at // PATCH + 1) * PATCH, at[-1]), axis=axis)
    share = np.moveaxis((at % PATCH / PATCH).reshape(-1, *[1] * (values.ndim - 1)), 0, axis)
    joined: NDArray[Any] = first * (1 - share) + after * share
    return joined


def _cut(port: Port, values: NDArray[Any], origin: tuple[int, int], size: tuple[int, int]) -> NDArray[Any]:
    if not port.spatial:
        return values
    part = [slice(None)] * values.ndim
    for axis, start, side in zip(port.axes, origin, size, strict=True):
        part[axis] = slice(int(start * port.ratio), int((start + side) * port.ratio))
    return np.ascontiguousarray(values[tuple(part)])


def _mixed(port: Port, base: NDArray[Any], perturbed: NDArray[Any], *, edge: int, axis: int, side: int) -> NDArray[Any]:
    if not port.spatial:
        return base
    at = int(edge * port.ratio)
    part = [slice(None)] * base.ndim
    part[port.axes[axis]] = slice(at, None) if side > 0 else slice(0, at)
    mixed = base.copy()
    mixed[tuple(part)] = perturbed[tuple(part)]
    return mixed


def _planes(port: Port, outputs: NDArray[Any]) -> NDArray[Any]:
    height, width = port.axes
    moved = np.moveaxis(outputs, (height, width), (-2, -1))
    planes = moved.reshape(-1, *moved.shape[-2:])
    return np.pad(planes, ((0, 0), port.crop, port.crop), mode="edge") if any(port.crop) else planes


def _sides(port: Port, outputs: NDArray[Any]) -> tuple[int, int]:
    height, width = port.axes
    return outputs.shape[height], outputs.shape[width]


def _per_reference_pixel(line: NDArray[Any], ratio: Fraction) -> NDArray[Any]:
    """The maximum of `line`, over an output's pixels, within each reference pixel."""
    if ratio == 1:
        return line
    n_reference = int(len(line) / ratio)
    spans = [(floor(at * ratio), ceil((at + 1) * ratio)) for at in range(n_reference)]
    return np.array([line[first:stop].max() for first, stop in spans])
