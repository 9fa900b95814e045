"""The polygons of a class map as a table: given in any order, written in the fixed one."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np

from tilewright.tasks.grid.crs import metres_per_unit
from tilewright.tasks.tables.geoparquet import ROWS_PER_GROUP, Rows, hilbert_places, packed_geometries, write_geoparquet
from tilewright.tasks.vector.anchors import lens_anchors
from tilewright.tasks.vector.geometries import GeometryFile, geometries_of, to_wkb
from tilewright.tasks.vector.simplify import simplified

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from typing import Any

    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.vector.geometries import Geometries
    from tilewright.tasks.vector.shapes import Shapes
    from tilewright.tasks.vector.vertices import Vertices

COLUMNS = {
    "id": "int64", "value": "int64", "name": "string", "area_m2": "double", "perimeter_m": "double",
    "touches_edge": "bool",
}  # fmt: skip
"""Columns of the table beside the geometry; areas and lengths are planar in the grid's CRS."""

FIGURES = np.dtype(
    [("place", "i8"), ("row", "i4"), ("col", "i4"), ("value", "i4"), ("touches", "?"), ("area", "f8"), ("length", "f8"),
     ("group", "i4"), ("at", "i8"), ("size", "i4"), ("bounds", "i4", 4)]
)  # fmt: skip
"""A polygon but for its geometry, which is the record of so many numbers at a place of the file of all of them."""

ORDER = ("value", "col", "row", "place")
"""The figures by which rows are ordered, the last one first; no two polygons have all of them in common."""

NOTHING = -1
"""The value of shapes that are no rows: of pixels without a value, or of a class that was not asked for."""

NUMBERS_PER_GROUP = 1 << 20
"""Numbers of the geometries of a row group at most, if it has several rows: some 32 bytes of memory each."""


LOOKS = 1 << 10
"""Rows all over the file of figures that are looked at in one map of it: each look brings 64 KB of it into memory."""


class PolygonTable:
    """Polygons of a layer on a grid, which wait in files of a folder until they are written.

    `names` by value, or `told` with `columns` for it: the columns in place of value and name, from the values of rows.
    Shapes of less than `least` square metres are left out. Outlines are simplified by up to
    `simplify` units of the CRS; then the shapes are those of all pixels, and `vertices` those of their stream.
    `write` writes the rows, as `write_geoparquet` or with the columns of a standard.
    """

    def __init__(
        self,
        folder: Path,
        *,
        grid: Grid,
        names: Mapping[int, str],
        least: float = 0.0,
        simplify: float = 0.0,
        vertices: Vertices | None = None,
        columns: Mapping[str, str] = COLUMNS,
        told: Callable[[np.ndarray], Mapping[str, Any]] | None = None,
        write: Callable[..., None] = write_geoparquet,
    ) -> None:
        assert vertices is not None or not simplify, "outlines are simplified among the map's vertices"
        self._folder, self._grid, self._names, self._least = folder, grid, names, least
        self._columns, self._told = columns, told or self._by_name
        self._tolerance, self._vertices = simplify / grid.resolution, vertices
        self._metres, self._write = metres_per_unit(grid.crs), write
        self._open = ExitStack()
        self._geometries, self._figures = self._files()
        self._kinds: set[str] = set()
        self._lenses: list[np.ndarray] = []

    def __enter__(self) -> PolygonTable:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _files(self) -> tuple[GeometryFile, FigureFile]:
        geometries, figures = GeometryFile(self._folder), FigureFile(self._folder)
        self._open.callback(geometries.close)
        self._open.callback(figures.close)
        return geometries, figures

    def add(self, shapes: Shapes) -> None:
        """Add whole shapes."""
        outlines = shapes.outlines
        # The second place of an outer ring is its first one by row and column.
        col, row = outlines.places[outlines.rings[outlines.polygons[:-1]] + 1].T
        # Parts of a shape in the order of their first corners, which hangs on no cut.
        order = np.lexsort((col, row, shapes.group))
        groups, first, n_parts = np.unique(shapes.group[order], return_index=True, return_counts=True)
        n_pixels, across, along = (
            np.add.reduceat(each[order], first) for each in (outlines.n_pixels, outlines.across, outlines.along)
        )
        figures = np.zeros(len(groups), dtype=FIGURES)
        metres = self._grid.resolution * self._metres
        figures["area"], figures["length"] = n_pixels * metres**2, (across + along) * metres
        figures["touches"] = np.logical_or.reduceat(shapes.touches_edge[order], first)
        figures["value"], figures["group"] = shapes.value[order][first], groups
        figures["row"], figures["col"] = row[order][first], col[order][first]
        kept = (figures["area"] >= self._least) & (figures["value"] != NOTHING)
        if self._tolerance:
            self._lenses.append(lens_anchors(geometries_of(outlines, order, n_parts)))
        if kept.any():
            self._keep(figures[kept], geometries_of(outlines, order[np.repeat(kept, n_parts)], n_parts[kept]))

    def _keep(self, figures: np.ndarray, geometries: Geometries) -> None:
        """Write geometries and figures to their files."""
        several = np.diff(geometries.shapes) > 1
        self._kinds |= {"MultiPolygon"} if several.any() else set()
        self._kinds |= {"Polygon"} if not several.all() else set()
        west, north, east, south = geometries.bounds().astype(np.int64).T
        figures["place"] = hilbert_places(west + east, south + north)
        _add(self._geometries, self._figures, figures, geometries)

    def write(self, path: Path) -> int:
        """Write the table as GeoParquet; returns the number of its rows."""
        order = self._figures.order()
        if self._tolerance:
            self._simplify(order)
            order = np.arange(len(order), dtype=np.int32)
        bounds = self._figures.bounds() * np.array([1, -1, 1, -1]) * self._grid.resolution
        rows = self._rows(order)
        kinds = tuple(sorted(self._kinds))
        whole = bounds[[0, 3, 2, 1]]
        self._write(path, rows, columns=self._columns, crs=self._grid.crs, kinds=kinds, bounds=whole)
        return len(order)

    def columns(self, *names: str) -> tuple[np.ndarray, ...]:
        """Some of the FIGURES of all rows, in their order in the table."""
        order = self._figures.order()
        return tuple(self._figures.column(name)[order] for name in names)

    def _by_name(self, values: np.ndarray) -> Mapping[str, Any]:
        return {"value": values.astype(np.int64), "name": [self._names.get(int(value)) for value in values]}

    def _simplify(self, order: np.ndarray) -> None:
        """Simplify all geometries, into files that have them in an order."""
        assert self._vertices is not None
        lenses = np.unique(np.concatenate(self._lenses)) if self._lenses else np.zeros(0, dtype=np.int64)
        files = self._files()
        for figures in self._figures.read(order):
            given = self._geometries.read(figures["at"], figures["size"])
            fewer = simplified(given, tolerance=self._tolerance, vertices=self._vertices, lenses=lenses)
            _add(*files, figures, fewer)
        self._geometries.close()
        self._figures.close()
        self._geometries, self._figures = files

    def _rows(self, order: np.ndarray) -> Iterator[Rows]:
        """The rows in an order, some at a time."""
        start = 1
        for figures in self._figures.read(order):
            geometries = self._geometries.read(figures["at"], figures["size"])
            west, north, east, south = figures["bounds"].T * float(self._grid.resolution)
            yield Rows(
                geometry=packed_geometries(*to_wkb(geometries, self._grid.resolution)),
                bounds=np.stack([west, -south, east, -north], axis=1),
                columns={
                    "id": np.arange(start, start + len(figures)),
                    **self._told(figures["value"]),
                    "area_m2": figures["area"],
                    "perimeter_m": figures["length"],
                    "touches_edge": figures["touches"],
                },
            )
            start += len(figures)


