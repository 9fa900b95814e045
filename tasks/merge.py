"""From windows to a block: each window's scores are cut or blended into the block's, nodata is restored once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tasks.grid import PixelBox
    from tasks.tiles import Lattice, Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Blend:
    """Scores of a block being blended: ``total`` (K, H, W) float32 sums, ``weight`` (H, W) float32 sums."""

    inner: PixelBox
    total: np.ndarray
    weight: np.ndarray

    def add(self, window: PixelBox, scores: np.ndarray, weights: np.ndarray) -> None:
        """Add one window's scores (K, h, w) with its weights (h, w). Windows must come in lattice order.

        Float sums depend on their order; a fixed one makes a pixel the same in every block that computes it.
        """
        seen = window.intersect(self.inner)
        if seen.empty:
            return
        here, there = seen.slices_in(self.inner), seen.slices_in(window)
        self.total[(slice(None), *here)] += scores[(slice(None), *there)] * weights[there]
        self.weight[here] += weights[there]

    def scores(self) -> np.ndarray:
        """The weighted mean (K, H, W) float32, NaN where no window had a say."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.total / np.where(self.weight > 0, self.weight, np.nan)


def start_blend(inner: PixelBox, *, n_scores: int) -> Blend:
    """An empty blend over a block."""
    return Blend(
        inner=inner,
        total=np.zeros((n_scores, *inner.shape), dtype=np.float32),
        weight=np.zeros(inner.shape, dtype=np.float32),
    )


def blend_weights(lattice: Lattice, *, size: tuple[int, int]) -> np.ndarray:
    """Weights (h, w) float32 of a window's pixels: 1 in the core's middle, falling linearly to nearly 0 at the rim.

    The outermost ``trim / 2`` pixels, where a window knows least, get the smallest weight there is; it stays above 0
    so that a pixel whose other windows were skipped still has a value.
    """
    ramps = [_ramp(length, rim=max(1, lattice.trim * length // lattice.window)) for length in size]
    return np.outer(*ramps).astype(np.float32)


def kept_scores(window: Window, scores: np.ndarray, *, up: int, down: int) -> np.ndarray:
    """The part (K, h, w) of a window's scores (K, H, W) that may be used; H = window height * up / down."""
    kept = window.kept.rescale(numerator=up, denominator=down)
    outer = window.outer.rescale(numerator=up, denominator=down)
    return scores[(slice(None), *kept.slices_in(outer))]


def _ramp(length: int, *, rim: int) -> np.ndarray:
    distance = np.minimum(np.arange(length), np.arange(length)[::-1]) + 0.5
    return np.clip(distance / rim, 1e-3, 1.0)
