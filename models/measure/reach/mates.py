"""Operators that answer each window of a batch alone, when the batch axis is followed instead of height and width."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import reduce
from typing import TYPE_CHECKING, Final

from tilewright.models.measure.reach.lines import UnprovenError, input_line
from tilewright.models.measure.reach.sizes import refuse_elsewhere
from tilewright.models.measure.reach.values import Constant, Extent, PixelTensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from tilewright.models.measure.reach.call import Call
    from tilewright.models.measure.reach.values import Value


def first_axis(call: Call) -> PixelTensor:
    """After an operator that treats the windows along the first axis one by one, with stored weights."""
    pixels = call.pixels()
    _require_first(call, pixels)
    call.constants(range(1, len(call.inputs)))
    return pixels


def sampled(call: Call) -> PixelTensor:
    """After GridSample, whose places lie along the first axis too."""
    pixels, grid = call.pixels(), call.pixels(1)
    _require_first(call, pixels)
    _require_first(call, grid)
    if pixels.rank != grid.rank:
        raise UnprovenError("GridSample is not known")
    return pixels.joined(grid)


def over_given_axes(call: Call) -> PixelTensor:
    """After MeanVarianceNormalization, which takes the batch along unless it is told otherwise."""
    pixels = call.pixels()
    axes = call.attributes.get("axes") or [0, 2, 3]
    if any(pixels.is_spatial(int(axis)) for axis in axes):
        raise UnprovenError(f"{call.op} mixes the windows of a batch")
    return pixels


def flattened(call: Call) -> PixelTensor:
    """After Flatten from the second axis on."""
    pixels = call.pixels()
    _require_first(call, pixels)
    if call.attributes.get("axis", 1) != 1:
        raise UnprovenError("Flatten takes the batch along")
    return replace(pixels, rank=2, places=dict.fromkeys(pixels.places, -2))


def reshaped(call: Call) -> PixelTensor:
    """After a Reshape that keeps the windows along the first axis."""
    pixels, target = call.pixels(), call.extents(1) or ()
    if not pixels.lines:
        return replace(pixels, rank=len(target))
    _require_first(call, pixels)
    copied = Extent(axis="", extra=0)
    name = next(iter(pixels.lines))
    kept = target[0] == Extent(axis=name, ratio=Fraction(1)) or (
        target[0] == copied and not call.attributes.get("allowzero")
    )
    if not kept:
        raise UnprovenError("Reshape may mix the windows of a batch")
    refuse_elsewhere(call, replace(pixels, rank=len(target), places={name: -len(target)}), enumerate(target))
    return replace(pixels, rank=len(target), places=dict.fromkeys(pixels.places, -len(target)))


def multiplied(call: Call) -> PixelTensor:
    """After MatMul of layers or stored matrices, window by window along a leading axis."""
    pixels = [each for each in call.inputs if isinstance(each, PixelTensor)]
    place = next((at for each in pixels for at in each.places.values()), 0)
    if any(list(each.places.values()) != [place] for each in pixels):
        raise UnprovenError(f"{call.op} joins windows along other axes")
    rows = place == -2 and isinstance(call.input(1), Constant)
    if place > -3 and not rows:
        raise UnprovenError(f"{call.op} may mix the windows of a batch")
    for each in call.inputs:
        if isinstance(each, Constant) and not rows and len(each.shape) >= -place and each.shape[place] != 1:
            raise UnprovenError(f"{call.op} has a stored matrix for each window of a batch")
    return reduce(PixelTensor.joined, pixels)


def stored_for_each(call: Call) -> PixelTensor:
    """After Expand of stored numbers, or a constant, to the same for each window."""
    value, target = call.input(0), call.extents(1 if call.op == "Expand" else 0) or ()
    places = [index - len(target) for index, each in enumerate(target) if each.axis not in {"", "?"}]
    if len(places) != 1:
        raise UnprovenError(f"{call.op} makes a table of windows")
    (place,) = places
    if isinstance(value, Constant) and -place <= len(value.shape) and value.shape[place] != 1:
        raise UnprovenError(f"{call.op} makes a table of windows")
    name = target[place].axis
    return PixelTensor(rank=len(target), places={name: place}, lines={name: input_line(Fraction(1), 1)})


def _require_first(call: Call, pixels: PixelTensor) -> None:
    if any(place != -pixels.rank for place in pixels.places.values()):
        raise UnprovenError(f"{call.op} takes the windows of a batch along another axis")


FOR_EACH: Final = ("Expand", "ConstantOfShape")
"""Operators that make one of the same for each window, from stored numbers and a shape."""

MATES: Final[dict[str, Callable[[Call], Value]]] = {
    **dict.fromkeys(
        ("Conv", "ConvInteger", "QLinearConv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool", "GlobalMaxPool",
         "GlobalAveragePool", "GlobalLpPool", "InstanceNormalization", "GroupNormalization", "LRN", "DepthToSpace",
         "SpaceToDepth"),
        first_axis,
    ),
    "GridSample": sampled,
    "MeanVarianceNormalization": over_given_axes,
    "Flatten": flattened,
    "Reshape": reshaped,
    "MatMul": multiplied,
}  # fmt: skip
"""What each operator makes of the batch axis, where that differs from what it makes of height and width."""
