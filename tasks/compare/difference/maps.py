"""The maps of difference: a COG of each layer with its legend, and its style."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tilewright.tasks.cog.spec import CogSpec
from tilewright.tasks.cog.staging import COG_TILE
from tilewright.tasks.cog.write import write_cog
from tilewright.tasks.colours import APART_STOPS, ramp_table
from tilewright.tasks.compare.difference.classes import NEITHER
from tilewright.tasks.styles.raster import raster_style
from tilewright.tasks.styles.styles import ENDING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tilewright.tasks.cog.spec import CogClass
    from tilewright.tasks.compare.difference.values import ValueDifference
    from tilewright.tasks.grid.grid import Grid


def map_name(layer: str) -> str:
    """The name of the map of difference of a layer."""
    return f"difference_{layer}.tif"


def read_through(rows: Callable[[int, int], np.ndarray], height: int) -> None:
    """Take all rows in the strips in which a map takes them, where no map is written."""
    for start in range(0, height, COG_TILE):
        rows(start, min(start + COG_TILE, height))


def write_change_map(
    folder: Path, layer: str, rows: Callable[[int, int], np.ndarray], grid: Grid, legend: Sequence[CogClass]
) -> None:
    """Write the map of changes of class of a layer into a local folder, with its legend. Raises as `write_cog` does."""
    spec = CogSpec(
        name=layer,
        dtype="uint8",
        nodata=NEITHER,
        kind="class",
        classes=tuple(legend),
        description="Where A and B have the same class, and which class of A is which in B",
    )
    _write(folder, rows, grid, spec)
    (folder / map_name(layer)).with_suffix(ENDING).write_bytes(raster_style(spec, None))


def write_value_map(folder: Path, difference: ValueDifference, grid: Grid) -> None:
    """Write the map of B - A of a layer of values into a local folder, and its style. Raises as `write_cog` does."""
    spec = CogSpec(
        name=difference.layer,
        dtype=difference.dtype,
        nodata=np.nan,
        kind="value",
        unit=difference.unit,
        description="B - A, where both observed",
    )
    _write(folder, difference.rows, grid, spec)
    ends = (-difference.limit, difference.limit)
    (folder / map_name(difference.layer)).with_suffix(ENDING).write_bytes(raster_style(spec, ends, APART_STOPS))


def _write(folder: Path, rows: Callable[[int, int], np.ndarray], grid: Grid, spec: CogSpec) -> None:
    extent = grid.extent
    write_cog(
        folder / map_name(spec.name),
        rows=rows,
        shape=extent.shape,
        transform=grid.transform_of(extent),
        crs=grid.crs,
        spec=spec,
    )


def value_picture(difference: ValueDifference) -> np.ndarray:
    """The map of B - A as RGBA (y, x, 4): blue for less, red for more, transparent where not both observed."""
    found = difference.picture()
    seen = ~np.isnan(found)
    places = np.clip((np.where(seen, found, 0) / difference.limit + 1) / 2, 0, 1)
    shown = ramp_table(APART_STOPS)[np.rint(places * 255).astype(np.uint8)]
    shown[~seen] = 0
    return np.dstack([shown, np.where(seen, np.uint8(255), np.uint8(0))]).astype(np.uint8)
