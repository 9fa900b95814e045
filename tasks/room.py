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

AT_ONCE = 4
"""Files made side by side at most, however many cores there are: each holds its rows and its staged copy."""

STAGING = 2.5
"""Times its own size that a COG takes beside it while it is made (`tasks.cog.write_cog`)."""


def room_needed(
    layers: Iterable[tuple[str, str]], *, shape: tuple[int, int], share_left: float, n_parts: int = 1
) -> int:
    """Bytes that must be free for layers of (kind, dtype) and their observation counts over ``shape`` (H, W) pixels.

    ``share_left`` is the share of blocks that are not stored yet, 0 to 1; ``n_parts`` files hold a layer. At most
    ``AT_ONCE`` files are staged at a time.
    """
    files = [_bytes(kind, dtype, shape) * SMALLER_LEVELS for kind, dtype in layers]
    stored = [*files, _bytes(*OBSERVATIONS, shape) * SMALLER_LEVELS]
    staged = sorted((size / n_parts for size in files for _ in range(min(n_parts, AT_ONCE))), reverse=True)
    return int(sum(stored) * share_left + sum(files) + STAGING * sum(staged[:AT_ONCE]))


def _bytes(kind: str, dtype: str, shape: tuple[int, int]) -> float:
    return float(shape[0] * shape[1] * np.dtype(dtype).itemsize * PACKED[kind])
