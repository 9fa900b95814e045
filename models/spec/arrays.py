"""Where each dimension of a model's array stands: the card's `dim_order` as one of six meanings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.models.fields import CardField


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

DATA_TYPES: Final = (
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "float32",
    "float64",
)
"""Data types of the raster extension v1.1 that an ONNX graph takes and numpy holds."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayShape:
    """`shape` with -1 where free, one name of `dim_order` per dimension, `data_type` a numpy name."""

    shape: tuple[int, ...]
    dim_order: tuple[str, ...]
    data_type: str


def read_shape(field: CardField, key: str) -> ArrayShape:
    """The array under `input` or `result` of one entry. Raises CardError naming shape, dim_order or data_type."""
    array = field.child(key)
    shape = array.content.get("shape")
    if not isinstance(shape, list) or not shape or not all(type(n) is int and (n > 0 or n == -1) for n in shape):
        raise array.refuse("shape", "write a list of sizes, -1 where a size is free")
    dim_order = array.texts("dim_order")
    if len(dim_order) != len(shape):
        raise array.refuse("dim_order", f"write one name for each of the {len(shape)} dimensions of shape")
    return ArrayShape(shape=tuple(shape), dim_order=dim_order, data_type=array.choice("data_type", DATA_TYPES))
