"""A finished product as it is compared: its grid, its tables, and its layers, which are read row by row."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
import zarr

from tilewright.tasks.colours import class_colours
from tilewright.tasks.grid.grid import Grid, GridError, snap_bounds
from tilewright.tasks.inventory.finished import unfinished
from tilewright.tasks.report.fields import mapping, named_periods, numbers, rows, text
from tilewright.tasks.report.format import number
from tilewright.tasks.report.sections import period_text
from tilewright.tasks.storage.documents import read_object
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.zarr.declare import STORE
from tilewright.tasks.zarr.declared import fill_of
from tilewright.tasks.zarr.store import LayerRows, ProductStore, read_stored

if TYPE_CHECKING:
    from datetime import datetime

    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.report.fields import Fields
    from tilewright.tasks.storage.storage import Storage

ON_EDGE = 1e-6
"""Pixels by which a stated bound may miss an edge of the lattice: bounds are written with all their digits."""

LAYER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
"""Names of layers, which are those of files. Source: models/card/parse_outputs.py."""

KINDS = ("percent", "value")
"""Kinds of layers that hold numbers. Source: tasks/cog/spec.py."""

WHOLE = 1 << 40
"""Pixels of a side larger than any grid: a box is read in one piece."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapClass:
    """A class of a map: the value stored, its name, and its colour ("#rrggbb")."""

    value: int
    name: str
    colour: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassLayer:
    """A layer of classes in a finished product, uint8; ``nodata`` is its marker for no value."""

    name: str
    classes: tuple[MapClass, ...]
    nodata: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueLayer:
    """A layer of numbers in a finished product; ``nodata`` is its marker for no value, None where that is NaN alone."""

    name: str
    unit: str
    dtype: np.dtype[Any]
    nodata: int | float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedProduct:
    """A finished product: where it is, what its report says of it, and by name its layers of classes, of values, and
    the rows of the report on its tables.

    ``skipped`` names the other layers; ``span`` is from the first to the last moment asked for, None if not told.
    """

    uri: str
    name: str
    model: str
    period: str
    span: tuple[datetime, datetime] | None
    attribution: str
    grid: Grid
    layers: dict[str, ClassLayer]
    values: dict[str, ValueLayer]
    tables: dict[str, Fields]
    skipped: tuple[str, ...]
    store: ProductStore

    def kinds(self) -> dict[str, str]:
        """What each layer is, and under the names of their files the tables."""
        layers = {**dict.fromkeys(self.layers, "classes"), **dict.fromkeys(self.values, "values")}
        others = {
            **dict.fromkeys(self.skipped, "other"),
            **{f"{name}.parquet": "table" for name in self.tables},
        }
        return {**layers, **others}

    def rows_of(self, layer: str, box: PixelBox) -> LayerRows:
        """The rows of a layer inside a box of absolute pixels, which lies in the grid's extent."""
        return LayerRows(store=self.store, name=layer, box=box)


def open_finished(storage: Storage, given: str) -> FinishedProduct:
    """The product in a storage, which was ``given`` as such.

    Raises StoreError where it is not finished, or does not say what it is; StorageError if storage refuses.
    """
    lacking = unfinished(storage)
    if lacking:
        raise StoreError(
            f"{given} holds no finished product (no whole {lacking[0]}): run its job to the end, then compare it."
        )
    report = read_object(storage, "report.json") or {}
    if report.get("places"):
        raise StoreError(f"{given} is a table of places, not a map: compare the columns of such tables row by row.")
    grid = _grid(report, given)
    store = read_stored(storage, "the store", lambda: _open_arrays(storage, report, grid))
    layers = {each.name: each for row in rows(report, "layers") if (each := _layer(row, store, grid)) is not None}
    values = {
        found.name: found
        for row in rows(report, "layers")
        if (found := _value_layer(row, store, grid)) is not None and found.name not in layers
    }
    periods = named_periods(report, "period")
    span = (min(start for _, start, _ in periods), max(end for _, _, end in periods)) if periods else None
    return FinishedProduct(
        uri=storage.uri,
        name=text(report, "name") or "unnamed",
        model=text(mapping(report, "model"), "name"),
        period=period_text(report),
        span=span,
        attribution=text(report, "attribution"),
        grid=grid,
        layers=layers,
        values=values,
        tables={name: row for row in rows(report, "tables") if LAYER_NAME.fullmatch(name := text(row, "name"))},
        skipped=tuple(
            name for row in rows(report, "layers") if (name := text(row, "name")) not in layers.keys() | values.keys()
        ),
        store=store,
    )


