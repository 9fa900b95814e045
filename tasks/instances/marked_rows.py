"""The marks of a layer of ids, row of blocks by row of blocks, as their ledger entries say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tilewright.models.spec.outputs import NODATA_ID
from tilewright.tasks.grid.blocks import block_at
from tilewright.tasks.grid.cells import block_range
from tilewright.tasks.instances.marks import marks_of
from tilewright.tasks.zarr.store import ChangedStoreError, array_sha256

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilewright.models.spec.outputs import LayerSpec
    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.inventory.arrivals import Arrivals, Place
    from tilewright.tasks.zarr.store import ProductStore


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkedRow:
    """A row of blocks: its box of absolute pixels in the product, its marks (y, x) int8, and the SHA-256 of each block
    as it is stored, by its absolute place.
    """

    box: PixelBox
    marks: np.ndarray
    stored: dict[Place, str]


def marked_rows(store: ProductStore, spec: LayerSpec, arrivals: Arrivals) -> Iterator[MarkedRow]:
    """The rows of blocks of a layer of ids, from north to south; each waits for its blocks.

    Raises StorageError if storage refuses, ChangedStoreError for a block that is not what was recorded.
    """
    rows, cols = block_range(store.extent, block=store.block)
    by_row: dict[int, list[int]] = {}
    for row, col in arrivals.planned:
        if col in cols:
            by_row.setdefault(row, []).append(col)
    for row in rows:
        first = block_at(row=row, col=cols[0], block=store.block, halo=0).inner
        last = block_at(row=row, col=cols[-1], block=store.block, halo=0).inner
        box = replace(first, col_stop=last.col_stop).intersect(store.extent)
        marks, stored = np.full(box.shape, NODATA_ID, dtype=np.int8), {}
        places = [(row, col) for col in sorted(by_row.get(row, ()))]
        arrivals.wait(places)
        for place in places:
            inner = block_at(row=place[0], col=place[1], block=store.block, halo=0).inner
            pixels = store.read_box(spec.name, inner)
            own = marks_of(pixels, spec)
            if array_sha256(own) != arrivals.entries[place].checksums[spec.name]:
                raise ChangedStoreError(
                    f"block {place[0]}_{place[1]} of layer {spec.name} in {store.storage.uri} is not what was recorded"
                )
            stored[place] = array_sha256(pixels)
            inside = inner.intersect(box)
            marks[inside.slices_in(box)] = own[inside.slices_in(inner)]
        yield MarkedRow(box=box, marks=marks, stored=stored)
