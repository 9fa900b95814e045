"""The boxes of each block: those that count of its windows, and as they wait in a product's state for its table."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from tilewright.models.spec.boxes import BOX
from tilewright.tasks.storage.storage import STATE_FOLDER

if TYPE_CHECKING:
    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.storage.storage import Storage

FOLDER = f"{STATE_FOLDER}/boxes"


NO_BOXES = np.zeros(0, dtype=BOX)


def counted_boxes(
    boxes: np.ndarray, *, window: PixelBox, core: PixelBox, usable: np.ndarray, over: PixelBox
) -> np.ndarray:
    """The boxes (BOX) of one window that count, in absolute pixels of the model's grid.

    `boxes` are in pixels of the `window`. The `core` is half open, so that a centre lies in the core of one window.
    `usable` (y, x) is True where a pixel is in the area and was observed, over the box `over`.
    """
    # Compared before they become whole numbers, which a centre far outside is too large for.
    inside = (boxes["x"] >= 0) & (boxes["y"] >= 0) & (boxes["x"] < window.shape[1]) & (boxes["y"] < window.shape[0])
    boxes = boxes[inside].copy()
    boxes["x"] += window.col_start
    boxes["y"] += window.row_start
    cols, rows = (np.floor(boxes[name]).astype(np.int64) for name in ("x", "y"))
    kept = (rows >= core.row_start) & (rows < core.row_stop) & (cols >= core.col_start) & (cols < core.col_stop)
    boxes, rows, cols = boxes[kept], rows[kept] - over.row_start, cols[kept] - over.col_start
    return boxes[usable[rows, cols]]


def boxes_digest(boxes: np.ndarray) -> str:
    """The SHA-256 in hex of boxes (BOX), or other things, as they are stored."""
    return hashlib.sha256(boxes.tobytes()).hexdigest()


def write_part(storage: Storage, table: str, block: str, boxes: np.ndarray) -> None:
    """Write the boxes of a block, or other things that were found there; none leave no object."""
    key = _key(table, block)
    if len(boxes):
        storage.write(key, boxes.tobytes())
    elif storage.read(key) is not None:
        storage.delete([key])


def read_part(storage: Storage, table: str, block: str, digest: str) -> np.ndarray | None:
    """The boxes of a block that have this digest; None where others lie there, or none."""
    content = read_part_bytes(storage, table, block, digest)
    return None if content is None or len(content) % BOX.itemsize else np.frombuffer(content, dtype=BOX)


def read_part_bytes(storage: Storage, table: str, block: str, digest: str) -> bytes | None:
    """What was found in a block, as it was written with this digest; None where something else lies there."""
    content = storage.read(_key(table, block)) or b""
    return content if hashlib.sha256(content).hexdigest() == digest else None


def _key(table: str, block: str) -> str:
    return f"{FOLDER}/{table}/{block}.bin"
