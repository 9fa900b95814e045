"""The masks of each block: those that count of its windows, and as they wait in a product's state for its numbering."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tilewright.models.spec.boxes import BOX
from tilewright.tasks.boxes.parts import read_part_bytes
from tilewright.tasks.boxes.suppress import best_first

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tilewright.models.transforms.masks import FoundMask
    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.storage.storage import Storage

    CountedMask = tuple[np.ndarray, bytes]

MASK = np.dtype(
    [("box", BOX), ("row", "<i8"), ("col", "<i8"), ("height", "<u4"), ("width", "<u4"), ("n_pixels", "<u8")]
)
"""An object: its box in absolute pixels of the model's grid, as its mask's upper left pixel is, and the mask's size.

Its pixels are bits, row by row, in whole bytes for each object; they follow those of the objects before it.
"""

HEAD = np.dtype("<u8")
"""The number of objects, before all of them, as a block has them; their bits follow after the last."""


def part_key(layer: str) -> str:
    """The name of the masks of a layer among the checksums of a block; no layer has a blank in its name."""
    return f"masks of {layer}"


def n_bytes(masks: np.ndarray) -> np.ndarray:
    """The bytes that the bits of each mask (MASK) take."""
    return -(-masks["height"].astype(np.int64) * masks["width"] // 8)


def counted_masks(
    found: Iterable[FoundMask], *, window: PixelBox, core: PixelBox, inside: np.ndarray, over: PixelBox
) -> list[CountedMask]:
    """The objects of one window that count, as MASK and bits: those whose box has its centre in the window's core.

    The `core` is half open, so that a centre lies in the core of one window. `inside` (y, x) is True where a pixel is
    in the area, over the box `over`: so far an object counts, whether its centre was observed or not.
    """
    counted = []
    for each in found:
        x, y = float(each.box["x"]), float(each.box["y"])
        # Compared before they become whole numbers, which a centre far outside is too large for.
        if not (0 <= x < window.shape[1] and 0 <= y < window.shape[0]):
            continue
        row, col = int(y) + window.row_start, int(x) + window.col_start
        if not (core.row_start <= row < core.row_stop and core.col_start <= col < core.col_stop):
            continue
        if not inside[row - over.row_start, col - over.col_start]:
            continue
        mask = np.zeros((), dtype=MASK)
        mask["box"] = each.box
        mask["box"]["x"] += window.col_start
        mask["box"]["y"] += window.row_start
        mask["row"], mask["col"] = each.row + window.row_start, each.col + window.col_start
        mask["height"], mask["width"] = each.pixels.shape
        mask["n_pixels"] = each.pixels.sum()
        counted.append((mask, np.packbits(each.pixels, axis=None).tobytes()))
    return counted


def encoded(masks: Iterable[CountedMask]) -> np.ndarray:
    """The masks of a block as they are stored, uint8, in an order that does not hang on that of windows."""
    masks = list(masks)
    records = np.array([record[()] for record, _ in masks], dtype=MASK)
    order = best_first(records["box"])
    parts = [records[order].tobytes(), *(masks[number][1] for number in order.tolist())]
    content = np.array(len(records), dtype=HEAD).tobytes() + b"".join(parts) if masks else b""
    return np.frombuffer(content, dtype=np.uint8)


def read_masks(storage: Storage, layer: str, block: str, digest: str) -> tuple[np.ndarray, bytes] | None:
    """The masks (MASK) of a block that have this digest, and the bits of all; None where others lie there, or none."""
    content = read_part_bytes(storage, layer, block, digest)
    if content is None:
        return None
    if not content:
        return np.zeros(0, dtype=MASK), b""
    count = int(np.frombuffer(content[: HEAD.itemsize].ljust(HEAD.itemsize, b"\0"), dtype=HEAD)[0])
    bits = HEAD.itemsize + count * MASK.itemsize
    if bits > len(content):
        return None
    records = np.frombuffer(content[HEAD.itemsize : bits], dtype=MASK)
    return (records, content[bits:]) if int(n_bytes(records).sum()) == len(content) - bits else None
