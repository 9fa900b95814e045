"""Arithmetic with the sizes of layers, as exporters write it to bring one layer to the size of another."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Final

from tilewright.models.measure.reach.lines import UnprovenError, n_phases
from tilewright.models.measure.reach.values import Constant, Extent, PixelTensor, Sizes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tilewright.models.measure.reach.call import Call

KEPT: Final = ("Cast", "Identity", "Unsqueeze", "Squeeze", "Reshape")
"""Operators that leave the numbers of a shape as they are."""

MOST_NUMBERS: Final = 64
"""Numbers beyond which a constant is no part of a shape."""


def shape_of(call: Call) -> Sizes:
    """The shape of a layer: its height and width follow the window's."""
    pixels = call.input(0)
    if not isinstance(pixels, PixelTensor):
        raise UnprovenError("Shape of numbers that are no layer")
    extents = [Extent()] * pixels.rank
    for name, place in pixels.places.items():
        line = pixels.lines[name]
        extents[place] = Extent(axis=name, ratio=line.ratio, extra=line.extra)
    first, last = call.attributes.get("start", 0), call.attributes.get("end")
    return Sizes(extents=tuple(extents[first:last]))


def computed_sizes(call: Call) -> Sizes:
    """Numbers picked from shapes, joined, or multiplied by stored whole numbers."""
    if call.op in KEPT:
        return Sizes(extents=_extents(call, 0))
    match call.op:
        case "Concat":
            return Sizes(extents=tuple(each for at in range(len(call.inputs)) for each in _extents(call, at)))
        case "Gather":
            extents = _extents(call, 0)
            return Sizes(extents=tuple(extents[int(each)] for each in call.numbers(1) or []))
        case "Slice":
            starts, ends = call.numbers(1, "starts") or [0], call.numbers(2, "ends") or [None]
            step = (call.numbers(4) or [1])[0]
            return Sizes(extents=_extents(call, 0)[starts[0] : ends[0] : step])
        case "Mul" | "Div" | "Add" | "Sub":
            return _arithmetic(call)
    raise UnprovenError(f"{call.op} computes with the window's size")


def refuse_elsewhere(call: Call, pixels: PixelTensor, numbers: Iterable[tuple[int, Extent]]) -> None:
    """Raise UnprovenError if a number for an axis (from either end) that is not in space follows the window's size."""
    if any(each.axis not in {"", "?"} and not pixels.is_spatial(axis) for axis, each in numbers):
        raise UnprovenError(f"{call.op} makes as many layers as the window's size says")


def _extents(call: Call, index: int) -> tuple[Extent, ...]:
    value = call.input(index)
    if isinstance(value, Sizes):
        return value.extents
    if isinstance(value, Constant) and prod(value.shape) <= MOST_NUMBERS:
        return tuple(_number(call, each) for each in value.numbers())
    raise UnprovenError(f"{call.op} computes with the window's size")


def _number(call: Call, number: float) -> Extent:
    if int(number) != number:
        raise UnprovenError(f"{call.op} computes with the window's size")
    return Extent(axis="", extra=int(number))


def _arithmetic(call: Call) -> Sizes:
    left, right = _extents(call, 0), _extents(call, 1)
    if len(left) != len(right) and 1 not in {len(left), len(right)}:
        raise UnprovenError(f"{call.op} computes with the window's size")
    n = max(len(left), len(right))
    pairs = zip(left * (n // len(left)), right * (n // len(right)), strict=True)
    return Sizes(extents=tuple(_computed(call, one, other) for one, other in pairs))


def _computed(call: Call, one: Extent, other: Extent) -> Extent:
    if "?" in {one.axis, other.axis}:
        if not {one.axis, other.axis} <= {"", "?"}:
            raise UnprovenError(f"{call.op} computes with the window's size")
        return Extent()
    if one.axis == "" and call.op in {"Mul", "Add"}:
        one, other = other, one
    if other.axis == "":
        number = other.extra
        match call.op:
            case "Mul":
                return replace(one, ratio=one.ratio * number, extra=one.extra * number)
            case "Add":
                return replace(one, extra=one.extra + number)
            case "Sub":
                return replace(one, extra=one.extra - number)
            case "Div" if number > 0 and one.extra % number == 0:
                # A window whose side it does not divide would be rounded: such a graph repeats less often.
                n_phases(one.ratio / number, call.period)
                return replace(one, ratio=one.ratio / number, extra=one.extra // number)
    raise UnprovenError(f"{call.op} computes with the window's size")
