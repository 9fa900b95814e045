"""The table of an embedding per window: a row with its square and its vector for each window that has one."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from tilewright.catalogs.parquet import pyarrow
from tilewright.models.spec.embedding import NO_VECTOR, SCALE
from tilewright.tasks.embeddings.described import convention_attributes, embedding_facts
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.storage.errors import storage_error
from tilewright.tasks.storage.ledger import json_digest
from tilewright.tasks.storage.storage import staging_folder
from tilewright.tasks.tables.geoparquet import Rows, hilbert_places, write_geoparquet
from tilewright.tasks.tables.table_file import UploadedTable, read_table_record, uploaded_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tilewright.models.spec.outputs import LayerSpec
    from tilewright.tasks.inventory.arrivals import Arrivals
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.storage.storage import Storage
    from tilewright.tasks.zarr.store import ProductStore

FORMAT = 1
"""Raised when the way tables are made changes, so that no file of an earlier version is kept."""

SQUARE_NUMBERS = 2**22
"""Numbers of the vectors of a square of windows at most, of which one is in memory."""

LARGEST_SIDE = 128
"""Windows along the side of a square at most: about the rows of a row group."""

VECTOR, SCALE_COLUMN = "vector", "scale"


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowsFile:
    """The request for the table of an embedding's windows, of the blocks that arrive."""

    spec: LayerSpec
    plan: Plan
    arrivals: Arrivals

    @property
    def name(self) -> str:
        """The name of the file."""
        return f"{self.spec.name}.parquet"

    @property
    def key(self) -> str:
        """The digest of everything that determines the file's rows."""
        grid, spec = self.plan.raster.product_grid, self.spec
        extent = [grid.extent.row_start, grid.extent.col_start, *grid.extent.shape]
        blocks = {entry.name: entry.checksums[spec.name] for entry in list(self.arrivals.entries.values())}
        scales = {entry.name: entry.checksums.get(spec.name + SCALE) for entry in list(self.arrivals.entries.values())}
        return json_digest(
            {
                "format": FORMAT,
                "crs": grid.crs,
                "resolution": grid.resolution,
                "extent": extent,
                "told": self.metadata,
                "blocks": blocks,
                "scales": scales,
            }
        )

    @property
    def metadata(self) -> dict[str, str]:
        """What the file says of its vectors, as the store does, by the key of its metadata."""
        facts = embedding_facts(self.plan, [self.spec])
        assert facts is not None, "a table of windows is of an embedding"
        told = convention_attributes(facts, self.plan.versions["tilewright"])
        return {"geoemb": json.dumps({**told, "metric": facts.metric}, sort_keys=True)}


def windows_files(plan: Plan, specs: Iterable[LayerSpec], arrivals: Arrivals) -> list[WindowsFile]:
    """The tables of windows that a plan's model gives, of blocks that come."""
    return [WindowsFile(spec=spec, plan=plan, arrivals=arrivals) for spec in specs if spec.name in plan.vector_tables]


def ensure_windows(storage: Storage, store: ProductStore, wanted: WindowsFile) -> UploadedTable:
    """The table in storage, which is made and uploaded when all blocks are there, unless a valid one is recorded.

    Raises StorageError if storage refuses, ChangedStoreError for vectors that cannot be read.
    """
    wanted.arrivals.wait(wanted.arrivals.planned)
    existing = read_table_record(storage, wanted.name, wanted.key)
    if existing is not None:
        return existing
    with staging_folder(storage) as folder:
        path = folder / wanted.name
        try:
            n_rows = _write(path, store, wanted)
        except OSError as error:
            raise storage_error(error, operation=f"write {wanted.name} to", uri=storage.uri) from error
        return uploaded_table(storage, path, key=wanted.key, n_rows=n_rows)


