"""Zones of a file on the grid of a product: checked, their vertices projected, and counted in its pixels."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
import shapely
from shapely.geometry import Polygon
from shapely.validation import explain_validity

from tilewright.tasks.grid.crs import geographic_crs, is_geographic, transformer
from tilewright.tasks.tables.geoparquet import BBOX, GEOMETRY
from tilewright.tasks.zones.totals import VALUE_STATISTICS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shapely.geometry.base import BaseGeometry

    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.tables.vector_file import GeometryTable
    from tilewright.tasks.zones.layers import ProductLayer

OBSERVED = "observed"

ID = "id"

MOST_BOW = 0.5
"""Pixels by which the middle of an edge may lie beside the straight edge on the grid without a word."""

LEAST_OVERLAP = 1e-9
"""Share of a zone that its parts may have in common by rounding."""

LOOKS = 64
"""Places along each side of the grid at which its longitudes and latitudes are looked up."""


class ZoneError(ValueError):
    """Zones that are refused; the message names the file and the row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GridZones:
    """Zones in the order of their file: ``places`` in the grid's CRS and ``pixels`` in absolute ones, x a column and y
    the negative of a row. None for a row without a geometry, empty for ``distant`` ones, whose numbers are given:
    the grid's CRS cannot show them, and they lie elsewhere on the globe. ``n_bent`` have edges that bend on the grid.
    """

    places: np.ndarray
    pixels: np.ndarray
    distant: np.ndarray
    n_bent: int


def zones_on_grid(table: GeometryTable, grid: Grid, *, cut: Callable[[BaseGeometry], BaseGeometry]) -> GridZones:
    """The zones of a file on a grid; only vertices are projected, edges are straight on the grid.

    ``cut`` cuts a polygon in degrees with an edge of over 180 degrees where it crosses 180.

    Raises ZoneError for a file without a polygon, for rows that are no polygons, are not valid or without an extent,
    and for zones that reach the grid and beyond what its CRS can show.
    """
    zones = shapely.force_2d(table.geometries)
    present = ~(shapely.is_missing(zones) | shapely.is_empty(zones))
    if not present.any():
        raise ZoneError(f"{table.name} holds no zone{_without(table)}: give polygons.")
    _check_kinds(table, zones, present)
    source = pyproj.CRS.from_user_input(table.crs)
    if source.is_geographic:
        zones = _cut(table, zones, present, cut)
    _check_valid(table, zones, present)
    project = partial(transformer(table.crs, grid.crs).transform)
    places = zones.copy()
    places[present] = shapely.transform(zones[present], project, interleaved=False)
    distant = _drop_distant(table, zones, places, grid)
    if is_geographic(grid.crs) and not source.is_geographic:
        places = _cut(table, places, present & ~shapely.is_missing(places), cut)
    _join_parts(places, present)
    _check_valid(table, places, present & ~shapely.is_empty(places), on=f" in {grid.crs}")
    size = grid.resolution
    pixels = places.copy()
    pixels[present] = shapely.transform(places[present], lambda both: both / size)
    n_bent = 0 if _straight(table.crs, grid.crs) else _n_bent(zones[present], project, size)
    return GridZones(places=places, pixels=pixels, distant=distant, n_bent=n_bent)


def _without(table: GeometryTable) -> str:
    return f" in its {len(table.geometries)} rows" if len(table.geometries) else ""


def _row(table: GeometryTable, number: int) -> str:
    return f"Row {number + 1} of {table.name}"


def _check_kinds(table: GeometryTable, zones: np.ndarray, present: np.ndarray) -> None:
    kinds = shapely.get_type_id(zones)
    areas = np.isin(kinds, [shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON])
    for number in np.flatnonzero(present & ~areas):
        kind = zones[number].geom_type
        raise ZoneError(f"{_row(table, int(number))} is a {kind}: zones are polygons and multipolygons.")


def _check_valid(table: GeometryTable, zones: np.ndarray, present: np.ndarray, *, on: str = "") -> None:
    for number in np.flatnonzero(present & ~shapely.is_valid(zones)):
        why = explain_validity(zones[number])
        raise ZoneError(f"{_row(table, int(number))} is no valid polygon{on} ({why}): mend it, e.g. with make_valid.")
    for number in np.flatnonzero(present & ~(shapely.area(zones) > 0)):
        raise ZoneError(f"{_row(table, int(number))} has no extent{on}: give polygons with an area.")


