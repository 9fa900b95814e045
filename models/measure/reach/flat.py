"""Axes of length 1 of layers that do not lie in space: such a layer, as that of a loop's time, is the same everywhere.

Only operators that are named here keep them; after any other, nothing is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tilewright.models.measure.reach.lines import UnprovenError
from tilewright.models.measure.reach.values import Constant, Extent, PixelTensor

if TYPE_CHECKING:
    from tilewright.models.measure.reach.call import Call
    from tilewright.models.measure.reach.values import Value


ONE: Final = Extent(axis="", extra=1)

KEPT: Final = ("Split", "Dropout")
"""Operators that leave the lengths of axes, or make them shorter."""


def refuse_hidden(call: Call, pixels: PixelTensor, index: int) -> None:
    """Raise UnprovenError if an input without height and width could vary along those that it is joined with."""
    value, ones = call.input(index), call.ones[index] if call.ones else frozenset[int]()
    if not isinstance(value, PixelTensor) or value.lines:
        return
    if any(-place <= value.rank and place not in ones for place in pixels.places.values()):
        raise UnprovenError(f"{call.op} joins a layer along axes that are not known")


def ones_after(call: Call, result: Value, *, elementwise: bool) -> frozenset[int]:
    """The axes of a result, counted from the last (-1), that are known to have length 1.

    `elementwise`: the operator joins the same place of all its inputs.
    """
    if not isinstance(result, PixelTensor) or result.lines:
        return frozenset()
    if call.op == "Reshape":
        target = call.extents(1) or ()
        return frozenset(at - len(target) for at, each in enumerate(target) if each == ONE)
    if call.op == "Unsqueeze":
        new = {int(axis) % result.rank for axis in call.numbers(1, "axes") or []}
        kept = [axis - result.rank for axis in range(result.rank) if axis not in new]
        before = {kept[axis] for axis in call.ones[0] if -axis <= len(kept)}
        return frozenset(before | {axis - result.rank for axis in new})
    if elementwise:
        return frozenset(axis for axis in range(-result.rank, 0) if all(_flat(call, axis)))
    return call.ones[0] if call.op in KEPT else frozenset()


def _flat(call: Call, axis: int) -> list[bool]:
    """Of each input, whether its length along an axis is 1, or it has none."""
    found = []
    for value, ones in zip(call.inputs, call.ones, strict=True):
        if isinstance(value, Constant):
            found.append(-axis > len(value.shape) or value.shape[axis] == 1)
        elif isinstance(value, PixelTensor):
            found.append(not value.lines and (-axis > value.rank or axis in ones))
        else:
            found.append(value is None)
    return found
