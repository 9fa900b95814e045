"""Grounds with texture, and the same ground seen from a little beside."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def ground(seed: int, *, size: int) -> np.ndarray:
    """Reflectance (size, size) of fields and finer texture, about 0.05 to 0.25."""
    random = np.random.default_rng(seed)
    fine, coarse = (ndimage.gaussian_filter(random.normal(size=(size, size)), sigma) for sigma in (1.5, 8))
    return 0.15 + 0.015 * fine / fine.std() + 0.02 * coarse / coarse.std()


def shifted(values: np.ndarray, east: float, north: float) -> np.ndarray:
    """What the values show, that many pixels farther east and north; mirrored at its edges."""
    return ndimage.shift(values, (-north, east), order=5, mode="mirror")
