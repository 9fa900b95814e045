"""Labels of a file of points or polygons, in pixels of a product's grid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from tilewright.catalogs.parquet import pyarrow
from tilewright.tasks.grid.crs import geographic_crs, transformer
from tilewright.tasks.tables.csv_points import read_points_csv
from tilewright.tasks.tables.vector_file import path_and_layer, read_geometry_table
from tilewright.tasks.zones.zones import zones_on_grid

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from shapely.geometry.base import BaseGeometry

    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.tables.vector_file import GeometryTable

ON_EDGE = 1e-6
"""Pixels by which a coordinate may miss a border of pixels and still be on it: it was written with all its digits."""

RASTERS = (".tif", ".tiff")

POINTS = (shapely.GeometryType.POINT,)
POLYGONS = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)


class LabelError(ValueError):
    """Labels that are refused; the message names the file, says what is wrong and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelTable:
    """The rows of a file of labels on a grid; ``columns`` is a pyarrow table of all that stands beside geometries.

    For points ``rows`` and ``cols`` are absolute pixels (row,) int64, of which only those that are ``placed`` count.
    For polygons ``shapes`` are in absolute pixels, x a column and y the negative of a row; None or empty for no place.
    ``lonlat`` are bounds in degrees of all geometries, None if they have none. ``numbers`` (row,) count the rows of the
    file from 0, None where all of them are here.
    """

    name: str
    columns: Any
    rows: np.ndarray
    cols: np.ndarray
    placed: np.ndarray
    shapes: np.ndarray | None
    lonlat: tuple[float, float, float, float] | None
    notes: tuple[str, ...] = ()
    numbers: np.ndarray | None = None

    @property
    def n(self) -> int:
        """The number of rows."""
        return len(self.placed)

    def number(self, row: int) -> int:
        """The number in the file, from 1, of a row of the table, from 0."""
        return (row if self.numbers is None else int(self.numbers[row])) + 1

    def taken(self, rows: np.ndarray) -> LabelTable:
        """The table of these rows (row,) alone, numbers from 0."""
        return replace(
            self,
            columns=self.columns.take(rows),
            rows=self.rows[rows],
            cols=self.cols[rows],
            placed=self.placed[rows],
            shapes=None if self.shapes is None else self.shapes[rows],
            numbers=rows if self.numbers is None else self.numbers[rows],
        )


def is_raster(path: Path) -> bool:
    """True for a file that is read as a raster of labels."""
    return path.suffix.lower() in RASTERS


def read_label_table(path: Path, grid: Grid, *, cut: Callable[[BaseGeometry], BaseGeometry]) -> LabelTable:
    """The labels of a file of points or polygons on a grid: points by the pixel that holds them, half open.

    ``cut`` cuts a polygon in degrees with an edge of over 180 degrees where it crosses 180.

    Raises VectorFileError for a file that cannot be read or has no CRS; LabelError for one without labels, of other
    geometries, or of points and polygons both; ZoneError for polygons that are not valid.
    """
    plain, _ = path_and_layer(path)
    table = read_points_csv(path) if plain.suffix.lower() == ".csv" else read_geometry_table(path)
    geometries = shapely.force_2d(table.geometries)
    present = ~(shapely.is_missing(geometries) | shapely.is_empty(geometries))
    if not present.any():
        raise LabelError(f"{table.name} holds no label{_of(table)}: give points, polygons or a raster.")
    geometries = _single_points(geometries)
    kinds = shapely.get_type_id(geometries)
    are_points, are_polygons = np.isin(kinds, POINTS), np.isin(kinds, POLYGONS)
    for number in np.flatnonzero(present & ~are_points & ~are_polygons):
        kind = geometries[number].geom_type
        raise LabelError(f"Row {number + 1} of {table.name} is a {kind}: labels are points, polygons or a raster.")
    if (present & are_points).any() and (present & are_polygons).any():
        raise LabelError(f"{table.name} holds points and polygons: give a file of each, or reduce all to one kind.")
    bounds = _lonlat_bounds(table, geometries[present])
    if (present & are_points).any():
        return _points(table, geometries, present, grid, bounds)
    placed = zones_on_grid(table, grid, cut=cut)
    bent = f"{placed.n_bent:,} polygons have edges that bend in {grid.crs[:40]}: only vertices are projected."
    notes = (bent,) if placed.n_bent else ()
    nowhere = np.zeros(len(geometries), dtype=np.int64)
    return LabelTable(
        name=table.name,
        columns=table.columns,
        rows=nowhere,
        cols=nowhere,
        placed=present,
        shapes=placed.pixels,
        lonlat=bounds,
        notes=notes,
    )


