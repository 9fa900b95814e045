"""Compares windows with each other: finds the total stride, and verifies that trimmed windows equal the whole image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from math import ceil, gcd, lcm
from typing import TYPE_CHECKING

import numpy as np

from tilewright.models.card.tile import size_words
from tilewright.models.errors import CardError
from tilewright.models.measure.perturb import Perturbation
from tilewright.models.measure.probe import GROUNDS, UNCHANGED_MARGIN, Probe, relative
from tilewright.models.measure.shapes import stacked, unlike_window

if TYPE_CHECKING:
    from tilewright.models.measure.probe import Arrays, Port
    from tilewright.models.measure.shapes import WindowSizes


LARGEST_STRIDE = 64

# Pixels of an output per reference pixel, as networks have them.
WHOLE_SCALES = (Fraction(1), Fraction(1, 2), Fraction(1, 4), Fraction(1, 8), Fraction(2), Fraction(4))

# Share of integer results (classes) that arithmetic noise may move to the other side of a tie.
TIE_SHARE = 1e-3

# Side of the largest whole image that is run; a larger one could exhaust memory, so the reach then stays unverified.
LARGEST_WHOLE_IMAGE = 2048

# Pixels that must remain for comparison after the rims and the shift are cut off.
MIN_COMPARED = 32


def total_stride(perturbation: Perturbation, *, reach: int) -> int | None:
    """The smallest shift of the input that shifts every output equally on both axes, and that is a multiple of the
    graph's window size multiple; None if there is none up to 64.

    A fixed window too small to show it gets the largest power of two (up to 64) that divides it, which is safe.
    """
    strides = [_stride_along(perturbation, reach=reach, axis=axis) for axis in (0, 1)]
    if None in strides:
        return gcd(*perturbation.fixed, LARGEST_STRIDE) if perturbation.fixed else None
    return lcm(perturbation.multiple(), *(stride for stride in strides if stride))


def refuse_disguised_crop(probe: Probe, sizes: WindowSizes, *, tolerance: float) -> None:
    """Nothing, unless a fixed window's output of an odd scale shifts as one of a whole scale that is cropped would.

    Raises CardError with the crop.
    """
    for port, scale in product(probe.outputs, WHOLE_SCALES):
        size = int(sizes.start * port.ratio) - sum(port.crop)
        missing = sizes.start * scale - size
        if missing.denominator > 1 or not 0 < missing <= size / 2:
            continue
        crop = (int(missing) // 2, int(missing) - int(missing) // 2)
        cropped = Probe(probe.session, inputs=probe.inputs, outputs=(replace(port, ratio=scale, crop=crop),))
        perturbation = Perturbation(cropped, sizes=sizes, tolerance=tolerance, narrow=False)
        reach = max(cropped.crop, sizes.start // 4)
        if all(_stride_along(perturbation, reach=reach, axis=axis) for axis in (0, 1)):
            given = f"tw:scale is {float(port.ratio):g}, but its pixels are at another distance"
            words = size_words(window=sizes.start, size=size, scale=float(scale), cropped=(0, 0))
            raise CardError(f"properties.mlm:output ({port.name}).{given}: the graph gives {words}")


def _stride_along(perturbation: Perturbation, *, reach: int, axis: int) -> int | None:
    # Equivariant shifts are the multiples of one number. It divides every power of two that passes, so the first such
    # power is the number itself.
    powers = [2**power for power in range(LARGEST_STRIDE.bit_length())]
    other_shifts = [each for each in range(3, LARGEST_STRIDE) if each not in powers]
    candidates = (each for each in (*powers, *other_shifts) if each % perturbation.probe.unit == 0)
    return next((each for each in candidates if _is_equivariant(perturbation, each, reach=reach, axis=axis)), None)


def _is_equivariant(perturbation: Perturbation, shift: int, *, reach: int, axis: int) -> bool:
    length = perturbation.start
    while not perturbation.fixed and length < 2 * (reach + UNCHANGED_MARGIN) + LARGEST_STRIDE + MIN_COMPARED:
        length *= 2
    size = perturbation.size(length, axis)
    if size[axis] - shift - 2 * reach < 1:
        return False

    def along(pixels: int, across: int = 0) -> tuple[int, int]:
        return (pixels, across) if axis == 0 else (across, pixels)

    noise = perturbation.probe.noise((size[0] + along(shift)[0], size[1] + along(shift)[1]), seed=5)
    first = perturbation.probe.run(perturbation.probe.cut(noise, (0, 0), size))
    second = perturbation.probe.run(perturbation.probe.cut(noise, along(shift), size))
    part = along(size[axis] - shift - 2 * reach, size[1 - axis])
    largest = largest_difference(
        perturbation.probe, first, second, at=along(reach + shift), there=along(reach), size=part
    )
    return largest <= allowed_difference(perturbation.probe, first, tolerance=perturbation.tolerance)


def tiling_difference(
    perturbation: Perturbation, *, trim: int, stride: int, step: int | None = None
) -> tuple[float, float, str] | None:
    """The largest relative difference between trimmed windows and a whole image, or between overlapping windows of a
    fixed size; the difference that arithmetic noise may cause; and the pixels that were seen, in words.

    Small windows are compared, and with a `step` one of that too. None if the graph accepts no windows to compare.
    """
    if perturbation.fixed:
        return _overlap_difference(perturbation, perturbation.fixed, trim=trim, stride=stride)
    probe = perturbation.probe
    small = ceil(max(2 * stride, perturbation.start // 2) / stride) * stride
    places = [((0, 0), small), ((small, small), small), ((stride, small + stride), small)]
    if step:
        places = [((0, stride), small), ((stride, stride), ceil(step / stride) * stride)]
    whole = (max(max(place) + each for place, each in places) + 2 * trim,) * 2
    sides = dict.fromkeys(each + 2 * trim for _, each in places)
    if max(whole) > LARGEST_WHOLE_IMAGE or not all(probe.accepts((side, side)) for side in (*sides, *whole)):
        return None
    found = []
    for ground in GROUNDS:
        pixels = probe.noise(whole, seed=6, ground=ground)
        full = probe.run(pixels)
        for (row, col), each in places:
            outputs = probe.run(probe.cut(pixels, (row, col), (each + 2 * trim,) * 2))
            at, size = (row + trim, col + trim), (each, each)
            largest = largest_difference(probe, full, outputs, at=at, there=(trim, trim), size=size)
            found.append((largest, allowed_difference(probe, full, tolerance=perturbation.tolerance)))
    words = " and ".join(map(str, sides))
    return *_worst(found), f"windows of {words} px and an image of {whole[0]} px, of {', '.join(GROUNDS)}"


def _worst(found: list[tuple[float, float]]) -> tuple[float, float]:
    """The pair of difference and allowance that exceeds the most."""
    return max(found, key=lambda pair: pair[0] / pair[1])


def _overlap_difference(
    perturbation: Perturbation, size: tuple[int, int], *, trim: int, stride: int
) -> tuple[float, float, str] | None:
    common = (size[0] - 2 * trim - stride, size[1] - 2 * trim - stride)
    if min(common) < 1:
        return None
    probe = perturbation.probe
    found = []
    for ground in GROUNDS:
        pixels = probe.noise((size[0] + stride, size[1] + stride), seed=6, ground=ground)
        first = probe.run(probe.cut(pixels, (0, 0), size))
        second = probe.run(probe.cut(pixels, (stride, stride), size))
        largest = largest_difference(probe, first, second, at=(trim + stride,) * 2, there=(trim,) * 2, size=common)
        found.append((largest, allowed_difference(probe, first, tolerance=perturbation.tolerance)))
    return *_worst(found), f"overlapping windows of {size[0]} px, of {', '.join(GROUNDS)}"


def largest_difference(
    probe: Probe, one: Arrays, other: Arrays, *, at: tuple[int, int], there: tuple[int, int], size: tuple[int, int]
) -> float:
    """The largest difference between the part of `one` at `at` and the part of `other` at `there`, both of `size`
    (reference pixels), relative to the outputs' deviation; for integer outputs the share of differing values.
    """
    worst = 0.0
    for port in probe.outputs:
        gaps = relative(_part(one[port.name], at, size, port), _part(other[port.name], there, size, port))
        floating = np.issubdtype(one[port.name].dtype, np.floating)
        worst = max(worst, float(gaps.max() if floating else gaps.mean()))
    return worst


def allowed_difference(probe: Probe, outputs: Arrays, *, tolerance: float) -> float:
    """The difference that arithmetic noise may cause in these outputs."""
    floating = all(np.issubdtype(outputs[port.name].dtype, np.floating) for port in probe.outputs)
    return tolerance if floating else max(tolerance, TIE_SHARE)


def _part(planes: np.ndarray, at: tuple[int, int], size: tuple[int, int], port: Port) -> np.ndarray:
    rows, cols = (
        slice(int(start * port.ratio), int((start + side) * port.ratio)) for start, side in zip(at, size, strict=True)
    )
    part: np.ndarray = planes[:, rows, cols]
    return part


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowProof:
    """Windows of the size that a plan runs, compared with shifted and larger ones and beside unlike batch mates.

    `difference` is the largest that was found, relative to the outputs' deviation (for classes the share of differing
    pixels), `allowed` the one that arithmetic noise may cause there, `seen` says what was run.
    """

    difference: float
    allowed: float
    seen: str

    @property
    def holds(self) -> bool:
        """True if nothing but noise differs."""
        return self.difference <= self.allowed


def prove_windows(
    probe: Probe, *, window: int, trim: int, step: int, stride: int, tolerance: float, batch: int, proven: bool
) -> WindowProof | None:
    """Runs windows as they will be run, two of them half a step apart.

    `proven`: the operators prove the trim already, so that noise is enough; else every ground is tried, and the windows
    are compared with a larger one that holds both. `batch`: windows per call; the first is then run beside unlike ones
    too. None if two windows share no pixels or the graph does not run on them.
    """
    shift = max(stride, step // 2 // stride * stride)
    if shift >= step or not probe.accepts((window, window)):
        return None
    both = (window + shift,) * 2
    grounds = GROUNDS[:1] if proven else GROUNDS
    larger = not proven and max(both) <= LARGEST_WHOLE_IMAGE and probe.accepts(both)
    common, at, there = (step - shift,) * 2, (trim + shift,) * 2, (trim,) * 2
    found = []
    for ground in grounds:
        pixels = probe.noise(both, seed=7, ground=ground)
        cuts = [probe.cut(pixels, (start, start), (window, window)) for start in (0, shift)]
        first, second = (probe.run(stacked(probe, [cut] * batch)) for cut in cuts)
        allowed = allowed_difference(probe, first, tolerance=tolerance)
        found.append((largest_difference(probe, first, second, at=at, there=there, size=common), allowed))
        if batch > 1:
            others = [unlike_window(probe, (window, window), number) for number in range(1, batch)]
            beside = probe.run(stacked(probe, [cuts[0], *others]))
            alone, mine = ({name: each[: len(each) // batch] for name, each in run.items()} for run in (first, beside))
            found.append((largest_difference(probe, alone, mine, at=(0, 0), there=(0, 0), size=(window,) * 2), allowed))
        if larger:
            full, whole = probe.run(pixels), probe.run(cuts[0])
            found.append((largest_difference(probe, full, whole, at=there, there=there, size=(step, step)), allowed))
    difference, allowed = _worst(found)
    beside_words = f", {batch} a call beside unlike ones" if batch > 1 else ""
    larger_words = f" and one of {both[0]} px" if larger else ""
    words = f"windows of {window} px, {shift} px apart{larger_words}{beside_words}, of {', '.join(grounds)}"
    return WindowProof(difference=difference, allowed=allowed, seen=words)
