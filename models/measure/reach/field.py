"""The receptive field of a model, and how a proof and a measurement of it agree."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import lcm
from typing import TYPE_CHECKING

from tilewright.models.measure.reach.values import Unproven

if TYPE_CHECKING:
    from tilewright.models.measure.reach.bound import Bound


# Relative to the outputs' own standard deviation: a smaller difference is, or equals, arithmetic noise.
TOLERANCE = 1e-4

VERDICTS = ("bounded", "measured", "effectively-bounded", "unbounded")
"""From best to worst: a joint model is as bounded as its least bounded member."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceptiveField:
    """The receptive field of a model, in pixels of its finest input (those of the output if `tw:scale` is 1).

    `radius`: no output pixel depends on an input pixel farther away; None if the receptive field is unbounded.
    `trim`: pixels to cut from each side of windows that start at multiples of `stride`, itself a multiple of `stride`;
    None if `radius` is None. It may be below the radius rounded up, because the borders of such windows never lie at
    the worst positions.
    `stride`: the total stride; windows start at multiples of it and their size is a multiple of it.
    `verdict`: bounded (no pixel can have an effect from beyond `radius`: proven from the graph's operators), measured
    (none was seen from beyond, but the operators prove nothing), effectively-bounded (effects from beyond are below
    `tolerance` of the outputs' standard deviation), or unbounded; `reason` says why in one sentence.
    `mates` says why it is not proven that the windows of a batch do not see each other, empty if it is.
    `measured` is the radius that was seen by running the graph, `seen` says on which pixels and windows.
    `difference`: the largest difference between windows with this trim and a whole image, relative to the outputs'
    standard deviation (for classes the share of differing pixels); None if no two windows could be compared.
    `window`: the side of the only windows that the graph takes although its shapes leave it free; None if there is no
    such size. `one_by_one`: the graph takes one window a call although its shapes leave the number free.
    """

    radius: int | None
    stride: int
    verdict: str
    reason: str
    tolerance: float = TOLERANCE
    trim: int | None = None
    difference: float | None = None
    window: int | None = None
    one_by_one: bool = False
    measured: int | None = None
    seen: str = ""
    mates: str = ""


def settled(field: ReceptiveField, bound: Bound | Unproven, *, window: tuple[int, int] | None = None) -> ReceptiveField:
    """A measured field with the trim that the operators prove, or called measured if they prove nothing.

    The proven trim is taken even where less was measured: pixels that were not tried may reach farther. `window` is the
    only window of the graph; if that has no room for the proven trim, the measured one stays, and is called so.
    """
    field = replace(field, measured=field.radius)
    if field.radius is None or field.trim is None:
        return field
    if isinstance(bound, Unproven):
        return _called_measured(field, bound.reason)
    if field.verdict == "bounded" and field.radius > bound.radius:
        return _called_measured(
            field, f"it was felt {field.radius} px away, beyond the {bound.radius} of its operators"
        )
    stride = lcm(field.stride, bound.stride)
    if window and min(window) - 2 * bound.trim < stride:
        return _called_measured(field, f"its window of {min(window)} px has no room for a trim of {bound.trim}")
    return replace(
        field,
        radius=bound.radius,
        trim=bound.trim,
        stride=stride,
        verdict="bounded",
        reason="none of its operators reaches farther, whatever the pixels",
    )


def _called_measured(field: ReceptiveField, why: str) -> ReceptiveField:
    """The field without the word bounded; what fades stays called so."""
    if field.verdict != "bounded":
        return field
    return replace(
        field, verdict="measured", reason=f"nothing was felt from farther away, but that is not proven: {why}"
    )