def _single_points(geometries: np.ndarray) -> np.ndarray:
    """The geometries, those of several points that hold one alone as that point: so some programs write points."""
    one = (shapely.get_type_id(geometries) == shapely.GeometryType.MULTIPOINT) & (
        shapely.get_num_geometries(geometries) == 1
    )
    found = geometries.copy()
    found[one] = shapely.get_geometry(geometries[one], 0)
    return found


def encoded(column: Any, *, where: str) -> tuple[list[Any], np.ndarray]:
    """The different values of a pyarrow column, and the number of each row's value; that of null is one beyond them.

    Raises LabelError for a column of values that cannot be told apart, such as lists; ``where`` names it.
    """
    pa = pyarrow()
    try:
        whole = column.combine_chunks()
        whole = whole if pa.types.is_dictionary(whole.type) else whole.dictionary_encode()
        whole = whole.combine_chunks() if hasattr(whole, "combine_chunks") else whole
        places = whole.indices.fill_null(len(whole.dictionary)).to_numpy(zero_copy_only=False)
        return whole.dictionary.to_pylist(), np.asarray(places, dtype=np.int64)
    except (pa.ArrowException, AttributeError, ValueError) as error:
        raise LabelError(f"The column {where} holds {column.type}: give one of texts or numbers.") from error


def _points(
    table: GeometryTable,
    geometries: np.ndarray,
    present: np.ndarray,
    grid: Grid,
    bounds: tuple[float, float, float, float] | None,
) -> LabelTable:
    x, y = np.full(len(geometries), np.nan), np.full(len(geometries), np.nan)
    x[present], y[present] = transformer(table.crs, grid.crs).transform(
        shapely.get_x(geometries[present]), shapely.get_y(geometries[present])
    )
    rows, cols, placed = pixels_of(x, y, grid)
    return LabelTable(
        name=table.name,
        columns=table.columns,
        rows=rows,
        cols=cols,
        placed=placed,
        shapes=None,
        lonlat=bounds,
    )


def pixels_of(x: np.ndarray, y: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The absolute rows and columns of places in the grid's CRS, and which of them lie in its extent.

    A border of pixels belongs to the pixel right of it and to the one below it.
    """
    size, extent = grid.resolution, grid.extent
    with np.errstate(invalid="ignore"):
        across, down = _floor(x / size), _floor(-y / size)
        inside = (across >= extent.col_start) & (across < extent.col_stop)
        inside &= (down >= extent.row_start) & (down < extent.row_stop)
    rows, cols = (np.where(inside, each, 0).astype(np.int64) for each in (down, across))
    return rows, cols, inside


def _floor(pixels: np.ndarray) -> np.ndarray:
    nearest = np.rint(pixels)
    return np.where(np.abs(pixels - nearest) <= ON_EDGE, nearest, np.floor(pixels))


def outside_error(name: str, lonlat: tuple[float, float, float, float] | None, grid: Grid) -> LabelError:
    """What is said of labels of which none lies on the product."""
    west, south, east, north = _grid_lonlat(grid)
    mine = f"; the product lies at {_span(west, south, east, north)}"
    if lonlat is None:
        return LabelError(f"No label of {name} lies on the product{mine}: give labels of its area.")
    left, bottom, right, top = lonlat
    swapped = bottom < east and top > west and left < north and right > south
    hint = "their x and y look swapped" if swapped else "give labels of its area, or check their CRS"
    return LabelError(f"No label of {name} lies on the product: they lie at {_span(*lonlat)}{mine}: {hint}.")


def _span(west: float, south: float, east: float, north: float) -> str:
    return f"{west:.3f} to {east:.3f} degrees east, {south:.3f} to {north:.3f} north"


def _grid_lonlat(grid: Grid) -> tuple[float, float, float, float]:
    there = transformer(grid.crs, geographic_crs(grid.crs))
    west, south, east, north = there.transform_bounds(*grid.bounds_of(grid.extent))
    return west, south, east, north


def _lonlat_bounds(table: GeometryTable, geometries: np.ndarray) -> tuple[float, float, float, float] | None:
    places = shapely.get_coordinates(geometries)
    lon, lat = transformer(table.crs, geographic_crs(table.crs)).transform(places[:, 0], places[:, 1])
    known = np.isfinite(lon) & np.isfinite(lat)
    if not known.any():
        return None
    lon, lat = lon[known], lat[known]
    return float(lon.min()), float(lat.min()), float(lon.max()), float(lat.max())


def _of(table: GeometryTable) -> str:
    return f" in its {len(table.geometries):,} rows" if len(table.geometries) else ""
