"""The tables of a product's answers in words: made of those of all its blocks, unless a valid file is recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import shapely

from tilewright.tasks.boxes.box_file import EMPTY, boxes_name
from tilewright.tasks.captions.parts import read_captions
from tilewright.tasks.storage.errors import storage_error
from tilewright.tasks.storage.ledger import json_digest
from tilewright.tasks.storage.storage import staging_folder
from tilewright.tasks.tables.geoparquet import ROWS_PER_GROUP, Rows, hilbert_places, write_geoparquet
from tilewright.tasks.tables.table_file import UploadedTable, read_table_record, uploaded_table
from tilewright.tasks.zarr.store import ChangedStoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tilewright.tasks.captions.parts import Caption
    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.inventory.arrivals import Arrivals
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.storage.storage import Storage

FORMAT = 1
"""Raised when the way tables are made changes, so that no file of an earlier version is kept."""

TEXT = "text"

COLUMNS = {"id": "int64", TEXT: "string"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionsFile:
    """The request for one table of answers, on the `grid` of the model, whose windows lie `step` pixels apart."""

    table: str
    grid: Grid
    step: int
    arrivals: Arrivals

    @property
    def name(self) -> str:
        """The name of the file."""
        return boxes_name(self.table)

    @property
    def checksums(self) -> dict[str, str]:
        """The digests of the answers of the blocks that are there, by block."""
        return {entry.name: entry.checksums[self.table] for entry in list(self.arrivals.entries.values())}

    @property
    def key(self) -> str:
        """The digest of everything that determines the file's rows."""
        grid = [self.grid.crs, self.grid.resolution, self.step]
        return json_digest({"format": FORMAT, "grid": grid, "blocks": self.checksums})


def captions_files(plan: Plan, tables: Iterable[str], arrivals: Arrivals) -> list[CaptionsFile]:
    """The tables of answers that a plan's model gives, of blocks that come."""
    raster = plan.raster
    return [CaptionsFile(table=name, grid=raster.grid, step=raster.lattice.step, arrivals=arrivals) for name in tables]


def ensure_captions(storage: Storage, wanted: CaptionsFile) -> UploadedTable:
    """The table in storage, which is made and uploaded when all blocks are there, unless a valid one is recorded.

    Raises StorageError if storage refuses, ChangedStoreError for answers that are not as they were written.
    """
    wanted.arrivals.wait(wanted.arrivals.planned)
    existing = read_table_record(storage, wanted.name, wanted.key)
    if existing is not None:
        return existing
    captions = [caption for block in _captions(storage, wanted) for caption in block]
    with staging_folder(storage) as folder:
        path = folder / wanted.name
        try:
            write_captions(path, captions, grid=wanted.grid, step=wanted.step)
        except OSError as error:
            raise storage_error(error, operation=f"write {wanted.name} to", uri=storage.uri) from error
        return uploaded_table(storage, path, key=wanted.key, n_rows=len(captions))


def write_captions(path: Path, captions: list[Caption], *, grid: Grid, step: int) -> None:
    """Write answers to a file, each with the square of its window's core, along a Hilbert curve over the windows."""
    places = np.array([caption[:2] for caption in captions], dtype=np.int64).reshape(-1, 2)
    order = np.lexsort([*places.T, hilbert_places(*(places.T[::-1] // step))])
    places, size = places[order], grid.resolution
    rows, cols = places.T
    squares = shapely.box(cols * size, -(rows + step) * size, (cols + step) * size, -rows * size)
    texts = [captions[number][2] for number in order.tolist()]
    write_geoparquet(
        path,
        _rows(squares, texts),
        columns=COLUMNS,
        crs=grid.crs,
        kinds=("Polygon",) if texts else (),
        bounds=shapely.total_bounds(squares) if texts else np.full(4, np.nan),
    )


def _rows(squares: np.ndarray, texts: list[str]) -> Iterator[Rows]:
    for start in range(0, len(texts), ROWS_PER_GROUP):
        part, said = squares[start : start + ROWS_PER_GROUP], texts[start : start + ROWS_PER_GROUP]
        yield Rows(
            geometry=shapely.to_wkb(part, byte_order=1),
            bounds=shapely.bounds(part),
            columns={"id": np.arange(start + 1, start + len(said) + 1), TEXT: said},
        )


def _captions(storage: Storage, wanted: CaptionsFile) -> Iterator[list[Caption]]:
    """The answers of each block that has any."""
    for block, digest in sorted(wanted.checksums.items()):
        if digest == EMPTY:
            continue
        captions = read_captions(storage, wanted.table, block, digest)
        if captions is None:
            raise ChangedStoreError(f"The answers of block {block} in {storage.uri} changed after they were written")
        yield captions
