"""Where each dimension of a model's array stands: the card's `dim_order` as one of six meanings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

AXES: Final = {
    "batch": "batch",
    "time": "time",
    "step": "time",
    "bands": "bands",
    "band": "bands",
    "channel": "bands",
    "channels": "bands",
    "feature": "bands",
    "features": "bands",
    "height": "height",
    "y": "height",
    "width": "width",
    "x": "width",
}
"""Dimension names of inputs and the axis each means; anything else is not an axis Tilewright can fill.

Source: MLM extension, Model Input Object, `dim_order` common names, and the spellings in use beside them.
"""


def input_axes(dim_order: Sequence[str]) -> tuple[str, ...] | None:
    """The axes batch, time, bands, height, width in the order of the array, or None when a name is unknown or twice."""
    axes = tuple(AXES.get(name, "?") for name in dim_order)
    return None if "?" in axes or len(set(axes)) != len(axes) else axes


def output_axes(dim_order: Sequence[str]) -> tuple[str, ...] | None:
    """The axes batch, height, width and `channel` (any number: classes, bands, time, embedding), in the array's order.

    None when batch, height or width stands twice, or only one of height and width is there.
    """
    axes = tuple(
        axis if (axis := AXES.get(name, "")) in {"batch", "height", "width"} else "channel" for name in dim_order
    )
    spatial = [axis for axis in axes if axis != "channel"]
    unpaired = ("height" in axes) != ("width" in axes)
    return None if unpaired or len(set(spatial)) != len(spatial) or "batch" not in axes else axes
