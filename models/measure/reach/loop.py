"""How far a loop reaches that runs a graph several times: what one evaluation sees, the next one sees of that."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tilewright.models.measure.reach.field import ReceptiveField


LONGEST_TRIM: Final = 1024
"""Pixels that windows lose on a side at most, unless the card asks for more: four fifths and more of what is computed
would be thrown away."""


def looped(field: ReceptiveField, *, evaluations: int, most: int = LONGEST_TRIM) -> ReceptiveField:
    """The receptive field of a loop around a graph with the field of one evaluation.

    After an evaluation a window of stride-aligned sides is right but for its trim, and so is an aligned window without
    it: each further one costs the same again, whatever the pixels. What only fades has no such rule.
    """
    if field.radius is None or field.trim is None or evaluations == 1:
        return field
    if field.verdict == "effectively-bounded":
        return _unbounded(
            field,
            f"in one evaluation it fades beyond {field.radius} px, and {evaluations} of them may bring it back",
        )
    radius, trim = field.radius * evaluations, field.trim * evaluations
    if trim > most:
        return _unbounded(field, _too_far(f"{evaluations} evaluations of {field.trim} px each", trim, most))
    return replace(
        field,
        radius=radius,
        trim=trim,
        reason=f"{field.reason}; {evaluations} evaluations, each {field.radius} px",
        difference=None,
        measured=None,
        seen="",
    )


def averaged(
    field: ReceptiveField, *, evaluations: int, window: int, step: int, most: int = LONGEST_TRIM
) -> ReceptiveField:
    """The receptive field of a loop that averages windows of `window` px, `step` apart, in each evaluation.

    `field` is that of the graph in such a window. A pixel sees the windows that hold it, and no farther, whatever the
    graph does inside of them: that is proven. The windows begin at multiples of `step` on the ground. The rim of a
    larger window has not all of them, which is `window - step` pixels; each further evaluation brings what was wrong as
    far as the graph sees, at most to the other side of a window.
    """
    sees = window - step
    if field.radius is not None and field.verdict == "bounded":
        sees = min(sees, field.radius)
    trim = ceil((window - step + (evaluations - 1) * sees) / step) * step
    field = replace(field, stride=step, window=None, difference=None, seen="")
    if trim > most:
        words = f"{evaluations} evaluations of windows of {window} px, {step} px apart"
        return _unbounded(field, _too_far(words, trim, most))
    return replace(
        field,
        radius=evaluations * (window - 1),
        trim=trim,
        verdict="bounded",
        reason=f"{evaluations} evaluations see no farther than the windows of {window} px that they average",
        measured=None,
    )


def _too_far(what: str, trim: int, most: int) -> str:
    return f"{what} reach {trim} px, farther than the {most} px that windows are trimmed by"


def _unbounded(field: ReceptiveField, reason: str) -> ReceptiveField:
    return replace(field, radius=None, trim=None, verdict="unbounded", reason=reason, seen="", difference=None)
