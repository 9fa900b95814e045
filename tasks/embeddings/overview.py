"""An embedding as a small map: how far each vector lies along the direction in which all of them differ most."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tilewright.models.spec.embedding import SCALE, decoded
from tilewright.models.spec.outputs import LayerSpec
from tilewright.tasks.embeddings.window_table import has_vector
from tilewright.tasks.zarr.store import LayerRows
from tilewright.tasks.zarr.thumbnail import thumbnail_shape

if TYPE_CHECKING:
    from tilewright.tasks.zarr.store import ProductStore

MOST_NUMBERS = 2**23
"""Numbers of the vectors that are looked at."""

ROUNDS = 50
"""Steps of the power iteration: what is drawn needs no more digits than colours have."""


def vector_map(store: ProductStore, spec: LayerSpec, *, max_size: int) -> tuple[LayerSpec, np.ndarray]:
    """The first principal component of some vectors, spread evenly, as a layer of values (y, x) float32, NaN where
    there is none; the longer side has ``max_size`` pixels at most.

    Its direction is the one in which its largest number is positive. Raises what `LayerRows.rows` raises.
    """
    height, width = store.extent.shape
    side = max(1, math.isqrt(MOST_NUMBERS * max(height, width) // (spec.length * min(height, width))))
    shape = thumbnail_shape(store.extent.shape, min(max_size, side))
    rows, cols = (((np.arange(n) + 0.5) * of / n).astype(np.intp) for n, of in zip(shape, (height, width), strict=True))
    vectors = LayerRows(store=store, name=spec.name, box=store.extent)
    scales = LayerRows(store=store, name=spec.name + SCALE, box=store.extent)
    made = np.empty((*shape, spec.length), dtype=np.float32)
    for number, row in enumerate(rows.tolist()):
        stored = vectors.rows(row, row + 1)[0][cols]
        scale = scales.rows(row, row + 1)[0][cols] if spec.dtype == "int8" else None
        made[number] = np.where(has_vector(stored)[:, np.newaxis], decoded(stored, scale), np.float32(np.nan))
    there = ~np.isnan(made[..., 0])
    values = np.full(shape, np.nan, dtype=np.float32)
    values[there] = _first_component(made[there])
    title = f"{spec.name}: the direction in which vectors differ most"
    return LayerSpec(name=spec.name, kind="value", source="vector", description=title), values


def _first_component(vectors: np.ndarray) -> np.ndarray:
    """Where vectors (n, number) lie along their first principal component, (n,) float32.

    Source: power iteration, Golub and Van Loan, Matrix Computations, section 7.3.
    """
    if not len(vectors):
        return np.zeros(0, dtype=np.float32)
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    direction = centred[np.argmax(np.abs(centred).sum(axis=1))].copy()
    for _ in range(ROUNDS):
        size = np.linalg.norm(direction)
        if size == 0:
            break
        direction = centred.T @ (centred @ (direction / size))
    size = np.linalg.norm(direction)
    direction = direction / size if size else direction
    direction *= np.sign(direction[np.argmax(np.abs(direction))]) or 1.0
    return np.asarray(centred @ direction, dtype=np.float32)
