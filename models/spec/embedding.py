"""Embeddings: vectors that a model gives per window or per pixel, how they are compared, and how they are stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from tilewright.models.spec.arrays import output_axes

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tilewright.models.fields import CardField
    from tilewright.models.spec.arrays import ArrayShape

TASK: Final = "similarity-search"

METRICS: Final = ("cosine", "dot", "euclidean")

STORAGES: Final = ("float16", "int8", "float32")

LONGEST: Final = 8192
"""Numbers of the longest vector: several times those of published encoders."""

NO_VECTOR: Final = -128
"""All numbers of an int8 vector where there is none; those of a vector lie in -127..127."""

STEPS: Final = 127
"""Whole numbers of an int8 vector from 0 to the largest amount in it."""

DIMENSION: Final = "vector"
"""The third dimension of an array of vectors, beside y and x."""

SCALE: Final = "_scale"
"""Ending of the layer that holds the scales of int8 vectors."""

IDS, MASK = "input_ids", "attention_mask"
"""Inputs of a text tower, by the names that exporters give them."""

NOT_BESIDE: Final = (
    *("classification:classes", "tw:instances", "tw:boxes", "tw:threshold"),
    *("tw:valid_range", "tw:outside", "tw:unit", "tw:activation"),
)
"""Fields of an output that say nothing of a vector."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingSpec:
    """How the vectors of an output are compared, and the type in which they are stored."""

    metric: Literal["cosine", "dot", "euclidean"] = "cosine"
    storage: Literal["float16", "int8", "float32"] = "float16"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSpec:
    """The text tower of an embedding: its graph and its tokenizer as files, with their sha256 in hex.

    The vectors that it gives of words are compared with those of pixels.
    """

    model: Path
    tokenizer: Path
    sha256: tuple[str, str]


def read_embedding(field: CardField, array: ArrayShape) -> EmbeddingSpec:
    """The `tw:embedding` of one output whose result is `array`. Raises CardError naming the field."""
    told = field.child("tw:embedding")
    told.only(("metric", "storage"))
    if TASK not in field.texts("tasks"):
        raise field.refuse("tasks", f"an output with tw:embedding has the task {TASK}")
    for key in NOT_BESIDE:
        if field.has(key):
            raise field.refuse(key, "remove it: a vector of tw:embedding is stored whole, as the graph gives it")
    axes = output_axes(array.dim_order) or ()
    sizes = [n for n, axis in zip(array.shape, axes, strict=False) if axis == "channel"]
    result = field.child("result")
    if axes and (not sizes or min(sizes) < 1):
        raise result.refuse("shape", "write the length of a vector: the channels of an embedding have a fixed number")
    if sizes and not 2 <= np.prod(sizes, dtype=object) <= LONGEST:
        raise result.refuse("shape", f"a vector of an embedding has 2 to {LONGEST} numbers")
    if len(field.texts("tw:layers")) > 1:
        raise field.refuse("tw:layers", "write one name: an embedding is one layer, whatever its length")
    if (field.texts("tw:layers") or (field.text("name"),))[0] == DIMENSION:
        raise field.refuse("tw:layers", f"write another name: {DIMENSION} is the dimension of the numbers of a vector")
    metric, storage = told.choice("metric", METRICS, "cosine"), told.choice("storage", STORAGES, "float16")
    return EmbeddingSpec(
        metric="dot" if metric == "dot" else "euclidean" if metric == "euclidean" else "cosine",
        storage="int8" if storage == "int8" else "float32" if storage == "float32" else "float16",
    )


def encoded(vectors: NDArray[np.float32], storage: str) -> tuple[NDArray[np.generic], NDArray[np.float32] | None]:
    """Vectors (..., number) as they are stored, and the scales (...) of int8, None otherwise.

    A vector is its stored numbers times its scale; the scale is the largest amount in it by 127, of the vector alone,
    so that it depends on no other. Where a number is not finite, or too large for float16, there is no vector: NaN, or
    -128 with the scale NaN.
    """
    finite = np.asarray(np.isfinite(vectors).all(axis=-1))
    if storage != "int8":
        with np.errstate(over="ignore"):
            stored = vectors.astype(storage)
        stored[~(finite & np.isfinite(stored).all(axis=-1))] = np.nan
        return stored, None
    vectors = np.where(finite[..., np.newaxis], vectors, np.float32(0))
    scales = (np.abs(vectors).max(axis=-1) / np.float32(STEPS)).astype(np.float32)
    # A vector of zeros, or of amounts below the smallest float, is zeros of any scale.
    scales = np.where(scales > 0, scales, np.float32(1))
    stored = np.clip(np.rint(vectors / scales[..., np.newaxis]), -STEPS, STEPS).astype(np.int8)
    stored[~finite] = NO_VECTOR
    return stored, np.where(finite, scales, np.float32(np.nan))


def decoded(stored: NDArray[np.generic], scales: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """Vectors (..., number) float32 from `encoded`; NaN where there is none."""
    vectors = stored.astype(np.float32)
    return vectors if scales is None else vectors * scales[..., np.newaxis]
