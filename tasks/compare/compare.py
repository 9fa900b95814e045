"""The comparison of two finished products: the figures of each layer of classes, and where it differs most."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.tasks.colours import UNLISTED
from tilewright.tasks.compare.cells import most_apart
from tilewright.tasks.compare.finished import MapClass
from tilewright.tasks.compare.lattice import common_layers, joined_classes
from tilewright.tasks.compare.pictures import moves_of
from tilewright.tasks.compare.places import PlaceTable, lonlat_bounds
from tilewright.tasks.compare.transitions import count_transitions
from tilewright.tasks.compare.words import (
    ComparisonFigures,
    PlaceWords,
    place_words,
    short,
)
from tilewright.tasks.grid.areas import pixel_metres

if TYPE_CHECKING:
    from pathlib import Path

    from tilewright.tasks.compare.finished import FinishedProduct
    from tilewright.tasks.compare.pictures import Move
    from tilewright.tasks.compare.places import ChangedPlaces
    from tilewright.tasks.compare.transitions import Transitions
    from tilewright.tasks.grid.grid import Grid

MOST_CELLS = 10
"""Cells listed in which A and B differ most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerComparison:
    """One layer of two products, compared; ``table`` is the local file of its changed places."""

    layer: str
    classes: tuple[MapClass, ...]
    found: Transitions
    moves: tuple[Move, ...]
    places: ChangedPlaces
    table: Path

    @property
    def differ_km2(self) -> float:
        """The area on the ground of what differs."""
        return math.fsum(move.km2 for move in self.moves)

    def name_of(self, value: int) -> str:
        """The name of a class that occurs or is listed."""
        return next(each.name for each in self.classes if each.value == value)


def compare_layers(a: FinishedProduct, b: FinishedProduct, grid: Grid, folder: Path) -> list[LayerComparison]:
    """Every layer of classes that both have, compared over their common grid; the tables come into ``folder``.

    Raises CompareError for unlike classes, StorageError or ChangedStoreError where pixels cannot be read.
    """
    names = common_layers(a, b)
    tables = {name: joined_classes(name, a.layers[name].classes, b.layers[name].classes) for name in names}
    files = ["changes.parquet", *(f"changes_{name}.parquet" for name in names[1:])][: len(names)]
    return [
        _compare(a, b, grid, name, tables[name], folder=folder, file=file)
        for name, file in zip(names, files, strict=True)
    ]


def _compare(
    a: FinishedProduct,
    b: FinishedProduct,
    grid: Grid,
    layer: str,
    listed: tuple[MapClass, ...],
    *,
    folder: Path,
    file: str,
) -> LayerComparison:
    first, second = (product.rows_of(layer, grid.extent) for product in (a, b))
    with PlaceTable(folder, grid) as table:
        nodata = a.layers[layer].nodata, b.layers[layer].nodata
        found = count_transitions(grid, first.rows, second.rows, nodata=nodata, take=table.add)
        known = {each.value for each in listed}
        there = np.flatnonzero(found.counts.sum(axis=0) + found.counts.sum(axis=1))
        others = [int(value) for value in there if int(value) not in known]
        classes = (*listed, *(MapClass(value=each, name=f"value {each}", colour=UNLISTED) for each in others))
        places = table.write(folder / file, {each.value: each.name for each in classes})
    return LayerComparison(
        layer=layer, classes=classes, found=found, moves=moves_of(found), places=places, table=folder / file
    )


def layer_json(each: LayerComparison, grid: Grid) -> dict[str, Any]:
    """The figures of a layer as JSON values."""
    values = [known.value for known in each.classes]
    found = each.found
    return {
        "layer": each.layer,
        "classes": [known.name for known in each.classes],
        "values": values,
        "n": found.n,
        "n_only_a": found.n_only_a,
        "n_only_b": found.n_only_b,
        "agreement": found.n_equal / found.n if found.n else None,
        "transitions": found.counts[np.ix_(values, values)].tolist(),
        "transitions_km2": found.km2[np.ix_(values, values)].tolist(),
        "most_different": most_different(found, grid),
        "n_places": each.places.n,
        "largest_places": [
            {
                "id": place.id,
                "from": each.name_of(place.before),
                "to": each.name_of(place.after),
                "area_m2": place.km2 * 1e6,
                "lon": _degrees(place.lon),
                "lat": _degrees(place.lat),
                "bbox": lonlat_bounds(grid, place.box),
            }
            for place in each.places.largest
        ],
        "table": each.table.name,
    }


def most_different(found: Transitions, grid: Grid) -> list[dict[str, Any]]:
    """The cells with the greatest share of pixels that differ, among those that both observed, as JSON values."""
    both, differ = found.cell_both, found.cell_differ
    cells = most_apart(both, differ, first=found.first_cell, extent=grid.extent, most=MOST_CELLS)
    return [{"bbox": lonlat_bounds(grid, cell.box), "share": cell.share, "n": cell.n} for cell in cells]


def layer_figures(each: LayerComparison, grid: Grid) -> ComparisonFigures:
    """What the sentences on a layer are computed from."""
    found, values = each.found, [known.value for known in each.classes]
    largest = each.places.largest[0] if each.places.largest else None
    place = None
    if largest is not None:
        change = f"went from {short(each.name_of(largest.before))} to {short(each.name_of(largest.after))}"
        where = place_words(largest.lon, largest.lat, metres=max(pixel_metres(grid)))
        place = PlaceWords(n=each.places.n, km2=largest.km2, where=where, change=change)
    return ComparisonFigures(
        n=found.n,
        n_differ=found.n - found.n_equal,
        n_only=found.n_only_a + found.n_only_b,
        both_km2=float(found.km2.sum()),
        differ_km2=each.differ_km2,
        classes=[known.name for known in each.classes],
        a_km2=[float(found.km2[value].sum()) for value in values],
        b_km2=[float(found.km2[:, value].sum()) for value in values],
        moved=[(each.name_of(move.before), each.name_of(move.after), move.km2) for move in each.moves],
        place=place,
    )


def _degrees(angle: float) -> float | None:
    return round(angle, 7) if math.isfinite(angle) else None
