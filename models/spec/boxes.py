"""Boxes that a detector finds: what stands along the channels of its outputs, and when two are the same thing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from tilewright.models.spec.arrays import read_shape

if TYPE_CHECKING:
    from tilewright.models.fields import CardField
    from tilewright.models.spec.outputs import ClassSpec

CORNERS: Final = ("x1", "y1", "x2", "y2")

CENTRE: Final = ("cx", "cy", "w", "h")

SCORES: Final = ("objectness", "score", "nothing")
"""Channels of probabilities beside `score:<class name>`; `nothing` is that of no thing at all, among the classes."""

WORDS: Final = (*CORNERS, *CENTRE, "angle", "class", "ignored", *SCORES)
"""What a channel may hold, beside `score:<class name>`."""

MASK, COEFFICIENT, PROTOTYPE = "mask", "coefficient:*", "prototype:*"
"""What channels hold of the pixels of a thing: its mask, or as many factors as there are prototypes of masks.

The latter two stand for all channels that are not named; a factor is called `coefficient:0`, ... then."""

OF_CLASS: Final = "score:"

BOX: Final = np.dtype(
    [("x", "<f8"), ("y", "<f8"), ("w", "<f8"), ("h", "<f8"), ("angle", "<f8"), ("score", "<f8"), ("value", "u1")]
)
"""A box found: centre, width and height in pixels of the card's grid (x right, y down), the angle in radians that turns
`w` from x towards y, its score, and the value of its class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxOutput:
    """One output of the graph that tells of boxes: `channels` names what stands along its channel axis.

    `axes` are `batch`, `box` and `channel`, in the array's order, and `height` and `width` of masks; without `batch` it
    is of one window, without `channel` it has one. `activation` turns scores, and masks, into probabilities.
    """

    name: str
    shape: tuple[int, ...]
    dim_order: tuple[str, ...]
    data_type: str
    channels: tuple[str, ...]
    activation: Literal["softmax", "sigmoid", "none"] = "none"

    @property
    def axes(self) -> tuple[str, ...]:
        """The meaning of each dimension: batch, box, height, width, channel."""
        known = {"batch", "box", "height", "width"}
        return tuple("channel" if name not in known else name for name in self.dim_order)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class MasksSpec:
    """A layer of objects with a mask each: their `boxes`, whose outputs may tell scores and classes alone, and one more
    output, the `masks` of all boxes, or prototypes of them, of which the boxes have `n_coefficients` each.

    A pixel is an object's where its probability is `least_probability` or more. Overlap is that of masks.
    """

    boxes: BoxesSpec
    masks: BoxOutput
    n_coefficients: int
    least_probability: float

    @property
    def name(self) -> str:
        """The name of the layer."""
        return self.boxes.name

    @property
    def outputs(self) -> tuple[BoxOutput, ...]:
        """All outputs of the graph that tell of the objects."""
        return (*self.boxes.outputs, self.masks)

    @property
    def has_places(self) -> bool:
        """Whether the boxes say where they are; otherwise they lie around their masks."""
        return any({"cx", "x1"} & {*output.channels} for output in self.boxes.outputs)


def read_shaped_output(field: CardField, told: CardField) -> BoxOutput:
    """The output of masks, or of prototypes of masks. Raises CardError naming the field."""
    array = read_shape(field, "result")
    (channel, *others), result = told.texts("channels"), field.child("result")
    if others:
        raise told.refuse("channels", f"an output of {channel} has nothing else")
    activation = field.choice("tw:activation", ("sigmoid", "none"), "none")
    if channel == PROTOTYPE and activation != "none":
        raise field.refuse("tw:activation", "masks are the sigmoid of coefficients times prototypes: leave it out")
    if activation != "none" and not array.data_type.startswith("float"):
        raise result.refuse("data_type", "scores of pixels are float; whole numbers are masks of 0 and 1")
    output = BoxOutput(
        name=field.text("name"),
        shape=array.shape,
        dim_order=array.dim_order,
        data_type=array.data_type,
        channels=(channel,),
        activation="sigmoid" if activation == "sigmoid" else "none",
    )
    axes = sorted(axis for axis in output.axes if axis != "batch")
    wanted = [["channel", "height", "width"]] if channel == PROTOTYPE else [
        ["box", "channel", "height", "width"], ["box", "height", "width"],
    ]  # fmt: skip
    n_channels = array.shape[output.axes.index("channel")] if "channel" in axes else 1
    if axes not in wanted or output.axes.count("batch") > 1 or (channel == MASK and n_channels not in {-1, 1}):
        expected = "channel, height, width" if channel == PROTOTYPE else "box, channel (of one), height, width"
        raise result.refuse("dim_order", f"an output of {channel} has the dimensions {expected}, and may have batch")
    return output
