"""What two products have in common: the rectangle of pixels that both grids hold, and the classes of a layer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tilewright.tasks.grid.crs import same_crs
from tilewright.tasks.grid.grid import Grid
from tilewright.tasks.report.fields import rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.tasks.compare.finished import FinishedProduct, MapClass

SAME_SIZE = 1e-12
"""Share by which two pixel sizes may differ and still be one: the last digit of a division, not a lattice."""

LISTED = 4
"""Names in a sentence, at most."""


class CompareError(ValueError):
    """Products that cannot be compared; the message names how they differ, and what to do."""


def common_grid(a: Grid, b: Grid) -> Grid:
    """The grid of the pixels of both. Both lie on the lattice from the origin of their CRS, so that no pixel is moved.

    Raises CompareError for another CRS, another size of pixels, and for grids without a common pixel.
    """
    if not same_crs(a.crs, b.crs):
        raise CompareError(
            f"A is in {_crs_name(a.crs)} and B in {_crs_name(b.crs)}: pixels of two CRSs are not the same ground. Make "
            "both with one grid.crs."
        )
    if not math.isclose(a.resolution, b.resolution, rel_tol=SAME_SIZE, abs_tol=0):
        raise CompareError(
            f"A has pixels of {a.resolution:.10g} and B of {b.resolution:.10g} units of the CRS: make both with one "
            "grid.resolution."
        )
    common = a.extent.intersect(b.extent)
    if common.empty:
        raise CompareError("A and B have no pixel in common: compare products of one area.")
    return Grid(crs=a.crs, resolution=a.resolution, extent=common)


def common_layers(a: FinishedProduct, b: FinishedProduct) -> tuple[str, ...]:
    """The layers of classes that both have, in the order of A."""
    return tuple(name for name in a.layers if name in b.layers)


def common_values(a: FinishedProduct, b: FinishedProduct) -> tuple[str, ...]:
    """The layers of values that both have, in the order of A. Raises CompareError for one in two units."""
    names = tuple(name for name in a.values if name in b.values)
    for name in names:
        units = [product.values[name].unit.strip() for product in (a, b)]
        if units[0] != units[1]:
            told = [_short(unit) or "no unit" for unit in units]
            raise CompareError(
                f"Layer {name} is in {told[0]} in A and in {told[1]} in B: compare products of one unit."
            )
    return names


def common_tables(a: FinishedProduct, b: FinishedProduct) -> tuple[str, ...]:
    """The tables of objects, which tell classes, that both have, in the order of A."""
    found = [[name for name, row in each.tables.items() if rows(row, "classes")] for each in (a, b)]
    return tuple(name for name in found[0] if name in found[1])


def check_common(a: FinishedProduct, b: FinishedProduct) -> None:
    """Check that two products have something of one name and kind. Raises CompareError."""
    if common_layers(a, b) or common_values(a, b) or common_tables(a, b):
        return
    names = [listed_names([*each.layers, *each.values, *each.tables]) or "none" for each in (a, b)]
    raise CompareError(
        f"A and B have no layer in common (A: {names[0]}; B: {names[1]}): layers and tables of one name and kind are "
        "compared, classes with classes and values with values."
    )


def joined_classes(layer: str, a: Sequence[MapClass], b: Sequence[MapClass]) -> tuple[MapClass, ...]:
    """The classes of both tables: those of A in its order, then those that only B has.

    Raises CompareError where a value or a name means two things, and where no class is in both.
    """
    names = {each.value: each.name for each in a}
    for each in b:
        if names.get(each.value, each.name) != each.name:
            raise CompareError(
                f"Layer {layer}: {each.value} is {_short(names[each.value])} in A and {_short(each.name)} in B: their "
                "classes are not the same. Compare products of one class table."
            )
        # A table may give one name to several values.
        values = [value for value, name in names.items() if name == each.name]
        if values and each.value not in values:
            raise CompareError(
                f"Layer {layer}: {_short(each.name)} is {values[0]} in A and {each.value} in B: their classes are not "
                "the same. Compare products of one class table."
            )
    if not any(each.value in names for each in b):
        raise CompareError(f"Layer {layer}: no class is in both A and B. Compare products of one class table.")
    return (*a, *(each for each in b if each.value not in names))


def listed_names(names: Sequence[str]) -> str:
    """Names in a sentence: the first few of them, and how many more there are."""
    shown = ", ".join(_short(name) for name in names[:LISTED])
    return f"{shown} and {len(names) - LISTED} more" if len(names) > LISTED else shown


def _short(name: str) -> str:
    return name if len(name) <= 60 else f"{name[:57]}..."


def _crs_name(crs: str) -> str:
    return crs if len(crs) <= 40 else f"{crs[:37]}..."
