"""The shape, dimension names and data type of one array of a card (`input` or `result`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from models.card_field import CardField

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
