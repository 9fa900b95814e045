"""Two tables of objects held against each other: which object of one is which of the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import shapely
from shapely.lib import GEOSException

from tilewright.tasks.audit.objects.objects import LEAST_IOU, read_objects
from tilewright.tasks.audit.objects.precision import LEAST_GAP, matched, mean_of, overlaps
from tilewright.tasks.grid.crs import transformer
from tilewright.tasks.storage.errors import StoreError

if TYPE_CHECKING:
    from tilewright.tasks.audit.objects.objects import ObjectTable
    from tilewright.tasks.compare.difference.tolerance import SameLimits
    from tilewright.tasks.compare.finished import FinishedProduct
    from tilewright.tasks.grid.grid import Grid


@dataclass(frozen=True, slots=True, kw_only=True)
class LoneObject:
    """The largest object without a match: whether it is of A, its class, and its middle in degrees (EPSG:4326)."""

    of_a: bool
    kind: str
    lon: float
    lat: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectDifference:
    """A table of objects in A and B: how many each has, how many are one at an overlap from ``iou`` on.

    ``n_scores``: matched objects whose scores are further apart than is allowed, or of which one has none; ``n_near``:
    those that differ in shape or score, by no more than is allowed. ``lone``: None if all are matched.
    """

    table: str
    iou: float
    n_a: int
    n_b: int
    n_matched: int
    n_scores: int
    n_near: int
    mean_iou: float | None
    lone: LoneObject | None

    @property
    def n(self) -> int:
        """Objects, of which those of a match are one."""
        return self.n_a + self.n_b - self.n_matched

    @property
    def n_apart(self) -> int:
        """Objects without a match, and those whose scores are too far apart."""
        return self.n - self.n_matched + self.n_scores


def compare_objects(
    a: FinishedProduct, b: FinishedProduct, name: str, grid: Grid, limits: SameLimits | None
) -> ObjectDifference:
    """The objects of a table that have their middle on the common grid, matched class by class, best overlaps first.

    Without ``limits`` objects that overlap by half are one. Both tables are in memory.

    Raises StoreError for a table that cannot be read, StorageError if storage refuses.
    """
    iou = LEAST_IOU if limits is None else limits.iou
    first, second = (_objects(each, name, grid) for each in (a, b))
    taken = np.full(len(first.shapes), -1, dtype=np.int64)
    best = np.zeros(len(first.shapes))
    try:
        for number, kind in enumerate(first.classes.names):
            if kind not in second.classes.names:
                continue
            mine = np.flatnonzero(first.codes == number)
            theirs = np.flatnonzero(second.codes == second.classes.names.index(kind))
            pairs = overlaps(first.shapes[mine], second.shapes[theirs], iou)
            takes = matched(np.argsort(-pairs.best(len(mine)), kind="stable"), pairs, len(theirs), iou)
            taken[mine[takes >= 0]] = theirs[takes[takes >= 0]]
            best[mine[takes >= 0]] = pairs.taken(takes)
    except GEOSException as error:
        raise StoreError(f"{name}.parquet holds a shape that is none ({str(error)[:120]}): restore it.") from error
    there = taken >= 0
    within, unlike = _scores(first, second, taken, limits)
    return ObjectDifference(
        table=name,
        iou=iou,
        n_a=len(first.shapes),
        n_b=len(second.shapes),
        n_matched=int(there.sum()),
        n_scores=int((~within).sum()),
        n_near=int((within & ((best[there] < 1 - LEAST_GAP) | unlike)).sum()),
        mean_iou=mean_of(best[there].tolist()),
        lone=_lone(first, second, taken, grid),
    )


def _objects(product: FinishedProduct, name: str, grid: Grid) -> ObjectTable:
    """The objects of a product's table whose middles lie on the grid."""
    found = read_objects(product.store.storage, {"tables": [product.tables[name]]}, name, product.grid, {})
    x, y = _middles(found.shapes)
    extent = grid.extent
    with np.errstate(invalid="ignore"):
        kept = (x >= extent.col_start) & (x < extent.col_stop) & (-y >= extent.row_start) & (-y < extent.row_stop)
    return type(found)(
        name=found.name,
        classes=found.classes,
        shapes=found.shapes[kept],
        codes=found.codes[kept],
        scores=None if found.scores is None else found.scores[kept],
    )


def _middles(shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The middles of bounds, x and y in pixels."""
    west, south, east, north = shapely.bounds(shapes).reshape(-1, 4).T
    return (west + east) / 2, (south + north) / 2


def _scores(
    a: ObjectTable, b: ObjectTable, taken: np.ndarray, limits: SameLimits | None
) -> tuple[np.ndarray, np.ndarray]:
    """Which matched objects, in the order of A, have scores as near as is allowed, and which have not the same one."""
    there = taken >= 0
    if a.scores is None or b.scores is None:
        unlike = np.full(int(there.sum()), (a.scores is None) != (b.scores is None))
        return (~unlike if limits is not None else np.ones_like(unlike)), unlike
    mine, theirs = a.scores[there], b.scores[taken[there]]
    same = (mine == theirs) | (np.isnan(mine) & np.isnan(theirs))
    if limits is None:
        return np.ones_like(same), ~same
    with np.errstate(invalid="ignore"):
        return same | (np.abs(theirs - mine) <= limits.atol + limits.rtol * np.abs(mine)), ~same


def _lone(a: ObjectTable, b: ObjectTable, taken: np.ndarray, grid: Grid) -> LoneObject | None:
    """The largest object that has no match; of equal ones one of A, then the first of the table."""
    of_b = np.ones(len(b.shapes), dtype=bool)
    of_b[taken[taken >= 0]] = False
    found: list[tuple[float, ObjectTable, int]] = []
    for table, alone in ((a, np.flatnonzero(taken < 0)), (b, np.flatnonzero(of_b))):
        if len(alone):
            areas = shapely.area(table.shapes[alone])
            found.append((float(areas.max()), table, int(alone[int(np.argmax(areas))])))
    if not found:
        return None
    _, table, row = max(found, key=lambda each: each[0])
    x, y = _middles(table.shapes[row : row + 1])
    at = float(x[0]) * grid.resolution, float(y[0]) * grid.resolution
    lon, lat = transformer(grid.crs, "EPSG:4326").transform(*at)
    return LoneObject(of_a=table is a, kind=table.classes.names[int(table.codes[row])], lon=float(lon), lat=float(lat))
