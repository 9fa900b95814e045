"""The answers of each block: those that count of its windows, and as they wait in a product's state for their table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from tilewright.tasks.boxes.parts import read_part_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.storage.storage import Storage

Caption = tuple[int, int, str]
"""An answer: the absolute row and column of the first pixel of its window's core on the model's grid, and its text."""


def counted_caption(text: str, *, core: PixelBox, inner: PixelBox, usable: np.ndarray, over: PixelBox) -> list[Caption]:
    """The answer of one window, if it counts: its core lies in the block, and something of it was seen in the area.

    `usable` (y, x) is True where a pixel is in the area and was observed, over the box `over`.
    """
    mine, seen = core.intersect(inner), core.intersect(over)
    if mine.empty or seen.empty or not usable[seen.slices_in(over)].any():
        return []
    return [(core.row_start, core.col_start, text)]


def encoded_captions(captions: Iterable[Caption]) -> np.ndarray:
    """The answers of a block as they are stored, uint8, in an order that does not hang on that of windows."""
    plain = sorted(captions)
    return np.frombuffer(json.dumps(plain).encode() if plain else b"", dtype=np.uint8)


def read_captions(storage: Storage, table: str, block: str, digest: str) -> list[Caption] | None:
    """The answers of a block that have this digest; None where others lie there, or none."""
    content = read_part_bytes(storage, table, block, digest)
    if content is None:
        return None
    try:
        return [(int(row), int(col), str(text)) for row, col, text in json.loads(content)] if content else []
    except (ValueError, TypeError, RecursionError):
        return None
