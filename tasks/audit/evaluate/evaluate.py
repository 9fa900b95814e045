"""The layers of a finished product held against labels: pairs are counted as they come, and scored."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from pyproj.exceptions import ProjError

from tilewright.tasks.audit.evaluate.label_file import is_raster, outside_error, read_label_table
from tilewright.tasks.audit.evaluate.label_raster import open_label_raster
from tilewright.tasks.audit.evaluate.pairs import (
    Uncounted,
    label_values,
    point_pairs,
    polygon_pairs,
    raster_pairs,
)
from tilewright.tasks.audit.evaluate.scores import class_scores, value_scores
from tilewright.tasks.audit.evaluate.tally import PairCounts
from tilewright.tasks.audit.evaluate.targets import choose_targets, opened
from tilewright.tasks.audit.evaluate.tiles import TileGroups
from tilewright.tasks.grid.crs import transformer
from tilewright.tasks.progress import Stage, silent
from tilewright.tasks.zones.layers import LayerPixels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import ExitStack
    from pathlib import Path

    from shapely.geometry.base import BaseGeometry

    from tilewright.tasks.audit.evaluate.groups import Groups
    from tilewright.tasks.audit.evaluate.label_file import LabelTable
    from tilewright.tasks.audit.evaluate.label_raster import LabelRaster
    from tilewright.tasks.audit.evaluate.pairs import Pairs
    from tilewright.tasks.audit.evaluate.targets import Target
    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.progress import Listener
    from tilewright.tasks.storage.storage import Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerEvaluation:
    """One layer held against labels. ``pairs`` are all pairs of points in the order of the file, None for pixels of
    polygons and rasters, which are counted and not kept. ``unit`` says what ``n`` counts.
    """

    storage: Storage
    grid: Grid
    target: Target
    tally: PairCounts
    uncounted: Uncounted
    scores: Mapping[str, Any]
    groups: Mapping[str, Any]
    table: LabelTable | None
    pairs: Pairs | None

    @property
    def unit(self) -> str:
        """What one pair is: a ``label`` or a ``pixel``."""
        return "label" if self.pairs is not None else "pixel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Labels that are open: a table of points or polygons, or a raster, of a file called ``name``."""

    name: str
    table: LabelTable | None
    raster: LabelRaster | None


def open_labels(path: Path, grid: Grid, stack: ExitStack, *, cut: Callable[[BaseGeometry], BaseGeometry]) -> Labels:
    """The labels of a file, of which some may lie on a grid. Raises LabelError, VectorFileError or ZoneError."""
    if is_raster(path):
        raster = stack.enter_context(open_label_raster(path))
        if not _on_grid(raster, grid):
            raise outside_error(raster.name, raster.lonlat(), grid)
        return Labels(name=raster.name, table=None, raster=raster)
    table = read_label_table(path, grid, cut=cut)
    if table.shapes is None:
        there = bool(table.placed.any())
    else:
        extent = grid.extent
        square = shapely.box(extent.col_start, -extent.row_stop, extent.col_stop, -extent.row_start)
        there = bool(shapely.intersects(table.shapes, square).any())
    if not there:
        raise outside_error(table.name, table.lonlat, grid)
    return Labels(name=table.name, table=table, raster=None)


def _on_grid(raster: LabelRaster, grid: Grid) -> bool:
    """False if a raster cannot have a pixel of the grid, which is looked at in the raster's CRS.

    The other way round would not do: a map of the world reaches beyond what most CRSs can show.
    """
    try:
        bounds = transformer(grid.crs, raster.crs).transform_bounds(*grid.bounds_of(grid.extent))
    except ProjError:
        return True
    west, south, east, north = bounds
    if not all(map(math.isfinite, bounds)) or west > east:
        # Its pixels will tell.
        return True
    left, bottom, right, top = raster.band.bounds
    left, right, bottom, top = min(left, right), max(left, right), min(bottom, top), max(bottom, top)
    return bool(west < right and east > left and south < top and north > bottom)


