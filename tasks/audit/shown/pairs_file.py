"""pairs.csv: each label beside what the product says there, written as pairs come."""

from __future__ import annotations

import csv
from typing import IO, TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.tasks.audit.evaluate.evaluate import Labels
    from tilewright.tasks.audit.evaluate.pairs import Pairs
    from tilewright.tasks.audit.evaluate.targets import Target
    from tilewright.tasks.grid.grid import Grid

PAIRS = "pairs.csv"

COLUMNS = ("layer", "label_id", "x", "y", "label", "product", "confidence")

MOST_ROWS = 1_000_000
"""Rows of the file: more than a spreadsheet opens. Of pixels of large polygons and rasters the first are written."""

ID = "id"

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for a formula at the start of a text."""


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

    def _ids(self, owners: np.ndarray) -> Sequence[object]:
        table = self._labels.table
        if table is None:
            return [""] * len(owners)
        if ID in table.columns.column_names:
            return [
                _plain(str(each)) if each is not None else "" for each in table.columns[ID].take(owners).to_pylist()
            ]
        return [each + 1 for each in owners.tolist()]


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
