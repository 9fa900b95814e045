"""Boxes, objects and polygons of a product's table held against polygons of labels."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from shapely.lib import GEOSException

from tilewright.catalogs.parquet import pyarrow
from tilewright.tasks.audit.evaluate.classes import UNKNOWN, UNLABELLED, scored_classes
from tilewright.tasks.audit.evaluate.label_file import LabelError
from tilewright.tasks.audit.evaluate.targets import USUAL
from tilewright.tasks.audit.objects.precision import IOUS, average_precision, matched, mean_of, overlaps
from tilewright.tasks.report.fields import rows, text
from tilewright.tasks.storage.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilewright.tasks.audit.evaluate.classes import ScoredClasses
    from tilewright.tasks.audit.evaluate.label_file import LabelTable
    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.report.fields import Fields
    from tilewright.tasks.storage.storage import Storage

NAME_COLUMNS = (*USUAL, "name")

LEAST_IOU = 0.5
"""Overlap at which precision, recall and F1 are told if none is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectTable:
    """The polygons of a product's table in pixels (row,), the indices of their classes, and scores, None for none."""

    name: str
    classes: ScoredClasses
    shapes: np.ndarray
    codes: np.ndarray
    scores: np.ndarray | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectEvaluation:
    """A table held against labels: its document, the table, which of its objects are ``right``, and the labels by
    their rows in the file from 0, their polygons in pixels, the indices of their classes, and which were ``found``.
    """

    told: Mapping[str, Any]
    table: ObjectTable
    right: np.ndarray
    owners: np.ndarray
    shapes: np.ndarray
    codes: np.ndarray
    found: np.ndarray


def object_table_name(report: Fields, layer: str | None) -> str | None:
    """The table that a ``layer`` names, or the only one of a product without a layer; None if it is about layers."""
    tables = [text(each, "name") for each in rows(report, "tables") if text(each, "name") not in {"zones", "places"}]
    mapped = [each for each in rows(report, "layers") if each.get("kind") != "id"]
    if layer is not None:
        of_layer = [each for each in mapped if text(each, "name") == layer]
        return layer if layer in tables and not of_layer else None
    return tables[0] if len(tables) == 1 and not mapped else None


def read_objects(
    storage: Storage, report: Fields, name: str, grid: Grid, maps: Mapping[str, Sequence[str]]
) -> ObjectTable:
    """The objects of a product's table. Raises StoreError for one that is not there or cannot be read."""
    told = next(each for each in rows(report, "tables") if text(each, "name") == name)
    file = f"{name}.parquet"
    content = storage.read(file)
    if content is None:
        raise StoreError(f"{storage.uri} has no {file}: run its job again.")
    try:
        table = pyarrow().parquet.read_table(io.BytesIO(content))
        geometries = shapely.from_wkb(np.array(table["geometry"].to_pylist(), dtype=object))
        values = table["value"].to_numpy().astype(np.int64)
        names = table["name"].to_pylist()
        scores = table["score"].to_numpy().astype(np.float64) if "score" in table.column_names else None
    except (OSError, ValueError, KeyError, TypeError, GEOSException) as error:
        raise StoreError(f"{storage.uri}/{file} is no table of objects ({str(error)[:120]}): restore it.") from error
    known = ((each.get("value"), text(each, "name")) for each in rows(told, "classes"))
    listed = {value: each for value, each in known if isinstance(value, int)}
    listed |= {int(value): str(each) for value, each in zip(values, names, strict=True) if int(value) not in listed}
    classes = scored_classes(name, sorted(listed.items()), maps)
    size = grid.resolution
    return ObjectTable(
        name=name,
        classes=classes,
        shapes=np.asarray(shapely.transform(geometries, lambda at: at / size)),
        codes=np.array([classes.of_value[int(value)] for value in values], dtype=np.int64),
        scores=scores,
    )


