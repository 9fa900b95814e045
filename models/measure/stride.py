"""Windows compared with each other: the shift that shifts the output alike, and the proof that a trim is enough."""

from __future__ import annotations

from math import ceil, gcd, lcm
from typing import TYPE_CHECKING

import numpy as np

from tilewright.models.measure.probe import CLEAR, relative

if TYPE_CHECKING:
    from tilewright.models.measure.perturb import Perturbation
    from tilewright.models.measure.probe import Arrays, Probe, ProbePort


LARGEST_STRIDE = 64

# Share of integer results (classes) that may fall to the other side of a tie by arithmetic noise.
TIE_SHARE = 1e-3

# Side of the largest whole image that is run: beyond it the measured reach stands unproven rather than memory fails.
LARGEST_PROOF = 2048

# Pixels that must remain comparable beyond the rims and the shift.
COMPARED = 32


def total_stride(trial: Perturbation, *, reach: int) -> int | None:
    """The smallest shift of the input that shifts every output alike on both axes, as a multiple of what the graph
    takes as window sizes; None if there is none up to 64.

    A fixed window too small to show it gets the largest power of two that divides it, which is safe.
    """
    strides = []
    for axis in (0, 1):
        stride = _stride_along(trial, reach=reach, axis=axis)
        if stride is None:
            return gcd(*trial.fixed, LARGEST_STRIDE) if trial.fixed else None
        strides.append(stride)
    return lcm(trial.multiple(), *strides)


def _stride_along(trial: Perturbation, *, reach: int, axis: int) -> int | None:
    # Right shifts are the multiples of one number, so the first power of two that passes is divided by it, and is it.
    powers = [2**power for power in range(LARGEST_STRIDE.bit_length())]
    others = [each for each in range(3, LARGEST_STRIDE) if each not in powers]
    tried = (each for each in (*powers, *others) if each % trial.probe.unit == 0)
    return next((each for each in tried if _shifts_alike(trial, each, reach=reach, axis=axis)), None)


def _shifts_alike(trial: Perturbation, shift: int, *, reach: int, axis: int) -> bool:
    length = trial.start
    while not trial.fixed and length < 2 * (reach + CLEAR) + LARGEST_STRIDE + COMPARED:
        length *= 2
    size = trial.size(length, axis)
    if size[axis] - shift - 2 * reach < 1:
        return False

    def along(pixels: int, across: int = 0) -> tuple[int, int]:
        return (pixels, across) if axis == 0 else (across, pixels)

    noise = trial.probe.noise((size[0] + along(shift)[0], size[1] + along(shift)[1]), seed=5)
    first = trial.probe.run(trial.probe.cut(noise, (0, 0), size))
    second = trial.probe.run(trial.probe.cut(noise, along(shift), size))
    part = along(size[axis] - shift - 2 * reach, size[1 - axis])
    gap = difference(trial.probe, first, second, at=along(reach + shift), there=along(reach), size=part)
    return gap <= allowed(trial.probe, first, tolerance=trial.tolerance)


def proven_difference(trial: Perturbation, *, trim: int, stride: int) -> tuple[float, float] | None:
    """Largest relative difference of trimmed windows against a whole image, or of overlapping windows of a fixed size,
    and the difference that arithmetic noise may make; None where the graph takes no windows to compare.
    """
    if trial.fixed:
        return _overlap_difference(trial, trial.fixed, trim=trim, stride=stride)
    probe = trial.probe
    step = ceil(max(2 * stride, trial.start // 2) / stride) * stride
    window, whole = (step + 2 * trim,) * 2, (2 * step + 2 * trim + stride,) * 2
    if max(whole) > LARGEST_PROOF or not (probe.accepts(window) and probe.accepts(whole)):
        return None
    noise = probe.noise(whole, seed=6)
    full = probe.run(noise)
    worst = 0.0
    for row, col in ((0, 0), (step, step), (stride, step + stride)):
        made = probe.run(probe.cut(noise, (row, col), window))
        worst = max(
            worst, difference(probe, full, made, at=(row + trim, col + trim), there=(trim, trim), size=(step, step))
        )
    return worst, allowed(probe, full, tolerance=trial.tolerance)


def _overlap_difference(
    trial: Perturbation, size: tuple[int, int], *, trim: int, stride: int
) -> tuple[float, float] | None:
    common = (size[0] - 2 * trim - stride, size[1] - 2 * trim - stride)
    if min(common) < 1:
        return None
    probe = trial.probe
    noise = probe.noise((size[0] + stride, size[1] + stride), seed=6)
    first = probe.run(probe.cut(noise, (0, 0), size))
    second = probe.run(probe.cut(noise, (stride, stride), size))
    gap = difference(probe, first, second, at=(trim + stride,) * 2, there=(trim,) * 2, size=common)
    return gap, allowed(probe, first, tolerance=trial.tolerance)


def difference(
    probe: Probe, one: Arrays, other: Arrays, *, at: tuple[int, int], there: tuple[int, int], size: tuple[int, int]
) -> float:
    """Largest difference of the parts of `size` at `at` in `one` and at `there` in `other` (reference pixels), relative
    to the outputs' deviation; for integer outputs the share of unlike values.
    """
    worst = 0.0
    for port in probe.outputs:
        gaps = relative(_part(one[port.name], at, size, port), _part(other[port.name], there, size, port))
        floating = np.issubdtype(one[port.name].dtype, np.floating)
        worst = max(worst, float(gaps.max() if floating else gaps.mean()))
    return worst


def allowed(probe: Probe, made: Arrays, *, tolerance: float) -> float:
    """The difference that arithmetic noise may make in these outputs."""
    floating = all(np.issubdtype(made[port.name].dtype, np.floating) for port in probe.outputs)
    return tolerance if floating else max(tolerance, TIE_SHARE)


def _part(planes: np.ndarray, at: tuple[int, int], size: tuple[int, int], port: ProbePort) -> np.ndarray:
    rows, cols = (
        slice(int(start * port.ratio), int((start + side) * port.ratio)) for start, side in zip(at, size, strict=True)
    )
    part: np.ndarray = planes[:, rows, cols]
    return part
