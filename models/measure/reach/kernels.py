"""Operators that read neighbours: kernels, resizes, padding and cuts along height and width."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor
from typing import TYPE_CHECKING, Final

import numpy as np

from tilewright.models.measure.reach.lines import (
    UnprovenError,
    cells_joined,
    cells_split,
    kernel,
    n_phases,
    same_pads,
    shifted,
    transposed,
)
from tilewright.models.measure.reach.sizes import refuse_elsewhere
from tilewright.models.measure.reach.values import Extent, PixelTensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from tilewright.models.measure.reach.call import Call
    from tilewright.models.measure.reach.lines import Line
    from tilewright.models.measure.reach.values import Value

TO_END: Final = 2**30
"""Ends of slices from this value on mean "to the end"."""

TIE: Final = Fraction(1, 1000)
"""Distance, in pixels, from a tie within which rounding decides which pixel a nearest resize takes."""

TAPS: Final = {"nearest": 1, "linear": 2, "cubic": 4}
"""Pixels along an axis that a resize reads. Source: ONNX, Resize-19."""

WEIGHTS: Final = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3, "ConvTranspose": 1}
"""Index of the weights among an operator's inputs; their shape gives the kernel's."""


def after_kernel(call: Call) -> PixelTensor:
    """After a convolution or pooling."""
    pixels = _last_two(call)
    size = _kernel_shape(call)
    count = len(size)
    strides, dilations = (call.attributes.get(name) or [1] * count for name in ("strides", "dilations"))
    pads = call.attributes.get("pads") or [0] * (2 * count)
    auto = call.attributes.get("auto_pad", "NOTSET")

    def after(name: str, line: Line) -> Line:
        at = pixels.places[name] + count
        first, last = pads[at], pads[at + count]
        extent = dilations[at] * (size[at] - 1) + 1
        if auto.startswith("SAME"):
            first, last = same_pads(line, extent=extent, stride=strides[at], lower=auto == "SAME_LOWER")
        elif auto == "VALID":
            first, last = 0, 0
        if call.attributes.get("ceil_mode") and (line.extra + first + last - extent) % strides[at]:
            raise UnprovenError(f"{call.op} rounds its size up")
        return kernel(line, size=size[at], dilation=dilations[at], stride=strides[at], pads=(first, last))

    return pixels.mapped(after)


def after_transposed(call: Call) -> PixelTensor:
    """After a transposed convolution."""
    pixels = _last_two(call)
    size = _kernel_shape(call)
    count = len(size)
    if call.attributes.get("output_shape") or call.attributes.get("auto_pad", "NOTSET") != "NOTSET":
        raise UnprovenError("ConvTranspose has its size built in")
    strides, dilations = (call.attributes.get(name) or [1] * count for name in ("strides", "dilations"))
    pads = call.attributes.get("pads") or [0] * (2 * count)
    extended = call.attributes.get("output_padding") or [0] * count

    def after(name: str, line: Line) -> Line:
        at = pixels.places[name] + count
        return transposed(
            line,
            size=size[at],
            dilation=dilations[at],
            stride=strides[at],
            pads=(pads[at], pads[at + count]),
            extended=extended[at],
        )

    return pixels.mapped(after)


def _kernel_shape(call: Call) -> list[int]:
    numbers = call.constants(range(1, len(call.inputs))) if call.op in WEIGHTS else []
    shape = list(numbers[WEIGHTS[call.op] - 1].shape[2:]) if numbers else call.attributes["kernel_shape"]
    if len(shape) not in {1, 2, 3} or not shape:
        raise UnprovenError(f"{call.op} has no kernel that is known")
    return shape


def _last_two(call: Call) -> PixelTensor:
    """The first input, whose height and width must be its last axes."""
    pixels = call.pixels()
    if any(place < -2 for place in pixels.places.values()):
        raise UnprovenError(f"{call.op} runs over other axes than height and width")
    if call.op in WEIGHTS and pixels.rank - len(_kernel_shape(call)) != 2:
        raise UnprovenError(f"{call.op} runs over axes that are not known")
    return pixels


def after_resize(call: Call) -> PixelTensor:
    """After Resize or Upsample by scales, or to the size of another layer."""
    pixels = call.pixels()
    old = call.op == "Upsample" or call.opset < 11
    mode = call.attributes.get("mode", "nearest")
    transform = "asymmetric" if old else call.attributes.get("coordinate_transformation_mode", "half_pixel")
    policy = call.attributes.get("keep_aspect_ratio_policy", "stretch")
    if call.attributes.get("antialias") or mode not in TAPS or policy != "stretch":
        raise UnprovenError(f"{call.op} filters by a kernel that is not known")
    axes = call.attributes.get("axes") or list(range(pixels.rank))
    given = {pixels.from_end(axis): at for at, axis in enumerate(axes)}
    scales, sizes = _targets(call, old=old)
    refuse_elsewhere(call, pixels, zip(axes, sizes or (), strict=False))
    rounding = "simple" if old else call.attributes.get("nearest_mode", "round_prefer_floor")

    def after(name: str, line: Line) -> Line:
        at = given.get(pixels.places[name])
        if at is None:
            return line
        scale = _scale_to(call, name, line, sizes[at]) if sizes else _fraction(call, scales[at])
        return _resized(line, scale=scale, mode=mode, transform=transform, rounding=rounding, op=call.op)

    return pixels.mapped(after)


def _targets(call: Call, *, old: bool) -> tuple[list[float], tuple[Extent, ...] | None]:
    sizes = None if old else call.extents(3)
    if sizes:
        return [], sizes
    scales = call.numbers(1 if old else 2, "scales")
    if not scales:
        raise UnprovenError(f"{call.op} has no scales that are known")
    return scales, None


def _fraction(call: Call, scale: float) -> Fraction:
    found = Fraction(scale).limit_denominator(64)
    # A scale that is a little off makes a pixel's weights hang on its place.
    if found <= 0 or np.float32(float(found)) != np.float32(scale):
        raise UnprovenError(f"{call.op} has the scale {scale:g}")
    return found


def _scale_to(call: Call, name: str, line: Line, target: Extent) -> Fraction:
    """The scale to a size that follows the window, or that is stored for the only window."""
    if target.axis == name and not line.extra and not target.extra:
        return target.ratio / line.ratio
    if target.axis == name and target.ratio == line.ratio and target.extra == line.extra:
        return Fraction(1)
    if not target.axis and call.window:
        side = call.window["hw".index(name)]
        return Fraction(target.extra) / (line.ratio * side + line.extra)
    raise UnprovenError(f"{call.op} scales to a size that does not follow the window")


def _resized(line: Line, *, scale: Fraction, mode: str, transform: str, rounding: str, op: str) -> Line:
    if scale == 1:
        return line
    if line.extra * scale != int(line.extra * scale):
        raise UnprovenError(f"{op} scales a size that is no multiple of the window's")
    ratio = line.ratio * scale
    n = n_phases(ratio, line.period)
    match transform:
        case "asymmetric":
            at = [Fraction(index) / scale for index in range(n)]
        case "tf_half_pixel_for_nn":
            at = [(index + Fraction(1, 2)) / scale for index in range(n)]
        case "half_pixel" | "pytorch_half_pixel":
            at = [(index + Fraction(1, 2)) / scale - Fraction(1, 2) for index in range(n)]
        case _:
            raise UnprovenError(f"{op} with {transform} depends on the window's size")
    if mode == "nearest":
        stored = Fraction(float(np.float32(float(scale))))
        roundings = ("floor", "ceil") if rounding == "simple" else (rounding,)
        positions = np.array(
            [[_nearest(each, kind, exact=stored == scale) for kind in roundings] for each in at], np.int64
        )
    else:
        wide = TAPS[mode] // 2
        positions = np.array([[floor(each) + tap for tap in range(1 - wide, wide + 1)] for each in at], np.int64)
        positions = _with_rounding(positions, scale)
    return line.read(positions, ratio=ratio, extra=int(line.extra * scale))


def _with_rounding(positions: NDArray[np.int64], scale: Fraction) -> NDArray[np.int64]:
    """Positions with a pixel more on each side for a scale that is no power of two, whose arithmetic rounds."""
    if scale.numerator & (scale.numerator - 1) or scale.denominator & (scale.denominator - 1):
        return np.concatenate([positions[:, :1] - 1, positions, positions[:, -1:] + 1], axis=1)
    return positions


def _nearest(at: Fraction, rounding: str, *, exact: bool) -> int:
    tie = floor(at) if rounding in {"floor", "ceil"} else floor(at) + Fraction(1, 2)
    if not exact and min(abs(at - tie), abs(at - tie - 1)) < TIE:
        raise UnprovenError("a nearest resize rounds at a tie, so a pixel's place decides")
    match rounding:
        case "floor":
            return floor(at)
        case "ceil":
            return ceil(at)
        case "round_prefer_ceil":
            return floor(at + Fraction(1, 2))
        case _:
            return ceil(at - Fraction(1, 2))


def after_pad(call: Call) -> PixelTensor:
    """After padding, however it is filled: padded pixels lie outside the window, and count as such."""
    pixels = call.pixels()
    pads = call.numbers(1, "pads") or call.attributes.get("paddings")
    if not pads:
        raise UnprovenError("Pad has no numbers that are known")
    axes = call.numbers(3) or list(range(len(pads) // 2))
    given = {pixels.from_end(int(axis)): at for at, axis in enumerate(axes)}

    def after(name: str, line: Line) -> Line:
        at = given.get(pixels.places[name])
        if at is None:
            return line
        first, last = int(pads[at]), int(pads[at + len(axes)])
        return shifted(line, start=-first, step=1, extra=line.extra + first + last)

    return pixels.mapped(after)


def after_slice(call: Call) -> PixelTensor:
    """After a cut that begins at a stored place and ends at the end, or a stored number of pixels before it."""
    pixels = call.pixels()
    starts, ends = call.numbers(1, "starts") or [], call.extents(2)
    if ends is None:
        ends = tuple(Extent(axis="", extra=each) for each in call.attributes["ends"])
    axes = call.numbers(3, "axes") or list(range(len(starts)))
    refuse_elsewhere(call, pixels, zip(map(int, axes), ends, strict=False))
    steps = call.numbers(4) or [1] * len(starts)
    given = {pixels.from_end(int(axis)): at for at, axis in enumerate(axes)}

    def after(name: str, line: Line) -> Line:
        at = given.get(pixels.places[name])
        if at is None:
            return line
        start, step = int(starts[at]), int(steps[at])
        if start < 0 or step < 1:
            raise UnprovenError("Slice counts from the end of the window")
        end = _end(call, name, line, ends[at])
        n_phases(line.ratio / step, line.period)
        return shifted(line, start=start, step=step, extra=-((start - end) // step))

    return pixels.mapped(after)


def _end(call: Call, name: str, line: Line, end: Extent) -> int:
    """The `extra` of a line cut off at an end."""
    if not end.axis and end.extra >= TO_END:
        return line.extra
    if not end.axis and end.extra < 0:
        return line.extra + end.extra
    if not end.axis and call.window:
        return min(line.extra, end.extra - int(line.ratio * call.window["hw".index(name)]))
    if end.axis == name and end.ratio == line.ratio:
        return min(line.extra, end.extra)
    raise UnprovenError("Slice cuts at a stored place, whatever the window's size")


def after_cells(call: Call) -> PixelTensor:
    """After DepthToSpace or SpaceToDepth."""
    pixels = call.pixels()
    block = call.attributes["blocksize"]
    change: Callable[..., Line] = cells_split if call.op == "DepthToSpace" else cells_joined
    if any(place < -2 for place in pixels.places.values()):
        raise UnprovenError(f"{call.op} runs over other axes than height and width")
    return pixels.mapped(lambda _, line: change(line, block=block))


KERNELS: Final[dict[str, Callable[[Call], Value]]] = {
    **dict.fromkeys(("Conv", "ConvInteger", "QLinearConv", "MaxPool", "AveragePool", "LpPool"), after_kernel),
    "ConvTranspose": after_transposed,
    "Resize": after_resize,
    "Upsample": after_resize,
    "Pad": after_pad,
    "Slice": after_slice,
    "DepthToSpace": after_cells,
    "SpaceToDepth": after_cells,
}
"""What each operator that reads neighbours makes of the reach."""
