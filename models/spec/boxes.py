"""Boxes that a detector finds: what stands along the channels of its outputs, and when two are the same thing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

if TYPE_CHECKING:
    from tilewright.models.spec.outputs import ClassSpec

CORNERS: Final = ("x1", "y1", "x2", "y2")

CENTRE: Final = ("cx", "cy", "w", "h")

SCORES: Final = ("objectness", "score", "nothing")
"""Channels of probabilities beside `score:<class name>`; `nothing` is that of no thing at all, among the classes."""

WORDS: Final = (*CORNERS, *CENTRE, "angle", "class", "ignored", *SCORES)
"""What a channel may hold, beside `score:<class name>`."""

OF_CLASS: Final = "score:"

BOX: Final = np.dtype(
    [("x", "<f8"), ("y", "<f8"), ("w", "<f8"), ("h", "<f8"), ("angle", "<f8"), ("score", "<f8"), ("value", "u1")]
)
"""A box found: centre, width and height in pixels of the card's grid (x right, y down), the angle in radians that turns
`w` from x towards y, its score, and the value of its class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxOutput:
    """One output of the graph that tells of boxes: `channels` names what stands along its channel axis.

    `axes` are `batch`, `box` and `channel`, in the array's order; without `batch` it is of one window, without
    `channel` it has one. `activation` turns scores into probabilities.
    """

    name: str
    shape: tuple[int, ...]
    dim_order: tuple[str, ...]
    data_type: str
    channels: tuple[str, ...]
    activation: Literal["softmax", "sigmoid", "none"] = "none"

    @property
    def axes(self) -> tuple[str, ...]:
        """The meaning of each dimension: batch, box, channel."""
        return tuple("channel" if name not in {"batch", "box"} else name for name in self.dim_order)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxesSpec:
    """A table of boxes, told by one or several outputs.

    Boxes count from `least_score` on. Of two that overlap by more than `iou` (intersection over union) the one of the
    lower score is dropped; `per_class`: only if both are of one class. `unit`: coordinates are pixels of the window, or
    shares of it. `degrees`: so is the angle.
    """

    name: str
    classes: tuple[ClassSpec, ...]
    outputs: tuple[BoxOutput, ...]
    least_score: float
    iou: float
    per_class: bool
    unit: Literal["pixel", "window"] = "pixel"
    degrees: bool = False
    description: str = ""