def evaluate_layers(
    storage: Storage,
    labels: Labels,
    grid: Grid,
    *,
    column: str | None = None,
    layer: str | None = None,
    maps: Mapping[str, Sequence[str]] | None = None,
    groups: Callable[[Labels], Groups | None],
    take: Callable[[Target, Pairs], None],
    listener: Listener = silent,
) -> list[LayerEvaluation]:
    """Every layer that the labels are held against, in the order of their columns.

    ``take`` gets the pairs of each as they come. ``groups`` gives the groups in which they are scored too.

    Raises LabelError for what cannot be compared, before pixels are read but for a raster; StorageError if storage
    refuses, ChangedStoreError for layers that are damaged.
    """
    names = None if labels.table is None else labels.table.columns.column_names
    targets = choose_targets(storage, names, column=column, layer=layer, maps=maps or {}, name=labels.name)
    if labels.table is not None:
        for target in targets:
            label_values(labels.table, target)
    grouping = groups(labels)
    listener(Stage(name="evaluate", total=len(targets)))
    return [_evaluate(storage, labels, grid, target, groups=grouping, take=take) for target in targets]


def _evaluate(
    storage: Storage,
    labels: Labels,
    grid: Grid,
    target: Target,
    *,
    groups: Groups | None,
    take: Callable[[Target, Pairs], None],
) -> LayerEvaluation:
    tally = PairCounts(target, grid.extent, n_groups=len(groups.names) if groups else 0)
    uncounted, kept = Uncounted(), None
    with LayerPixels(opened(storage, target)) as pixels:
        for pairs in _stream(labels, target, grid, pixels, uncounted):
            tally.add(pairs, None if groups is None else groups.of(pairs))
            take(target, pairs)
            kept = pairs
    if labels.raster is not None and not tally.cell_n.any() and not uncounted.n_nodata and not uncounted.n_unknown:
        raise outside_error(labels.name, labels.raster.lonlat(), grid)
    if target.classes and not tally.cell_n.any() and uncounted.n_unknown and not uncounted.n_nodata:
        raise target.classes.refusal(target.layer.name, uncounted.unknown, where=labels.name)
    scores, of_groups = _scores(target, tally, groups)
    points = labels.table is not None and labels.table.shapes is None
    return LayerEvaluation(
        storage=storage,
        grid=grid,
        target=target,
        tally=tally,
        uncounted=uncounted,
        scores=scores,
        groups=of_groups,
        table=labels.table,
        pairs=kept if points else None,
    )


def _stream(labels: Labels, target: Target, grid: Grid, pixels: LayerPixels, uncounted: Uncounted) -> Iterator[Pairs]:
    if labels.raster is not None:
        return raster_pairs(labels.raster, target, grid, pixels, uncounted)
    assert labels.table is not None, "labels are a table or a raster"
    read = point_pairs if labels.table.shapes is None else polygon_pairs
    return read(labels.table, target, grid, pixels, uncounted)


def _scores(target: Target, tally: PairCounts, groups: Groups | None) -> tuple[dict[str, Any], dict[str, Any]]:
    def of(group: int) -> dict[str, Any]:
        if target.classes is None:
            return value_scores(tally.values_of(group))
        return class_scores(target.classes.names, tally.classes_of(group))

    names = groups.names if groups else ()
    found = {name: told for number, name in enumerate(names) if (told := of(number + 1))["n"]}
    # Tiles are numbered as they are met.
    return of(0), dict(sorted(found.items())) if isinstance(groups, TileGroups) else found


def evaluation_json(evaluation: LayerEvaluation) -> dict[str, Any]:
    """The evaluation of one layer as JSON values."""
    target, uncounted = evaluation.target, evaluation.uncounted
    unknown = dict(sorted(uncounted.unknown.items(), key=lambda each: (-each[1], each[0]))[:50])
    return {
        "layer": target.layer.name,
        "kind": target.kind,
        "column": target.column or None,
        **evaluation.scores,
        "n_outside": uncounted.n_outside,
        "n_nodata": uncounted.n_nodata,
        "n_unknown": uncounted.n_unknown,
        "n_unlabelled": uncounted.n_unlabelled,
        "n_repeated": _n_repeated(evaluation.pairs),
        "unknown": unknown,
        "unit": evaluation.unit,
        "groups": evaluation.groups,
    }


def _n_repeated(pairs: Pairs | None) -> int:
    """How many points say of a pixel what another one says of it: they are counted, and tell no more."""
    if pairs is None:
        return 0
    return len(pairs) - len(np.unique(np.stack([pairs.rows, pairs.cols, pairs.labels]), axis=1).T)