def _open_arrays(storage: Storage, report: Fields, grid: Grid) -> ProductStore:
    """The arrays of the layers of classes and values. No block waits beside those of a finished product."""
    group = zarr.open_group(storage.zarr(STORE, read_only=True), mode="r", use_consolidated=False)
    names = [text(row, "name") for row in rows(report, "layers") if rows(row, "classes") or text(row, "kind") in KINDS]
    opened = {name: group.get(name) for name in names if LAYER_NAME.fullmatch(name)}
    return ProductStore(
        storage=storage,
        group=group,
        waiting={},
        published={name: array for name, array in opened.items() if isinstance(array, zarr.Array)},
        box=grid.extent,
        extent=grid.extent,
        block=WHOLE,
    )


def _grid(report: Fields, given: str) -> Grid:
    """The grid that a report tells."""
    told = mapping(report, "grid")
    crs, resolution = text(told, "crs"), number(told.get("resolution")) or 0.0
    bounds, shape = numbers(told, "bounds", 4), numbers(told, "shape", 2)
    damaged = StoreError(f"{given}/report.json does not say the grid of the product: restore it.")
    if not crs or resolution <= 0 or not bounds or not shape:
        raise damaged
    minx, miny, maxx, maxy = bounds
    edges = [bound / resolution for bound in bounds]
    try:
        pyproj.CRS.from_user_input(crs)
        extent = snap_bounds((minx, miny, maxx, maxy), resolution=resolution)
        grid = Grid(crs=crs, resolution=resolution, extent=extent)
    except (GridError, pyproj.exceptions.CRSError) as error:
        raise damaged from error
    off = any(abs(edge - round(edge)) > ON_EDGE for edge in edges)
    if off or extent.shape != (shape[0], shape[1]):
        raise damaged
    return grid


def _layer(row: Fields, store: ProductStore, grid: Grid) -> ClassLayer | None:
    """A layer of the report if it is one of classes that the store has as such."""
    name, listed = text(row, "name"), rows(row, "classes")
    array = store.published.get(name)
    values = [number(each.get("value")) for each in listed]
    if (
        not LAYER_NAME.fullmatch(name)
        or not listed
        or array is None
        or array.dtype != "uint8"
        or tuple(array.shape) != grid.extent.shape
    ):
        return None
    nodata = int(fill_of(array))
    if any(value is None or value != int(value) or not 0 <= value <= 255 or value == nodata for value in values):
        return None
    colours = class_colours([text(each, "color") or None for each in listed])
    classes = {
        int(value or 0): MapClass(value=int(value or 0), name=text(each, "name") or f"class {value:g}", colour=colour)
        for value, each, colour in zip(values, listed, colours, strict=True)
    }
    return ClassLayer(name=name, classes=tuple(classes.values()), nodata=nodata)


def _value_layer(row: Fields, store: ProductStore, grid: Grid) -> ValueLayer | None:
    """A layer of the report if it is one of values that the store has as such."""
    name = text(row, "name")
    array = store.published.get(name) if LAYER_NAME.fullmatch(name) else None
    if (
        text(row, "kind") not in KINDS
        or array is None
        or array.dtype.kind not in "iuf"
        or tuple(array.shape) != grid.extent.shape
    ):
        return None
    fill = fill_of(array)
    nodata = None if array.dtype.kind == "f" and np.isnan(fill) else fill.item()
    return ValueLayer(name=name, unit=text(row, "unit"), dtype=np.dtype(array.dtype), nodata=nodata)
