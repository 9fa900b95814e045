"""Resizes windows with separable weights, the same for every window of a batch."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


CUBIC = -0.75
"""The `a` of the cubic kernel. Source: OpenCV INTER_CUBIC and torch `interpolate(mode="bicubic")`."""


def resize(values: NDArray[np.float32], *, size: tuple[int, int], method: str) -> NDArray[np.float32]:
    """The values (..., height, width) float32 resized to `size` (height, width); pixel centres lie at half pixels.

    `method` is MLM's `resize_type`: interpolation-nearest, -linear and -cubic (no antialiasing, edges repeated),
    -area (mean of the area a pixel covers), -max (largest value in it). A pixel is NaN if its kernel covers a NaN.
    """
    height, width = values.shape[-2:]
    if (height, width) == size:
        return values
    if method == "interpolation-nearest":
        rows, cols = nearest_source(height, size[0]), nearest_source(width, size[1])
        return np.ascontiguousarray(values[..., rows[:, None], cols])
    if method == "interpolation-max":
        return _max(_max(values, size[0], axis=-2), size[1], axis=-1)
    rows_weights, cols_weights = resize_weights(height, size[0], method), resize_weights(width, size[1], method)
    return np.ascontiguousarray(rows_weights @ (values @ cols_weights.T))


def nearest_source(length: int, target: int) -> NDArray[np.intp]:
    """For each of `target` pixels the index of the one of `length` pixels that holds its centre."""
    return np.minimum(((np.arange(target) + 0.5) * length / target).astype(np.intp), length - 1)


def _max(values: NDArray[np.float32], target: int, *, axis: int) -> NDArray[np.float32]:
    """The largest value of the pixels that each target pixel covers, along one axis."""
    length = values.shape[axis]
    starts = np.arange(target) * length // target
    stops = -(-(np.arange(target) + 1) * length // target)
    parts = [np.take(values, range(a, b), axis=axis).max(axis=axis) for a, b in zip(starts, stops, strict=True)]
    return np.stack(parts, axis=axis)


@lru_cache(maxsize=32)
def resize_weights(length: int, target: int, method: str) -> NDArray[np.float32]:
    """The (target, length) float32 matrix of `method` (linear, cubic or area); its rows sum to one."""
    matrix = np.zeros((target, length))
    if method == "interpolation-area":
        edges = np.arange(target + 1) * length / target
        pixels = np.arange(length)
        overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
        matrix = np.clip(overlap, 0, None) * target / length
        return matrix.astype(np.float32)
    centre = (np.arange(target) + 0.5) * length / target - 0.5
    base = np.floor(centre).astype(np.intp)
    reach = 1 if method == "interpolation-linear" else 2
    for offset in range(1 - reach, reach + 1):
        source = base + offset
        weight = _kernel(np.abs(centre - source), reach)
        np.add.at(matrix, (np.arange(target), np.clip(source, 0, length - 1)), weight)
    return matrix.astype(np.float32)


def _kernel(distance: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    if reach == 1:
        return np.clip(1 - distance, 0, None)
    near = (CUBIC + 2) * distance**3 - (CUBIC + 3) * distance**2 + 1
    far = CUBIC * (distance**3 - 5 * distance**2 + 8 * distance - 4)
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
