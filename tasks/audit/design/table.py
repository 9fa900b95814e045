"""A drawn sample as a table of points to label, and what is read of such a table when it comes back with labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from tilewright.catalogs.parquet import pyarrow
from tilewright.tasks.audit.design.draw import labelling_order
from tilewright.tasks.audit.design.estimate import DesignError
from tilewright.tasks.grid.ground import is_uniform, mean_pixel_km2, mean_pixels_km2
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.tables.vector_file import GeometryTable

if TYPE_CHECKING:
    from pathlib import Path

    from tilewright.tasks.audit.design.draw import Drawn
    from tilewright.tasks.audit.design.population import StrataSizes
    from tilewright.tasks.grid.grid import Grid

ID, STRATUM, PROBABILITY = "id", "stratum", "inclusion_probability"
"""Columns by which a table is known to be a sample drawn by design."""

WEIGHT, PIXELS, PIXEL_M2, DESIGN = "weight", "stratum_pixels", "pixel_m2", "design"
"""Pixels that a row stands for, pixels of its stratum, the ground of its own pixel, and how the sample was drawn."""

MOST_PIXELS, MOST_KM2 = 2**53, 1e9
"""Pixels of a stratum that are counted exactly; more ground than the Earth has."""

OWN = (ID, STRATUM, PROBABILITY, WEIGHT, PIXELS, PIXEL_M2, DESIGN)


def sample_table(drawn: Drawn, sizes: StrataSizes, grid: Grid, *, design: str, label: str) -> GeometryTable:
    """The rows of a sample in the order in which they are labelled: points at pixel centres, in the grid's CRS.

    ``label`` is the name of the empty column of labels. Raises DesignError if it is that of another column.
    """
    if label in OWN:
        raise DesignError(f"The layer is called {label!r}, as a column of every sample: labels have no column.")
    pa = pyarrow()
    ordered = drawn.taken(labelling_order(drawn))
    n = np.bincount(ordered.stratum, minlength=len(sizes.n_pixels))
    share = (n / sizes.n_pixels)[ordered.stratum]
    size = grid.resolution
    columns = {
        ID: pa.array(np.arange(1, len(ordered.rows) + 1), type=pa.int64()),
        STRATUM: pa.array([sizes.names[place] for place in ordered.stratum.tolist()], type=pa.string()),
        PROBABILITY: pa.array(share, type=pa.float64()),
        WEIGHT: pa.array(1 / share, type=pa.float64()),
        PIXELS: pa.array(sizes.n_pixels[ordered.stratum], type=pa.int64()),
        PIXEL_M2: pa.array(pixel_areas(grid, ordered.rows, ordered.cols) * 1e6),
        DESIGN: pa.array([design] * len(ordered.rows), type=pa.string()),
        label: pa.nulls(len(ordered.rows), type=pa.string()),
    }
    points = shapely.points((ordered.cols + 0.5) * size, -(ordered.rows + 0.5) * size)
    return GeometryTable(name="sample", geometries=np.atleast_1d(points), columns=pa.table(columns), crs=grid.crs)


def pixel_areas(grid: Grid, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """The areas on the ground of absolute pixels (pixel,) in km2; all the same where the grid's hardly differ."""
    if is_uniform(grid):
        return np.full(len(rows), mean_pixel_km2(grid, grid.extent))
    boxes = [PixelBox.at(row, col, shape=(1, 1)) for row, col in zip(rows.tolist(), cols.tolist(), strict=True)]
    return np.array(mean_pixels_km2(grid, boxes))


def check_fresh(path: Path) -> None:
    """Check that no file is at a path: one that is there may hold somebody's labels. Raises DesignError."""
    if path.exists():
        raise DesignError(f"{path} is there and may hold labels, which a sample does not replace: give another --to.")


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleDesign:
    """What the columns of a sample tell, for all its rows, labelled or not: ``stratum`` (row,) texts,
    ``stratum_pixels`` (row,) the pixels of each one's stratum, and the ``design`` by which it was drawn.

    ``pixel_km2`` (row,): the ground of the pixel that was drawn, whichever product it is held against; None if the
    table does not tell it.
    """

    design: str
    stratum: np.ndarray
    stratum_pixels: np.ndarray
    pixel_km2: np.ndarray | None

    def all_strata(self) -> dict[str, int]:
        """The pixels of every stratum that has a row."""
        return {str(name): int(n) for name, n in zip(self.stratum, self.stratum_pixels, strict=True)}


def sample_design(columns: Any) -> SampleDesign | None:
    """The design that a pyarrow table of labels tells, None for a table that is no sample drawn by design.

    A sample of others may lack ``stratum_pixels`` and ``design``: then the pixels of a stratum are the sum of
    1 / inclusion_probability over its rows, of which none may have been dropped.

    Raises DesignError for probabilities, counts or areas that are none, and rows without a stratum.
    """
    if not {STRATUM, PROBABILITY} <= {*columns.column_names}:
        return None
    if any(value is None or not str(value).strip() for value in columns[STRATUM].to_pylist()):
        raise DesignError(f"Rows of the sample have no {STRATUM}: restore it, or evaluate other labels alone.")
    stratum = np.array([str(value) for value in columns[STRATUM].to_pylist()], dtype=object)
    probability = _numbers(columns[PROBABILITY], PROBABILITY)
    if not ((probability >= 1 / MOST_PIXELS) & (probability <= 1)).all():
        raise DesignError(f"The column {PROBABILITY} holds values that are no probabilities above 0 to 1: restore it.")
    if PIXELS in columns.column_names:
        pixels = _numbers(columns[PIXELS], PIXELS)
        if not ((pixels >= 1) & (pixels <= MOST_PIXELS) & (pixels == np.round(pixels))).all():
            raise DesignError(f"The column {PIXELS} holds values that are no counts: restore it.")
    else:
        names, of_row = np.unique(stratum, return_inverse=True)
        pixels = np.round(np.bincount(of_row, weights=1 / probability, minlength=len(names)))[of_row]
    told = {str(value) for value in columns[DESIGN].to_pylist()} if DESIGN in columns.column_names else set()
    plain = "stratified random" if len(set(stratum.tolist())) > 1 else "simple random"
    areas = _numbers(columns[PIXEL_M2], PIXEL_M2) / 1e6 if PIXEL_M2 in columns.column_names else None
    if areas is not None and not ((areas > 0) & (areas <= MOST_KM2)).all():
        raise DesignError(f"The column {PIXEL_M2} holds values that are no areas: restore it.")
    design = told.pop() if len(told) == 1 else plain
    return SampleDesign(design=design, stratum=stratum, stratum_pixels=pixels, pixel_km2=areas)


def _numbers(column: Any, name: str) -> np.ndarray:
    try:
        values = [math.nan if value is None else float(value) for value in column.to_pylist()]
    except (TypeError, ValueError, OverflowError) as error:
        raise DesignError(f"The column {name} of the sample holds values that are no numbers: restore it.") from error
    return np.array(values, dtype=np.float64)
