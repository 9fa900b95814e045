"""The vectors of a finished product: at a place, or all of them, some at a time."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from tilewright.catalogs.parquet import pyarrow
from tilewright.models.spec.embedding import LONGEST, METRICS, SCALE, STORAGES, decoded
from tilewright.tasks.embeddings.window_table import SCALE_COLUMN, VECTOR, has_vector
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.inventory.report_grid import report_grid
from tilewright.tasks.storage.documents import read_object
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.tables.geoparquet import BBOX
from tilewright.tasks.zarr.declare import STORE
from tilewright.tasks.zarr.store import ChangedStoreError, read_stored

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.storage.storage import Storage

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
"""Of a layer: never one that leads to another folder."""

NUMBERS_AT_ONCE = 2**22
"""Numbers of the vectors that are in memory at a time."""


FARTHEST = 2.0**40
"""Pixels from the CRS origin beyond which no grid reaches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """Some vectors (n, number) float32, and the absolute ``rows`` and ``cols`` (n,) of their windows or pixels."""

    rows: np.ndarray
    cols: np.ndarray
    values: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVectors:
    """The embedding of a finished product on its grid.

    ``table`` is the local file of the vectors of windows, by which all of them are read faster than from the store;
    None for pixels.
    """

    storage: Storage
    grid: Grid
    name: str
    metric: str
    array: zarr.Array[Any] = field(repr=False)
    scales: zarr.Array[Any] | None = field(repr=False)
    per_window: bool
    table: Path | None = None

    @property
    def length(self) -> int:
        """The numbers of a vector."""
        return int(self.array.shape[2])

    def read(self, box: PixelBox) -> np.ndarray:
        """The vectors in a box of absolute pixels of the extent, (height, width, number) float32; NaN where none is.

        Raises StorageError if storage refuses, ChangedStoreError for what is damaged.
        """
        window = box.slices_in(self.grid.extent)
        stored = self._stored(self.name, self.array, window)
        scales = None if self.scales is None else self._stored(self.name + SCALE, self.scales, window)
        return np.where(has_vector(stored)[..., np.newaxis], decoded(stored, scales), np.float32(np.nan))

    def at(self, row: int, col: int) -> np.ndarray | None:
        """The vector (number,) at an absolute pixel of the extent; None where there is none."""
        found = np.asarray(self.read(PixelBox.at(row, col, shape=(1, 1)))[0, 0])
        return found if np.isfinite(found).all() else None

    def batches(self, box: PixelBox) -> Iterator[Vectors]:
        """All vectors in a box of absolute pixels, some at a time, in an order that no cut of the work decides.

        Raises as ``read``.
        """
        box = box.intersect(self.grid.extent)
        if box.empty:
            return
        for each in self._of_table() if self.table is not None else self._of_array(box):
            inside = (each.rows >= box.row_start) & (each.rows < box.row_stop)
            inside &= (each.cols >= box.col_start) & (each.cols < box.col_stop)
            if inside.all():
                yield each
            elif inside.any():
                yield Vectors(rows=each.rows[inside], cols=each.cols[inside], values=each.values[inside])

    def _of_array(self, box: PixelBox) -> Iterator[Vectors]:
        """By squares of absolute pixels, which do not depend on the extent or on how it is stored."""
        side = 1 << max(0, (math.isqrt(NUMBERS_AT_ONCE // self.length)).bit_length() - 1)
        for row in range(box.row_start // side * side, box.row_stop, side):
            for col in range(box.col_start // side * side, box.col_stop, side):
                square = PixelBox.at(row, col, shape=(side, side)).intersect(box)
                values = self.read(square)
                rows, cols = np.nonzero(np.isfinite(values).all(axis=-1))
                if len(rows):
                    yield Vectors(rows=rows + square.row_start, cols=cols + square.col_start, values=values[rows, cols])

    def _of_table(self) -> Iterator[Vectors]:
        pa, size = pyarrow(), self.grid.resolution
        at_once = max(1, NUMBERS_AT_ONCE // self.length)
        try:
            with pa.parquet.ParquetFile(self.table) as file:
                kind = file.schema_arrow.field(VECTOR).type
                if not pa.types.is_fixed_size_list(kind) or kind.list_size != self.length:
                    raise ChangedStoreError(f"{self.name}.parquet of {self.storage.uri} holds other vectors")
                columns = [VECTOR, BBOX, *([SCALE_COLUMN] if self.scales is not None else [])]
                for batch in file.iter_batches(at_once, columns=columns):
                    stored = batch.column(VECTOR).flatten().to_numpy(zero_copy_only=False).reshape(-1, self.length)
                    scales = None if self.scales is None else batch.column(SCALE_COLUMN).to_numpy(zero_copy_only=False)
                    edges = [batch.column(BBOX).field(name).to_numpy(zero_copy_only=False) for name in ("xmin", "ymax")]
                    yield _known(decoded(stored, scales), edges[0] / size, -edges[1] / size)
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
            raise ChangedStoreError(f"{self.name}.parquet of {self.storage.uri} cannot be read") from error

    def _stored(self, name: str, array: zarr.Array[Any], window: tuple[slice, slice]) -> np.ndarray:
        return read_stored(self.storage, f"layer {name}", lambda: np.asarray(array[window]))


def _known(values: np.ndarray, cols: np.ndarray, rows: np.ndarray) -> Vectors:
    """The vectors at places of a grid, without those that hold numbers that are none, or lie nowhere."""
    kept = np.isfinite(values).all(axis=1) & (np.abs(rows) < FARTHEST) & (np.abs(cols) < FARTHEST)
    if not kept.all():
        values, rows, cols = values[kept], rows[kept], cols[kept]
    return Vectors(rows=np.rint(rows).astype(np.int64), cols=np.rint(cols).astype(np.int64), values=values)


def open_vectors(storage: Storage) -> StoredVectors:
    """The embedding of a finished product, without its table.

    Raises StoreError for a product that has none or whose documents do not fit its arrays, ChangedStoreError for an
    array that cannot be opened, StorageError if storage refuses.
    """
    report = read_object(storage, "report.json") or {}
    told = _told(report)
    if told is None:
        raise StoreError(
            f"{storage.uri} has no embedding, which find searches: its model gives none. A card says with tw:embedding "
            "that its output is one."
        )
    grid, name = report_grid(storage, report), str(told["name"])
    place = storage.zarr(STORE, read_only=True)
    opened = partial(_open, storage, place)
    array, int8 = opened(name), told["storage"] == "int8"
    scales = opened(name + SCALE) if int8 else None
    fits = (
        array.ndim == 3
        and tuple(array.shape[:2]) == grid.extent.shape
        and array.shape[2] <= LONGEST
        and array.dtype.name == told["storage"]
        and (scales is None or tuple(scales.shape) == grid.extent.shape)
    )
    if not fits:
        raise StoreError(
            f"The layer {name} of {storage.uri} is not as its report says: restore the product, or run its job again "
            "with --replace."
        )
    return StoredVectors(
        storage=storage,
        grid=grid,
        name=name,
        metric=str(told["metric"]),
        array=array,
        scales=scales,
        per_window=told.get("of") == "windows",
    )


def _open(storage: Storage, place: Any, name: str) -> zarr.Array[Any]:
    return read_stored(storage, f"layer {name}", lambda: zarr.open_array(place, path=name, mode="r"))


def _told(report: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What a report says of an embedding; None where it says of none, or what cannot be."""
    listed = report.get("embeddings")
    first = listed[0] if isinstance(listed, list) and listed else None
    if not isinstance(first, dict) or not isinstance(first.get("name"), str) or not NAME.fullmatch(first["name"]):
        return None
    return first if first.get("metric") in METRICS and first.get("storage") in STORAGES else None
