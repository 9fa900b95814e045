"""The ids of a layer's objects: a table of their polygons, whose rows they count, and the layer that holds them."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tilewright.models.spec.outputs import NODATA_ID
from tilewright.tasks.grid.blocks import block_at
from tilewright.tasks.instances.marked_rows import marked_rows
from tilewright.tasks.instances.mask_file import MaskFile
from tilewright.tasks.instances.mask_parts import part_key, read_masks
from tilewright.tasks.instances.objects import BoundedObjects, MaskedObjects
from tilewright.tasks.storage.errors import storage_error
from tilewright.tasks.storage.ledger import json_digest
from tilewright.tasks.storage.storage import staging_folder
from tilewright.tasks.tables.fiboa import table_writer
from tilewright.tasks.tables.table_file import read_table_record, uploaded_table
from tilewright.tasks.vector.layer_polygons import STRIP_PIXELS, edge_pixels
from tilewright.tasks.vector.polygon_table import COLUMNS, PolygonTable
from tilewright.tasks.zarr.store import ChangedStoreError, array_sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path
    from typing import Any

    from tilewright.models.spec.boxes import MasksSpec
    from tilewright.models.spec.outputs import LayerSpec
    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.instances.objects import Objects
    from tilewright.tasks.inventory.arrivals import Arrivals, Place
    from tilewright.tasks.storage.storage import Storage
    from tilewright.tasks.tables.table_file import UploadedTable
    from tilewright.tasks.zarr.store import ProductStore

SCORED = {"id": "int64", "value": "int64", "name": "string", "score": "double", **COLUMNS}
"""Columns of a table of objects with masks."""

FORMAT = 1
"""Raised when the way tables are made changes, so that no file of an earlier version is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectFigures:
    """How many objects a layer has, and their areas in square metres; NaN if there are none."""

    count: int
    total: float
    least: float
    median: float
    mean: float
    most: float

    @classmethod
    def of(cls, areas: np.ndarray) -> ObjectFigures:
        """Those of objects with these areas."""
        if not len(areas):
            return cls(count=0, total=0.0, least=np.nan, median=np.nan, mean=np.nan, most=np.nan)
        least, median, mean, most = (float(each(areas)) for each in (np.min, np.median, np.mean, np.max))
        return cls(count=len(areas), total=float(areas.sum()), least=least, median=median, mean=mean, most=most)


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberedLayer:
    """A layer whose blocks have their ids: the checksum of each block by its place, the table, and its figures."""

    checksums: Mapping[Place, str]
    table: UploadedTable
    figures: ObjectFigures


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberingRequest:
    """A layer of ids to fill over the extent of its product's grid, once its blocks have come.

    ``inside``: the mask of the area asked for, (y, x) of a box of absolute pixels; ``area``: what that depends on.
    ``masks``: the card's, if its objects have some. ``columns``: "tilewright", or "fiboa", which tell the time of the
    ``last`` image.
    """

    spec: LayerSpec
    grid: Grid
    arrivals: Arrivals
    inside: Callable[[PixelBox], np.ndarray]
    area: str
    masks: MasksSpec | None = None
    columns: str = "tilewright"
    last: datetime | None = None

    @property
    def name(self) -> str:
        """The name of the table's file."""
        return objects_name(self.spec.name)

    @property
    def key(self) -> str:
        """The digest of everything that determines the table's rows."""
        extent = self.grid.extent
        names = [self.spec.name] if self.masks is None else [self.spec.name, part_key(self.spec.name)]
        entries = list(self.arrivals.entries.values())
        blocks = {each.name: [each.checksums[name] for name in names] for each in entries}
        columns = {} if self.columns == "tilewright" else {"columns": self.columns, "last": str(self.last)}
        rule = None if self.masks is None else [self.masks.boxes.iou, self.masks.boxes.per_class]
        return json_digest(
            {
                "format": FORMAT,
                "layer": self.spec.name,
                "crs": self.grid.crs,
                "resolution": self.grid.resolution,
                "extent": [extent.row_start, extent.col_start, *extent.shape],
                "names": [[each.value, each.name] for each in self.spec.classes],
                "area": self.area,
                "rule": rule,
                "blocks": blocks,
                **columns,
            }
        )


def objects_name(layer: str) -> str:
    """The name of the file of the polygons of a layer of ids."""
    return f"{layer}.parquet"


