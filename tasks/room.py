"""How much disk a product takes while it is made, told from its shape alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

PACKED = {"class": 0.05, "percent": 0.25, "value": 0.7}
"""Share of a layer's plain size that is left once it is compressed. From the low side of real maps: a refusal must not
turn away a product that would have fitted; a larger one still stops with a clear sentence when the disk is full."""

OBSERVATIONS = ("class", "uint16")
"""The counts of observations compress like classes: large areas of one number."""

SMALLER_LEVELS = 4 / 3
"""A pyramid on top of a raster: 1 + 1/4 + 1/16 + ..."""

STAGING = 2.5
"""Times its own size that a COG takes beside it while it is made (`tasks.cog.write_cog`)."""


def room_needed(layers: Iterable[tuple[str, str]], *, shape: tuple[int, int], share_left: float) -> int:
    """Bytes that must be free for layers of (kind, dtype) and their observation counts over ``shape`` (H, W) pixels.

    ``share_left`` is the share of blocks that are not stored yet, 0 to 1. COGs are made one after the other, so that
    only the largest is ever staged.
    """
    files = [_bytes(kind, dtype, shape) * SMALLER_LEVELS for kind, dtype in layers]
    stored = [*files, _bytes(*OBSERVATIONS, shape) * SMALLER_LEVELS]
    return int(sum(stored) * share_left + sum(files) + STAGING * max(files, default=0.0))


def _bytes(kind: str, dtype: str, shape: tuple[int, int]) -> float:
    return float(shape[0] * shape[1] * np.dtype(dtype).itemsize * PACKED[kind])