def _write(path: Any, store: ProductStore, wanted: WindowsFile) -> int:
    pa, spec = pyarrow(), wanted.spec
    grid = wanted.plan.raster.product_grid
    rows, cols = np.nonzero(with_vectors(store, spec.name, _squares(grid.extent, spec.length)))
    number = {"float16": pa.float16(), "int8": pa.int8()}.get(spec.dtype, pa.float32())
    columns: dict[str, Any] = {"id": "int64", VECTOR: pa.list_(number, spec.length)}
    if spec.name + SCALE in store.published:
        columns[SCALE_COLUMN] = "float"
    bounds = np.full(4, np.nan)
    if len(rows):
        top, left = grid.extent.row_start, grid.extent.col_start
        seen = PixelBox(
            row_start=top + int(rows.min()), row_stop=top + int(rows.max()) + 1,
            col_start=left + int(cols.min()), col_stop=left + int(cols.max()) + 1,
        )  # fmt: skip
        bounds = np.array(grid.bounds_of(seen))
    write_geoparquet(
        path,
        _rows(store, wanted),
        columns=columns,
        crs=grid.crs,
        kinds=("Polygon",) if len(rows) else (),
        bounds=bounds,
        metadata=wanted.metadata,
        required=("id", VECTOR),
        plain=() if spec.dtype == "int8" else (VECTOR,),
    )
    return len(rows)


def has_vector(stored: np.ndarray) -> np.ndarray:
    """True for stored vectors (..., number) that are some: nodata fills them whole."""
    first = stored[..., 0]
    return np.asarray(first != NO_VECTOR if first.dtype.kind == "i" else ~np.isnan(first))


def with_vectors(store: ProductStore, name: str, squares: Iterable[PixelBox]) -> np.ndarray:
    """True (y, x) for the pixels of a product that have a vector."""
    found = np.zeros(store.extent.shape, dtype=bool)
    for square in squares:
        found[square.slices_in(store.extent)] = has_vector(store.read_box(name, square))
    return found


def _side(length: int) -> int:
    """The side of a square of windows, a power of two."""
    side = math.isqrt(SQUARE_NUMBERS // length)
    return min(LARGEST_SIDE, 1 << max(0, side.bit_length() - 1))


def _squares(extent: PixelBox, length: int) -> list[PixelBox]:
    """The squares of absolute windows that an extent touches, cut to it, along a Hilbert curve.

    An aligned square of two to a power is one stretch of the curve: the rows of one after another have its order.
    """
    side = _side(length)
    firsts = [
        (row, col)
        for row in range(extent.row_start // side * side, extent.row_stop, side)
        for col in range(extent.col_start // side * side, extent.col_stop, side)
    ]
    rows, cols = (np.array(each, dtype=np.int64) for each in zip(*firsts, strict=True))
    order = np.argsort(hilbert_places(cols, rows) // side**2, kind="stable")
    return [PixelBox.at(*firsts[place], shape=(side, side)).intersect(extent) for place in order.tolist()]


def _rows(store: ProductStore, wanted: WindowsFile) -> Iterator[Rows]:
    pa, spec, done = pyarrow(), wanted.spec, 0
    grid = wanted.plan.raster.product_grid
    for square in _squares(grid.extent, spec.length):
        stored = store.read_box(spec.name, square)
        rows, cols = np.nonzero(has_vector(stored))
        if not len(rows):
            continue
        order = np.argsort(hilbert_places(cols + square.col_start, rows + square.row_start), kind="stable")
        rows, cols = rows[order], cols[order]
        vectors = np.ascontiguousarray(stored[rows, cols])
        columns: dict[str, Any] = {"id": np.arange(done + 1, done + len(rows) + 1)}
        columns[VECTOR] = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), spec.length)
        if spec.name + SCALE in store.published:
            columns[SCALE_COLUMN] = store.read_box(spec.name + SCALE, square)[rows, cols]
        done += len(rows)
        squares = window_squares(grid.resolution, rows + square.row_start, cols + square.col_start)
        yield Rows(geometry=shapely.to_wkb(squares, byte_order=1), bounds=shapely.bounds(squares), columns=columns)


def window_squares(resolution: float, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """The squares of absolute pixels as polygons, in CRS units."""
    return np.asarray(
        shapely.box(cols * resolution, -(rows + 1) * resolution, (cols + 1) * resolution, -rows * resolution)
    )
