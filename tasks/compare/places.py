"""The places that changed: a table of them, GeoParquet in a fixed order, and the largest ones."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from tilewright.catalogs.parquet import pyarrow
from tilewright.tasks.compare.transitions import N_VALUES
from tilewright.tasks.grid.crs import metres_per_unit, transformer
from tilewright.tasks.grid.ground import is_uniform, mean_pixel_km2, mean_pixels_km2
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.tables.geoparquet import GEOMETRY, Rows, write_geoparquet
from tilewright.tasks.vector.polygon_table import PolygonTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from shapely.geometry.base import BaseGeometry

    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.vector.shapes import Shapes

COLUMNS = {
    "id": "int64", "from_value": "int64", "from": "string", "to_value": "int64", "to": "string", "area_m2": "double",
    "touches_edge": "bool",
}  # fmt: skip
"""Columns of the table beside geometry and bbox; areas are those on the ground."""

MOST = 12
"""Largest places that are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedPlace:
    """A changed place: its row in the table, values before and after, km2 on the ground, the pixels around it.

    ``geometry`` is in the grid's CRS; ``lon``, ``lat`` (EPSG:4326) are of a point inside it.
    """

    id: int
    before: int
    after: int
    km2: float
    box: PixelBox
    lon: float
    lat: float
    geometry: BaseGeometry


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedPlaces:
    """How many places changed, and the largest of them, the largest first."""

    n: int
    largest: tuple[ChangedPlace, ...]


class PlaceTable:
    """Takes the shapes of transitions and writes them as a table.

    with PlaceTable(folder, grid) as table:
        ...  # table.add(shapes)
        places = table.write(path, names)
    """

    def __init__(self, folder: Path, grid: Grid) -> None:
        self._folder, self._grid = folder, grid
        self._polygons = PolygonTable(folder, grid=grid, names={})

    def __enter__(self) -> PlaceTable:
        self._polygons.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._polygons.__exit__(*error)

    def add(self, shapes: Shapes) -> None:
        """Add whole shapes, whose value is the transition (256 a + b)."""
        self._polygons.add(shapes)

    def write(self, path: Path, names: Mapping[int, str]) -> ChangedPlaces:
        """Write the table, in which values are called by their names; returns its largest places."""
        plain = self._folder / "polygons.parquet"
        n_rows = self._polygons.write(plain)
        pa, largest = pyarrow(), list[ChangedPlace]()
        with pa.parquet.ParquetFile(plain) as polygons:
            known = json.loads(polygons.schema_arrow.metadata[b"geo"])["columns"][GEOMETRY]
            bounds = np.array(known.get("bbox", [math.nan] * 4))
            rows = self._rows(polygons, names, largest)
            kinds = tuple(known["geometry_types"])
            write_geoparquet(path, rows, columns=COLUMNS, crs=self._grid.crs, kinds=kinds, bounds=bounds)
        plain.unlink()
        return ChangedPlaces(n=n_rows, largest=tuple(largest))

    def _rows(self, polygons: Any, names: Mapping[int, str], largest: list[ChangedPlace]) -> Iterator[Rows]:
        """The rows of the table, a group at a time, of which the largest places are kept."""
        areas = _ground_areas(self._grid)
        for number in range(polygons.num_row_groups):
            group = polygons.read_row_group(number)
            columns = {name: group.column(name).to_numpy() for name in ("id", "value", "area_m2", "touches_edge")}
            stored = group.column(GEOMETRY).to_pylist()
            geometries = shapely.from_wkb(stored)
            bounds = shapely.bounds(geometries)
            before, after = np.divmod(columns["value"], N_VALUES)
            pixel = (self._grid.resolution * metres_per_unit(self._grid.crs)) ** 2
            km2 = areas(np.rint(columns["area_m2"] / pixel), bounds)
            for at in np.lexsort([columns["id"], -km2])[:MOST]:
                whole = {"id": int(columns["id"][at]), "before": int(before[at]), "after": int(after[at])}
                largest.append(_place(self._grid, geometries[at], km2=float(km2[at]), **whole))
            largest.sort(key=lambda place: (-place.km2, place.id))
            del largest[MOST:]
            yield Rows(
                geometry=stored,
                bounds=bounds,
                columns={
                    "id": columns["id"],
                    "from_value": before,
                    "from": [names[int(value)] for value in before],
                    "to_value": after,
                    "to": [names[int(value)] for value in after],
                    "area_m2": km2 * 1e6,
                    "touches_edge": columns["touches_edge"],
                },
            )


def _ground_areas(grid: Grid) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """From numbers of pixels and bounds (row, 4) to areas in km2.

    Where pixels differ a place's count for the mean of those in its bounds.
    """
    mean = mean_pixel_km2(grid, grid.extent) if is_uniform(grid) else None

    def areas(n_pixels: np.ndarray, bounds: np.ndarray) -> np.ndarray:
        if mean is not None:
            return np.asarray(n_pixels * mean)
        return np.asarray(n_pixels * np.array(mean_pixels_km2(grid, [_box(grid, each) for each in bounds])))

    return areas


def _place(grid: Grid, geometry: Any, *, id: int, km2: float, before: int, after: int) -> ChangedPlace:  # noqa: A002
    point = geometry.representative_point()
    lon, lat = transformer(grid.crs, "EPSG:4326").transform(point.x, point.y)
    return ChangedPlace(
        id=id,
        before=before,
        after=after,
        km2=km2,
        box=_box(grid, np.array(geometry.bounds)),
        lon=float(lon),
        lat=float(lat),
        geometry=geometry,
    )


def _box(grid: Grid, bounds: np.ndarray) -> PixelBox:
    west, south, east, north = (int(edge) for edge in np.rint(bounds / grid.resolution))
    return PixelBox(row_start=-north, row_stop=-south, col_start=west, col_stop=east)


def lonlat_bounds(grid: Grid, box: PixelBox) -> list[float] | None:
    """(west, south, east, north) in EPSG:4326 of a box; None beyond what the projection shows.

    West is greater than east across 180 degrees, as in RFC 7946.
    """
    found = transformer(grid.crs, "EPSG:4326").transform_bounds(*grid.bounds_of(box), densify_pts=21)
    return [round(edge, 7) for edge in found] if all(map(math.isfinite, found)) else None


def lonlat_middle(grid: Grid, box: PixelBox) -> tuple[float | None, float | None]:
    """Longitude and latitude in EPSG:4326 of the middle of a box; None beyond what the projection shows."""
    west, south, east, north = grid.bounds_of(box)
    lon, lat = transformer(grid.crs, "EPSG:4326").transform((west + east) / 2, (south + north) / 2)
    return (round(lon, 7), round(lat, 7)) if math.isfinite(lon) and math.isfinite(lat) else (None, None)