def _add(geometry_file: GeometryFile, figure_file: FigureFile, figures: np.ndarray, geometries: Geometries) -> None:
    """Write geometries, and their figures with where they are."""
    figures["bounds"] = geometries.bounds()
    figures["at"], figures["size"] = geometry_file.add(geometries)
    figure_file.add(figures)


class FigureFile:
    """The figures of polygons in a file of a folder."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 -- closed by `close`
        self._n = 0
        self._bounds = np.array([np.inf, np.inf, -np.inf, -np.inf])

    def close(self) -> None:
        """Remove the file."""
        self._file.close()

    def add(self, figures: np.ndarray) -> None:
        """Write figures after those before."""
        self._file.write(figures.tobytes())
        self._n += len(figures)
        self._bounds[:2] = np.minimum(self._bounds[:2], figures["bounds"][:, :2].min(axis=0))
        self._bounds[2:] = np.maximum(self._bounds[2:], figures["bounds"][:, 2:].max(axis=0))

    def bounds(self) -> np.ndarray:
        """Those of all, (west, north, east, south) in pixels; NaN if there are none."""
        return self._bounds if self._n else np.full(4, np.nan)

    def order(self) -> np.ndarray:
        """The numbers of all polygons in the order of the table, int32."""
        places = self.column("place")
        order = np.argsort(places, kind="stable").astype(np.int32)
        places = places[order]
        # Few polygons are at one place: only they are looked at again.
        tied = np.zeros(self._n, dtype=bool)
        tied[1:] = places[1:] == places[:-1]
        tied[:-1] |= tied[1:]
        alike = order[tied]
        figures = np.empty(len(alike), dtype=[(name, FIGURES[name]) for name in ORDER])
        for start in range(0, len(alike), LOOKS):
            some = self._map()[alike[start : start + LOOKS]]
            for name in ORDER:
                figures[name][start : start + LOOKS] = some[name]
        order[tied] = alike[np.lexsort([figures[name] for name in ORDER])]
        return order

    def read(self, order: np.ndarray) -> Iterator[np.ndarray]:
        """The figures in an order, as many at a time as a row group has."""
        start = 0
        while start < len(order):
            # A map of its own lets go of the pages that it read.
            figures = np.array(self._map()[order[start : start + ROWS_PER_GROUP]])
            ends = np.cumsum(figures["size"], dtype=np.int64)
            room = max(1, int(np.searchsorted(ends, NUMBERS_PER_GROUP, side="right")))
            yield figures[:room]
            start += room

    def column(self, name: str) -> np.ndarray:
        """One of the figures of all polygons."""
        found = np.empty(self._n, dtype=FIGURES[name])
        for start in range(0, self._n, ROWS_PER_GROUP):
            some = slice(start, start + ROWS_PER_GROUP)
            found[some] = self._map()[some][name]
        return found

    def _map(self) -> np.ndarray:
        self._file.flush()
        return np.memmap(self._file, dtype=FIGURES, mode="r", shape=(self._n,))
