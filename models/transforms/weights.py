"""Weights of a window's pixels where windows overlap: full in the middle, falling towards the rim."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def window_weights(size: tuple[int, int], *, rims: tuple[int, int]) -> NDArray[np.float32]:
    """Weights (height, width) of a window's pixels: 1 in its middle, falling linearly to nearly 0 over its rims.

    `rims` are the pixels over which they fall, along rows and columns, on each side. They stay above 0, so that a pixel
    that no other window has still has a value.
    """
    ramps = [_ramp(length, rim=rim) for length, rim in zip(size, rims, strict=True)]
    weights: NDArray[np.float32] = np.outer(*ramps).astype(np.float32)
    return weights


def _ramp(length: int, *, rim: int) -> NDArray[np.float64]:
    distance = np.minimum(np.arange(length), np.arange(length)[::-1]) + 0.5
    return np.clip(distance / max(1, rim), 1e-3, 1.0)