def number_objects(storage: Storage, store: ProductStore, wanted: NumberingRequest) -> NumberedLayer:
    """Give the objects of a layer their ids: in a table that is uploaded, unless a valid one is recorded, and in the
    blocks of the layer, in which they take the place of marks.

    An id is the number of the object's row. Two passes over the blocks, each holding one row of them: the first one,
    which follows the blocks as they come, makes the shapes, and their order is known at its end. The second numbers the
    same rows alike, and writes each block that does not have its ids yet. It may be broken off anywhere: blocks with
    ids tell their marks too.

    Raises StorageError if storage refuses, ChangedStoreError for a block that is not as it was written.
    """
    with staging_folder(storage) as folder, ExitStack() as stack:
        path = folder / wanted.name
        try:
            objects, rows = _opened(storage, wanted, folder, stack)
            _shapes(store, wanted, objects, rows)
            existing = read_table_record(storage, wanted.name, wanted.key)
            numbers, areas = rows.columns(objects.figure, "area")
            table = existing or _upload(storage, wanted, rows, path)
            # Of masks that others cover there is no row, and no pixel.
            ids = np.zeros(int(numbers.max(initial=0)) + 1, dtype=np.int32)
            ids[numbers] = np.arange(1, len(numbers) + 1)
            checksums = _write_ids(store, wanted, objects, ids)
        except OSError as error:
            raise storage_error(error, operation=f"write {wanted.name} to", uri=storage.uri) from error
    return NumberedLayer(checksums=checksums, table=table, figures=ObjectFigures.of(areas))


def _opened(storage: Storage, wanted: NumberingRequest, folder: Path, stack: ExitStack) -> tuple[Objects, PolygonTable]:
    """The objects of a layer, and the table for their shapes, both with files in a folder until the stack ends."""
    names = {each.value: each.name for each in wanted.spec.classes}
    write = table_writer(wanted.columns, wanted.last)
    if wanted.masks is None:
        rows = stack.enter_context(PolygonTable(folder, grid=wanted.grid, names=names, write=write))
        return BoundedObjects(wanted.grid.extent, value=wanted.spec.classes[0].value), rows
    masks = MaskFile(folder)
    stack.callback(masks.close)
    wanted.arrivals.wait(wanted.arrivals.planned)
    for place in sorted(wanted.arrivals.entries):
        entry = wanted.arrivals.entries[place]
        found = read_masks(storage, wanted.spec.name, entry.name, entry.checksums[part_key(wanted.spec.name)])
        if found is None:
            raise ChangedStoreError(f"The masks of block {entry.name} in {storage.uri} changed after they were written")
        masks.add(*found)
    masks.keep_best(most=wanted.masks.boxes.iou, per_class=wanted.masks.boxes.per_class)

    def told(numbers: np.ndarray) -> dict[str, Any]:
        boxes = masks.records["box"][numbers - 1]
        values = boxes["value"].astype(np.int64)
        return {"value": values, "name": [names[value] for value in values.tolist()], "score": boxes["score"]}

    rows = stack.enter_context(
        PolygonTable(folder, grid=wanted.grid, names=names, columns=SCORED, told=told, write=write)
    )
    return MaskedObjects(wanted.grid.extent, masks), rows


def _upload(storage: Storage, wanted: NumberingRequest, rows: PolygonTable, path: Path) -> UploadedTable:
    return uploaded_table(storage, path, key=wanted.key, n_rows=rows.write(path))


def _shapes(store: ProductStore, wanted: NumberingRequest, objects: Objects, rows: PolygonTable) -> None:
    """Fill a table with the shapes of all objects."""
    for row in marked_rows(store, wanted.spec, wanted.arrivals):
        for box in _strips(row.box):
            edge = edge_pixels(box, wanted.grid.extent, wanted.inside)
            for shapes in objects.take(box, row.marks[box.slices_in(row.box)], edge=edge):
                rows.add(shapes)
                # Not held while further ones are made.
                del shapes
    for shapes in objects.end():
        rows.add(shapes)
        del shapes


def _write_ids(store: ProductStore, wanted: NumberingRequest, objects: Objects, ids: np.ndarray) -> dict[Place, str]:
    """Write the ids of objects by their numbers into the blocks; returns the checksums of these."""
    checksums = {}
    for row in marked_rows(store, wanted.spec, wanted.arrivals):
        pixels = np.empty(row.box.shape, dtype=np.int32)
        for box in _strips(row.box):
            here = box.slices_in(row.box)
            numbers = objects.numbers(box, row.marks[here])
            pixels[here] = np.where(row.marks[here] < 0, np.int32(NODATA_ID), ids[numbers])
        for place, stored in row.stored.items():
            inner = block_at(row=place[0], col=place[1], block=store.block, halo=0).inner
            block = np.full(inner.shape, NODATA_ID, dtype=np.int32)
            inside = inner.intersect(row.box)
            block[inside.slices_in(inner)] = pixels[inside.slices_in(row.box)]
            checksums[place] = array_sha256(block)
            if checksums[place] != stored:
                store.write_block(inner, {wanted.spec.name: block})
    return checksums


def _strips(box: PixelBox) -> Iterator[PixelBox]:
    """A row of blocks as strips that are taken at a time, in some 40 bytes of memory a pixel."""
    height = max(1, STRIP_PIXELS // box.shape[1])
    for start in range(box.row_start, box.row_stop, height):
        yield replace(box, row_start=start, row_stop=min(start + height, box.row_stop))
