"""The meaning of each dimension of a model's array: the card's `dim_order` as one of seven axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tilewright.models.errors import CardError

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
    "token": "token",
    "tokens": "token",
}
"""The axis of each dimension name of an input; Tilewright cannot fill any other axis.

Source: MLM extension, Model Input Object, `dim_order` common names, and other spellings in use.
"""

SPATIAL: Final = ("height", "width")

LARGEST_SIDE: Final = 16384
"""Largest size of one dimension: no window is larger (`models/card/tile.py`)."""

MOST_DIMENSIONS: Final = 8
"""Most dimensions of an array; batch, time, bands, height and width are five."""

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
"""Data types of the raster extension v1.1 that both ONNX and numpy support."""


def input_axes(dim_order: Sequence[str]) -> tuple[str, ...] | None:
    """The axes batch, time, bands, height, width, token in the array's order; None if one is unknown or repeated."""
    axes = tuple(AXES.get(name, "?") for name in dim_order)
    return None if "?" in axes or len(set(axes)) != len(axes) else axes


def output_axes(dim_order: Sequence[str]) -> tuple[str, ...] | None:
    """The axes batch, height, width and `channel` (any number: classes, bands, time, embedding), in the array's order.

    None if batch, height or width is repeated, batch is absent, or only one of height and width is present.
    """
    axes = tuple(
        axis if (axis := AXES.get(name, "")) in {"batch", "height", "width"} else "channel" for name in dim_order
    )
    spatial = [axis for axis in axes if axis != "channel"]
    unpaired = ("height" in axes) != ("width" in axes)
    return None if unpaired or len(set(spatial)) != len(spatial) or "batch" not in axes else axes


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayShape:
    """An array of the card: `shape` (-1 where free), `dim_order` (one name per dimension), `data_type` (numpy name)."""

    shape: tuple[int, ...]
    dim_order: tuple[str, ...]
    data_type: str


def read_shape(field: CardField, key: str, *, largest: int = LARGEST_SIDE) -> ArrayShape:
    """The array under `input` or `result` of one entry, of sizes up to `largest`.

    Raises CardError naming shape, dim_order or data_type.
    """
    array = field.child(key)
    shape = array.content.get("shape")
    if not isinstance(shape, list) or not shape or not all(type(n) is int and (n > 0 or n == -1) for n in shape):
        raise array.refuse("shape", "write a list of sizes, -1 where a size is free")
    if len(shape) > MOST_DIMENSIONS or max(shape) > largest:
        raise array.refuse("shape", f"write at most {MOST_DIMENSIONS} sizes of at most {largest}")
    dim_order = array.texts("dim_order")
    if len(dim_order) != len(shape):
        raise array.refuse("dim_order", f"write one name for each of the {len(shape)} dimensions of shape")
    return ArrayShape(shape=tuple(shape), dim_order=dim_order, data_type=array.choice("data_type", DATA_TYPES))


def refuse_misplaced_channels(at: str, dim_order: Sequence[str], shape: Sequence[int], n_channels: int) -> None:
    """Refuse an order that calls height or width what has as many entries as there are bands or classes (their
    ``n_channels``), while the axis that it gives them is of any size: such a map would be of stripes. Raises CardError.
    """
    channels = [place for place, name in enumerate(dim_order) if name == "class" or AXES.get(name) == "bands"]
    fixed = [place for place, size in enumerate(shape) if size == n_channels and AXES.get(dim_order[place]) in SPATIAL]
    if len(channels) != 1 or len(fixed) != 1 or shape[channels[0]] > 0 or n_channels < 2:
        return
    others = [name for place, name in enumerate(dim_order) if place != channels[0]]
    better = [*others[: fixed[0]], dim_order[channels[0]], *others[fixed[0] :]]
    raise CardError(f"{at}.dim_order is {list(dim_order)}, and the graph's array {list(shape)}: write {better}")
