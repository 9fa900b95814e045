"""The tables of boxes of a product: made of the boxes of all its blocks, unless a valid file is recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tilewright.tasks.boxes.box_table import write_boxes
from tilewright.tasks.boxes.parts import NO_BOXES, boxes_digest, read_part
from tilewright.tasks.boxes.suppress import suppress
from tilewright.tasks.storage.errors import storage_error
from tilewright.tasks.storage.ledger import json_digest
from tilewright.tasks.storage.storage import staging_folder
from tilewright.tasks.tables.table_file import UploadedTable, read_table_record, uploaded_table
from tilewright.tasks.zarr.store import ChangedStoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tilewright.models.spec.boxes import BoxesSpec
    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.inventory.arrivals import Arrivals
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.storage.storage import Storage

FORMAT = 1
"""Raised when the way tables are made changes, so that no file of an earlier version is kept."""

EMPTY = boxes_digest(NO_BOXES)
"""The digest of a block without boxes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxesFile:
    """The request for one table of boxes, on the `grid` of the model, of the blocks that arrive."""

    spec: BoxesSpec
    grid: Grid
    arrivals: Arrivals

    @property
    def name(self) -> str:
        """The name of the file."""
        return boxes_name(self.spec.name)

    @property
    def checksums(self) -> dict[str, str]:
        """The digests of the boxes of the blocks that are there, by block."""
        return {entry.name: entry.checksums[self.spec.name] for entry in list(self.arrivals.entries.values())}

    @property
    def key(self) -> str:
        """The digest of everything that determines the file's rows. The rule of suppression is the card's."""
        spec = self.spec
        return json_digest(
            {
                "format": FORMAT,
                "crs": self.grid.crs,
                "resolution": self.grid.resolution,
                "names": [[each.value, each.name] for each in spec.classes],
                "rule": [spec.iou, spec.per_class],
                "blocks": self.checksums,
            }
        )


def boxes_name(table: str) -> str:
    """The name of the file of a table of boxes."""
    return f"{table}.parquet"


def boxes_files(plan: Plan, specs: Iterable[BoxesSpec], arrivals: Arrivals) -> list[BoxesFile]:
    """The tables of boxes that a plan's model gives, of blocks that come."""
    return [BoxesFile(spec=spec, grid=plan.raster.grid, arrivals=arrivals) for spec in specs]


def ensure_boxes(storage: Storage, wanted: BoxesFile) -> UploadedTable:
    """The table in storage, which is made and uploaded when all blocks are there, unless a valid one is recorded.

    Raises StorageError if storage refuses, ChangedStoreError for boxes that are not as they were written.
    """
    wanted.arrivals.wait(wanted.arrivals.planned)
    existing = read_table_record(storage, wanted.name, wanted.key)
    if existing is not None:
        return existing
    boxes = np.concatenate([NO_BOXES, *_boxes(storage, wanted)])
    left = suppress(boxes, most=wanted.spec.iou, per_class=wanted.spec.per_class)
    names = {each.value: each.name for each in wanted.spec.classes}
    with staging_folder(storage) as folder:
        path = folder / wanted.name
        try:
            write_boxes(path, left, grid=wanted.grid, names=names)
        except OSError as error:
            raise storage_error(error, operation=f"write {wanted.name} to", uri=storage.uri) from error
        return uploaded_table(storage, path, key=wanted.key, n_rows=len(left))


def _boxes(storage: Storage, wanted: BoxesFile) -> Iterator[np.ndarray]:
    """The boxes of each block that has any."""
    for block, digest in sorted(wanted.checksums.items()):
        if digest == EMPTY:
            continue
        boxes = read_part(storage, wanted.spec.name, block, digest)
        if boxes is None:
            raise ChangedStoreError(f"The boxes of block {block} in {storage.uri} changed after they were written")
        yield boxes