def _cut(
    table: GeometryTable, zones: np.ndarray, present: np.ndarray, cut: Callable[[BaseGeometry], BaseGeometry]
) -> np.ndarray:
    """The zones, those cut at 180 degrees that jump across it."""
    west, _, east, _ = shapely.bounds(zones).T
    zones = zones.copy()
    for number in np.flatnonzero(present & (east - west > 180)):
        try:
            parts = [cut(part) for part in shapely.get_parts(zones[number])]
        except ValueError as error:
            raise ZoneError(f"{_row(table, int(number))}: {error}") from error
        polygons = [polygon for part in parts for polygon in shapely.get_parts(part)]
        zones[number] = polygons[0] if len(polygons) == 1 else shapely.multipolygons(polygons)
    return zones


def _join_parts(places: np.ndarray, present: np.ndarray) -> None:
    """Join the parts of zones that were cut at 180 degrees and touch each other on the grid."""
    for number in np.flatnonzero(present & ~shapely.is_valid(places)):
        parts = shapely.get_parts(places[number])
        if len(parts) > 1 and shapely.is_valid(parts).all():
            whole = shapely.union_all(parts)
            if whole.area >= shapely.area(parts).sum() * (1 - LEAST_OVERLAP):
                places[number] = whole


def _drop_distant(table: GeometryTable, zones: np.ndarray, places: np.ndarray, grid: Grid) -> np.ndarray:
    """Empty the places of zones that the grid's CRS cannot show, if they are elsewhere on the globe; their numbers."""
    lost = [number for number in range(len(places)) if places[number] is not None and not _is_finite(places[number])]
    if not lost:
        return np.array(lost, dtype=np.int64)
    degrees = geographic_crs(grid.crs)
    edges = _edge_places(grid)
    lons, lats = transformer(grid.crs, degrees).transform(*edges)
    for number in lost:
        zone = shapely.transform(zones[number], transformer(table.crs, degrees).transform, interleaved=False)
        west, south, east, north = zone.bounds
        apart = east < np.min(lons) or west > np.max(lons) or north < np.min(lats) or south > np.max(lats)
        if not (_is_finite(zone) and np.isfinite(lons).all() and np.ptp(lons) < 180 and apart):
            raise ZoneError(f"{_row(table, number)} reaches beyond what {grid.crs} can show: cut it to the product.")
        places[number] = Polygon()
    return np.array(lost, dtype=np.int64)


def _is_finite(zone: BaseGeometry) -> bool:
    return bool(np.isfinite(shapely.get_coordinates(zone)).all())


def _edge_places(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    west, south, east, north = grid.bounds_of(grid.extent)
    x, y = np.meshgrid(np.linspace(west, east, LOOKS), np.linspace(south, north, LOOKS))
    return x.ravel(), y.ravel()


def _straight(source: str, target: str) -> bool:
    one, other = pyproj.CRS.from_user_input(source), pyproj.CRS.from_user_input(target)
    return bool(one.equals(other, ignore_axis_order=True) or (one.is_geographic and other.is_geographic))


def _n_bent(zones: np.ndarray, project: Callable[..., Any], size: float) -> int:
    """The number of zones with an edge whose middle lies beside the straight edge on the grid."""
    rings, of_ring = shapely.get_rings(shapely.get_parts(zones), return_index=True)
    corners, ring = shapely.get_coordinates(rings, return_index=True)
    inner = ring[1:] == ring[:-1]
    starts, stops = corners[:-1][inner], corners[1:][inner]
    ends = [np.column_stack(project(*each.T)) for each in (starts, stops, (starts + stops) / 2)]
    with np.errstate(invalid="ignore"):
        off = np.hypot(*((ends[0] + ends[1]) / 2 - ends[2]).T) / size
    parts = of_ring[ring[1:][inner][np.isfinite(off) & (off > MOST_BOW)]]
    owners = shapely.get_parts(zones, return_index=True)[1]
    return len(np.unique(owners[parts]))


def figure_names(layers: Sequence[ProductLayer]) -> list[str]:
    """The names of the figures of layers, in the order of ``Totals.figures``."""
    names = []
    for layer in layers:
        if layer.classes:
            names += [f"{layer.name}_{name}{unit}" for _, name in layer.classes for unit in ("", "_m2")]
        else:
            names += [f"{layer.name}_{statistic}" for statistic in VALUE_STATISTICS]
    return names


def check_names(given: Sequence[str], layers: Sequence[ProductLayer], *, name: str) -> None:
    """Check that no two columns of the table have one name, of which ``given`` are those of the file called ``name``.

    Raises ZoneError.
    """
    figures = figure_names(layers)
    made = {*figures, OBSERVED, GEOMETRY, BBOX}
    for column in given:
        if column in made:
            raise ZoneError(f"{name} has a column {column!r}, which the table of zones has too: rename it.")
    for column, n in Counter([*given, *figures, OBSERVED]).items():
        if n > 1:
            raise ZoneError(f"{n} columns would be called {column!r}: leave one of the --layers out, or rename it.")
