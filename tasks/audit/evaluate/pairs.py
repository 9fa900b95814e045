"""Pairs of a label and what the product says there, some at a time, and what is no pair."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tilewright.catalogs.parquet import pyarrow
from tilewright.tasks.audit.evaluate.classes import UNKNOWN, UNLABELLED, is_text
from tilewright.tasks.audit.evaluate.label_file import LabelError, LabelTable
from tilewright.tasks.audit.evaluate.polygons import polygon_pixels, tiles_in
from tilewright.tasks.grid.pixel_box import PixelBox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilewright.tasks.audit.evaluate.label_raster import LabelRaster
    from tilewright.tasks.audit.evaluate.targets import Target
    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.zones.layers import LayerPixels, ProductLayer


LARGEST = 1e100
"""Largest label, and pixel, of a layer of values: the squares of larger ones are too large for a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Labels with the product's values, (pair,). ``owners`` are rows of the label file from 0, -1 for a raster's.

    ``rows`` and ``cols`` are absolute pixels. ``labels`` and ``product`` are indices of scored classes int64 (the
    product's may be `ScoredClasses.other`), or values float64. ``confidence`` is 0-1, NaN where there is none.
    """

    owners: np.ndarray
    rows: np.ndarray
    cols: np.ndarray
    labels: np.ndarray
    product: np.ndarray
    confidence: np.ndarray

    def __len__(self) -> int:
        return len(self.owners)


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Labels on pixels (place,), as they stand in `Pairs`, before the product is looked at."""

    owners: np.ndarray
    rows: np.ndarray
    cols: np.ndarray
    labels: np.ndarray


@dataclass(slots=True)
class Uncounted:
    """What was no pair. Points count themselves; polygons and rasters their pixels, but ``n_outside`` counts polygons.

    ``unknown`` counts labels that are no class, by their text.
    """

    n_outside: int = 0
    n_nodata: int = 0
    n_unlabelled: int = 0
    unknown: Counter[str] = field(default_factory=Counter)

    @property
    def n_unknown(self) -> int:
        """How many labels are no class of the layer."""
        return sum(self.unknown.values())


def label_values(table: LabelTable, target: Target) -> tuple[np.ndarray, np.ndarray, Counter[str]]:
    """The labels of rows for a target: codes of classes or values, which rows have one, and unknown ones by text.

    Raises LabelError for a column that holds no such thing, or of which no label is known.
    """
    column = table.columns[target.column]
    where = f"{target.column!r} of {table.name}"
    if target.classes is not None:
        codes, unknown = target.classes.column_codes(column, where=where)
        if not (codes != UNLABELLED).any():
            raise LabelError(f"No row has a label in {where}: fill the column in, or name another with --column.")
        if not (codes >= 0).any():
            raise target.classes.refusal(target.layer.name, unknown, where=where)
        return codes, codes != UNLABELLED, unknown
    pa = pyarrow()
    if is_text(column) or not (
        pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_decimal(column.type)
    ):
        raise LabelError(
            f"The column {where} holds {column.type}, and the layer {target.layer.name} values: give numbers."
        )
    values = np.asarray(column.cast("float64").to_numpy(zero_copy_only=False), dtype=np.float64)
    if not np.isfinite(values).any():
        raise LabelError(f"No row has a value in {where}: fill the column in, or name another with --column.")
    if (np.abs(values[np.isfinite(values)]) > LARGEST).any():
        raise LabelError(f"The column {where} holds values beyond {LARGEST:g}, whose errors nothing can sum: mend it.")
    return values, np.isfinite(values), Counter()


def point_pairs(
    table: LabelTable, target: Target, grid: Grid, pixels: LayerPixels, uncounted: Uncounted
) -> Iterator[Pairs]:
    """The pairs of points in the order of their file, all at once. Raises as `label_values` and `LayerPixels.read`."""
    labels, labelled, _ = label_values(table, target)
    known = labelled & (labels != UNKNOWN) if target.classes else labelled
    uncounted.n_unlabelled = int((~labelled).sum())
    uncounted.n_outside = int((labelled & ~table.placed).sum())
    if target.classes is not None:
        unknown = np.flatnonzero(labelled & table.placed & ~known)
        column = table.columns[target.column]
        uncounted.unknown.update(str(label) for label in column.take(unknown).to_pylist())
    owners = np.flatnonzero(known & table.placed)
    rows, cols = table.rows[owners], table.cols[owners]
    places = Places(owners=owners, rows=rows, cols=cols, labels=labels[owners])
    values = gathered(pixels, target.layer, rows, cols, grid)
    sure = None if target.confidence is None else gathered(pixels, target.confidence, rows, cols, grid)
    yield _pairs(target, places, values, sure, uncounted)


def polygon_pairs(
    table: LabelTable, target: Target, grid: Grid, pixels: LayerPixels, uncounted: Uncounted
) -> Iterator[Pairs]:
    """The pairs of the pixels whose centres lie in polygons, tile by tile. Raises as `point_pairs` does.

    A pixel in several polygons is a pair with each.
    """
    assert table.shapes is not None, "these labels are polygons"
    labels, labelled, _ = label_values(table, target)
    reached = np.zeros(table.n, dtype=bool)
    texts = table.columns[target.column]
    for box, owners, rows, cols in polygon_pixels(table.shapes, grid.extent):
        reached[owners] = True
        wanted = labelled[owners]
        uncounted.n_unlabelled += int((~wanted).sum())
        if target.classes is not None:
            lost = wanted & (labels[owners] == UNKNOWN)
            numbers, often = np.unique(owners[lost], return_counts=True)
            for label, n in zip(texts.take(numbers).to_pylist(), often.tolist(), strict=True):
                uncounted.unknown[str(label)] += n
            wanted &= ~lost
        if wanted.any():
            held = owners[wanted]
            places = Places(owners=held, rows=rows[wanted], cols=cols[wanted], labels=labels[held])
            yield _in_box(target, places, pixels, box, uncounted)
    uncounted.n_outside = int((table.placed & ~reached).sum())


def raster_pairs(
    raster: LabelRaster, target: Target, grid: Grid, pixels: LayerPixels, uncounted: Uncounted
) -> Iterator[Pairs]:
    """The pairs of a raster of labels at the centres of the product's pixels, tile by tile.

    Pixels where the raster has no label are unlabelled. Raises LabelError for a raster that is damaged, and as
    `LayerPixels.read` does.
    """
    for tile in tiles_in(grid.extent):
        box = tile.intersect(grid.extent)
        found, labelled = raster.on(grid, box)
        uncounted.n_unlabelled += int((~labelled).sum())
        if not labelled.any():
            continue
        at = np.nonzero(labelled)
        values = found[at]
        if target.classes is not None:
            labels = _raster_codes(values, target, uncounted)
            kept = labels >= 0
            at, labels = (at[0][kept], at[1][kept]), labels[kept]
        else:
            labels = values.astype(np.float64)
            if (np.abs(labels) > LARGEST).any():
                raise LabelError(f"{raster.name} holds values beyond {LARGEST:g}: tell its nodata, or mend it.")
        if len(labels):
            rows, cols = at[0] + box.row_start, at[1] + box.col_start
            nobody = np.full(len(labels), -1, dtype=np.int64)
            places = Places(owners=nobody, rows=rows, cols=cols, labels=labels)
            yield _in_box(target, places, pixels, box, uncounted)


def _raster_codes(values: np.ndarray, target: Target, uncounted: Uncounted) -> np.ndarray:
    assert target.classes is not None, "values have no codes"
    if values.dtype == np.uint8:
        # The usual raster of classes: counting is much faster than sorting.
        counts = np.bincount(values, minlength=256)
        distinct, inverse, often = np.arange(256), values.astype(np.int64), counts
    else:
        distinct, inverse, often = np.unique(values, return_inverse=True, return_counts=True)
    codes = np.array([target.classes.code_of(value) for value in distinct.tolist()], dtype=np.int64)
    lost = (codes < 0) & (often > 0)
    for value, n in zip(distinct[lost].tolist(), often[lost].tolist(), strict=True):
        uncounted.unknown[f"{value:g}"] += n
        if len(uncounted.unknown) > 2**16:
            raise LabelError(f"The raster holds over {2**16:,} different labels, which are no classes: give another.")
    return codes[inverse.reshape(-1)]


def _in_box(target: Target, places: Places, pixels: LayerPixels, box: PixelBox, uncounted: Uncounted) -> Pairs:
    """The pairs of places that lie in a box."""
    at = places.rows - box.row_start, places.cols - box.col_start
    values = pixels.read(target.layer, box)[at]
    sure = None if target.confidence is None else pixels.read(target.confidence, box)[at]
    return _pairs(target, places, values, sure, uncounted)


def _pairs(target: Target, places: Places, values: np.ndarray, sure: np.ndarray | None, uncounted: Uncounted) -> Pairs:
    there = _valid(values, target.layer)
    uncounted.n_nodata += int((~there).sum())
    found = values[there]
    product = found.astype(np.float64) if target.classes is None else target.classes.product_codes(found)
    if target.classes is None and (np.abs(product) > LARGEST).any():
        raise LabelError(
            f"The layer {target.layer.name} holds values beyond {LARGEST:g}, whose errors nothing can sum: mend it."
        )
    return Pairs(
        owners=places.owners[there],
        rows=places.rows[there],
        cols=places.cols[there],
        labels=places.labels[there],
        product=product,
        confidence=np.full(len(found), np.nan) if sure is None else _confidence(sure[there], target),
    )


def _valid(values: np.ndarray, layer: ProductLayer) -> np.ndarray:
    valid: np.ndarray = np.isfinite(values) if values.dtype.kind == "f" else np.ones(values.shape, dtype=bool)
    return valid if layer.nodata is None else valid & (values != layer.nodata)


def _confidence(stored: np.ndarray, target: Target) -> np.ndarray:
    assert target.confidence is not None, "this layer has a confidence"
    # Percent of bytes: a division gives the number that people write, 0.29 and not 0.29000000000000004.
    shares = stored.astype(np.float64) / 100 if target.percent else stored.astype(np.float64)
    valid = _valid(stored, target.confidence) & (shares >= 0) & (shares <= 1)
    return np.where(valid, shares, np.nan)


def gathered(pixels: LayerPixels, layer: ProductLayer, rows: np.ndarray, cols: np.ndarray, grid: Grid) -> np.ndarray:
    """The pixels of a layer at absolute ``rows`` and ``cols`` (place,), read tile by tile of the store.

    Raises as `LayerPixels.read` does.
    """
    height, width = layer.tile
    extent = grid.extent
    down, across = (rows - extent.row_start) // height, (cols - extent.col_start) // width
    n_across = -(-extent.shape[1] // width)
    tile = down * n_across + across
    order = np.argsort(tile, kind="stable")
    starts = np.flatnonzero(np.diff(tile[order], prepend=-1))
    found = np.empty(len(rows), dtype=layer.dtype)
    for start, stop in zip(starts, [*starts[1:], len(order)][: len(starts)], strict=True):
        these = order[start:stop]
        top = extent.row_start + int(down[these[0]]) * height
        left = extent.col_start + int(across[these[0]]) * width
        box = PixelBox.at(top, left, shape=(height, width)).intersect(extent)
        found[these] = pixels.read(layer, box)[rows[these] - box.row_start, cols[these] - box.col_start]
    return found