def evaluate_objects(
    table: ObjectTable, labels: LabelTable, grid: Grid, *, column: str | None, ious: Sequence[float]
) -> ObjectEvaluation:
    """A table held against polygons of labels, class by class.

    Labels whose centre is not on the product are left out. Raises LabelError for labels that are no polygons, whose
    classes cannot be told, or of which too many lie on one another; StoreError for a table with shapes that are none.
    """
    if labels.shapes is None:
        raise LabelError(f"{labels.name} holds points: objects are held against polygons, give their outlines.")
    held = _label_column(labels, table, column)
    codes, unknown = np.zeros(labels.n, dtype=np.int64), Counter[str]()
    if held is not None:
        codes, unknown = table.classes.column_codes(labels.columns[held], where=f"{held!r} of {labels.name}")
        if not (codes >= 0).any():
            raise table.classes.refusal(table.name, unknown, where=f"{held!r} of {labels.name}")
    there = labels.placed & _on_grid(labels.shapes, grid)
    kept = there & (codes >= 0)
    shapes, codes_kept = labels.shapes[kept], codes[kept]
    steps = sorted(set(ious)) if ious else list(IOUS)
    chosen = steps[0] if ious else LEAST_IOU
    marks = _Marks(len(table.shapes), len(shapes))
    per_class = {}
    try:
        for number, name in enumerate(table.classes.names):
            mine, theirs = np.flatnonzero(table.codes == number), np.flatnonzero(codes_kept == number)
            per_class[name] = _class_scores(table, shapes, mine, theirs, steps=steps, chosen=chosen, marks=marks)
    except GEOSException as error:
        raise StoreError(
            f"{table.name}.parquet holds a shape that is none ({str(error)[:120]}): restore it."
        ) from error
    told = {
        "layer": table.name,
        "kind": "objects",
        "column": held,
        **_totals(per_class, steps),
        "n": len(shapes),
        "n_outside": int((labels.placed & ~there).sum()),
        "n_nodata": 0,
        "n_unknown": int((there & (codes == UNKNOWN)).sum()),
        "n_unlabelled": int((there & (codes == UNLABELLED)).sum() + (~labels.placed).sum()),
        "unknown": dict(unknown.most_common(50)),
        "unit": "object",
        "iou": chosen,
        "classes": list(table.classes.names),
        "per_class": per_class,
        "groups": {},
    }
    return ObjectEvaluation(
        told=told,
        table=table,
        right=marks.objects,
        owners=np.flatnonzero(kept),
        shapes=shapes,
        codes=codes_kept,
        found=marks.labels,
    )


class _Marks:
    """Which objects were right and which labels were found, at the IoU that is told."""

    def __init__(self, n_objects: int, n_labels: int) -> None:
        self.objects, self.labels = np.zeros(n_objects, dtype=bool), np.zeros(n_labels, dtype=bool)


def _class_scores(
    table: ObjectTable,
    shapes: np.ndarray,
    mine: np.ndarray,
    theirs: np.ndarray,
    *,
    steps: Sequence[float],
    chosen: float,
    marks: _Marks,
) -> dict[str, Any]:
    found = overlaps(table.shapes[mine], shapes[theirs], min(chosen, *steps))
    scores = np.zeros(len(mine)) if table.scores is None else table.scores[mine]
    # Without scores the objects that fit best choose first. Equal ones keep the order of the table.
    order = np.argsort(-(found.best(len(mine)) if table.scores is None else scores), kind="stable")
    takes = matched(order, found, len(theirs), chosen)
    right = takes >= 0
    marks.objects[mine[right]] = True
    marks.labels[theirs[takes[right]]] = True
    precisions: dict[str, float | None] = {}
    if table.scores is not None:
        for step in steps:
            hits = matched(order, found, len(theirs), step)[order] >= 0
            precisions[f"{step:g}"] = average_precision(hits, len(theirs))
    return _shares(int(right.sum()), len(mine), len(theirs)) | {
        "mean_iou": mean_of(found.taken(takes)),
        "average_precision": mean_of([*precisions.values()]) if precisions else None,
        "by_iou": precisions,
    }


def _shares(n_right: int, n_product: int, n_labels: int) -> dict[str, Any]:
    return {
        "precision": n_right / n_product if n_product else None,
        "recall": n_right / n_labels if n_labels else None,
        "f1": 2 * n_right / (n_product + n_labels) if n_product + n_labels else None,
        "n_right": n_right,
        "n_labels": n_labels,
        "n_product": n_product,
    }


def _totals(per_class: Mapping[str, Mapping[str, Any]], steps: Sequence[float]) -> dict[str, Any]:
    """The figures of all classes: counts are summed, average precisions averaged over classes that have labels."""
    counts = [sum(row[key] for row in per_class.values()) for key in ("n_right", "n_product", "n_labels")]
    names = [f"{step:g}" for step in steps]
    of_steps = {name: mean_of([row["by_iou"].get(name) for row in per_class.values()]) for name in names}
    of_all = mean_of([row["average_precision"] for row in per_class.values()])
    return {**_shares(*counts), "average_precision": of_all, "by_iou": of_steps if of_all is not None else {}}


def _label_column(labels: LabelTable, table: ObjectTable, column: str | None) -> str | None:
    names = labels.columns.column_names
    if column is not None and column not in names:
        raise LabelError(f"{labels.name} has no column {column!r}: it has {', '.join(names)[:300] or 'none'}.")
    held = column or next((each for each in (table.name, *NAME_COLUMNS) if each in names), None)
    if len(table.classes.names) == 1 and column is None:
        return None
    if held is None:
        listed = ", ".join(table.classes.names[:20])
        raise LabelError(f"Say with --column which column of {labels.name} names the class: {table.name} has {listed}.")
    return held


def _on_grid(shapes: np.ndarray, grid: Grid) -> np.ndarray:
    """Which polygons have the middle of their bounds on the grid."""
    west, south, east, north = shapely.bounds(shapes).T
    x, y, extent = (west + east) / 2, -(south + north) / 2, grid.extent
    with np.errstate(invalid="ignore"):
        inside = (x >= extent.col_start) & (x < extent.col_stop) & (y >= extent.row_start) & (y < extent.row_stop)
    found: np.ndarray = inside
    return found
