"""pairs.csv: each label beside what the product says there, written as pairs come."""

from __future__ import annotations

import csv
from typing import IO, TYPE_CHECKING

import numpy as np
import shapely

from tilewright.tasks.audit.evaluate.classes import FORMULA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.tasks.audit.evaluate.evaluate import Labels
    from tilewright.tasks.audit.evaluate.pairs import Pairs
    from tilewright.tasks.audit.evaluate.targets import Target
    from tilewright.tasks.audit.objects.objects import ObjectEvaluation
    from tilewright.tasks.grid.grid import Grid

PAIRS = "pairs.csv"

COLUMNS = ("layer", "label_id", "x", "y", "label", "product", "confidence")

MOST_ROWS = 1_000_000
"""Rows of the file: more than a spreadsheet opens. Of pixels of large polygons and rasters the first are written."""

ID = "id"


class PairsFile:
    """Writes pairs: x and y are the centre of the pixel in the CRS of the grid, ``label_id`` the column ``id`` of the
    labels, or the number of the row from 1, empty for a raster.
    """

    def __init__(self, file: IO[str], grid: Grid, labels: Labels) -> None:
        self._writer = csv.writer(file, lineterminator="\n")
        self._writer.writerow(COLUMNS)
        self._grid, self._labels = grid, labels
        self.n_written = self.n_pairs = 0

    def add(self, target: Target, pairs: Pairs) -> None:
        """Write pairs of a layer, as long as the file takes more."""
        self.n_pairs += len(pairs)
        n = min(len(pairs), MOST_ROWS - self.n_written)
        if n <= 0:
            return
        size = self._grid.resolution
        ids = self._ids(pairs.owners[:n])
        x, y = (pairs.cols[:n] + 0.5) * size, -(pairs.rows[:n] + 0.5) * size
        labels, product = (_names(each[:n], target) for each in (pairs.labels, pairs.product))
        sure = ["" if np.isnan(each) else f"{each:.6g}" for each in pairs.confidence[:n].tolist()]
        layer = _plain(target.layer.name)
        columns = (ids, map(_coordinate, x.tolist()), map(_coordinate, y.tolist()), labels, product, sure)
        self._writer.writerows((layer, *row) for row in zip(*columns, strict=True))
        self.n_written += n

    def add_objects(self, evaluation: ObjectEvaluation) -> None:
        """Write labels of objects, the product's class beside those that were found, then objects that are no label."""
        table, size = evaluation.table, self._grid.resolution
        names = [*map(_plain, table.classes.names)]
        layer, ids = _plain(table.name), self._ids(evaluation.owners)
        for number, (x, y) in enumerate(_middles(evaluation.shapes) * size):
            name = names[evaluation.codes[number]]
            said = name if evaluation.found[number] else ""
            self._writer.writerow((layer, ids[number], _coordinate(x), _coordinate(y), name, said, ""))
        extra = np.flatnonzero(~evaluation.right)
        for number, (x, y) in zip(extra.tolist(), _middles(table.shapes[extra]) * size, strict=True):
            score = "" if table.scores is None else f"{table.scores[number]:.6g}"
            said = names[table.codes[number]]
            self._writer.writerow((layer, "", _coordinate(x), _coordinate(y), "", said, score))

    def _ids(self, owners: np.ndarray) -> Sequence[object]:
        table = self._labels.table
        if table is None:
            return [""] * len(owners)
        if ID in table.columns.column_names:
            return [
                _plain(str(each)) if each is not None else "" for each in table.columns[ID].take(owners).to_pylist()
            ]
        return [table.number(each) for each in owners.tolist()]


def _middles(shapes: np.ndarray) -> np.ndarray:
    """The middles of the bounds of polygons, (shape, 2)."""
    west, south, east, north = shapely.bounds(shapes).reshape(-1, 4).T
    return np.column_stack([(west + east) / 2, (south + north) / 2])


def _names(codes: np.ndarray, target: Target) -> list[str]:
    if target.classes is None:
        return [f"{each:.9g}" for each in codes.tolist()]
    names = [*map(_plain, target.classes.names), ""]
    return [names[each] for each in codes.tolist()]


def _coordinate(value: float) -> str:
    return f"{value:.10g}"


def _plain(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
