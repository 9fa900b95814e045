"""Simplified shapes fit together as before: valid, none lost, the same neighbours, no gap, no overlap, in any cut."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
from scipy import ndimage

from tilewright.tasks.grid.grid import Grid
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.vector import rings, shapes, simplify, vertices
from tilewright.tasks.vector.polygon_table import NOTHING, PolygonTable
from tilewright.tasks.vector.shapes import ShapeStream
from tilewright.tasks.vector.vertices import Vertices

HUGE = 1e6


def write(
    path: Path, values: np.ndarray, tolerance: float, *, cuts: list[int] | None = None, connectivity: int = 4,
    row: int = -60, col: int = 30, least: float = 0.0,
) -> Path:  # fmt: skip
    """The table of a map in pixels of one metre, as the layer's is made; negative values have no polygon."""
    height, width = values.shape
    names = {int(value): str(value) for value in np.unique(values) if value != NOTHING}
    grid = Grid(crs="EPSG:32633", resolution=1.0, extent=PixelBox.at(row, col, shape=values.shape))
    edge = np.ones(values.shape, dtype=bool)
    edge[1:-1, 1:-1] = False
    lattice = Vertices(path.parent, row=row, col=col, width=width + 1) if tolerance else None
    stream = ShapeStream(row=row, col=col, width=width, connectivity=connectivity, vertices=lattice)  # type: ignore[arg-type]
    with PolygonTable(path.parent, grid=grid, names=names, least=least, simplify=tolerance, vertices=lattice) as table:
        values = values.astype(np.int32)
        valid = np.ones_like(edge) if tolerance else values != NOTHING
        strips = [slice(*both) for both in itertools.pairwise(cuts or [0, height])]
        for each in strips:
            for some in stream.take(values[each], valid[each], edge=edge[each]):
                table.add(some)
        for some in stream.end():
            table.add(some)
        table.write(path)
    if lattice is not None:
        lattice.close()
    return path


def table(values: np.ndarray, tolerance: float, **more: object) -> geopandas.GeoDataFrame:
    with tempfile.TemporaryDirectory() as folder:
        return geopandas.read_parquet(write(Path(folder) / "polygons.parquet", values, tolerance, **more))  # type: ignore[arg-type]


def neighbours(geometries: np.ndarray) -> set[tuple[int, int]]:
    """The pairs that have a piece of their outlines in common."""
    one, other = shapely.STRtree(geometries).query(geometries, predicate="intersects")
    one, other = one[one < other], other[one < other]
    common = shapely.length(shapely.intersection(geometries[one], geometries[other])) > 0
    return set(zip(one[common].tolist(), other[common].tolist(), strict=True))


def holes(geometry: shapely.Geometry) -> list[int]:
    return [len(part.interiors) for part in getattr(geometry, "geoms", [geometry])]


def vertices_of(values: np.ndarray, row: int = -60, col: int = 30) -> set[tuple[float, float]]:
    padded = np.pad(values.astype(np.int32), 1, constant_values=-2)
    a, b, c, d = padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    rows, cols = np.nonzero(~(((a == b) & (c == d)) | ((a == c) & (b == d))))
    return set(zip((cols + col).astype(float).tolist(), (-(rows + row)).astype(float).tolist(), strict=True))


def hold(values: np.ndarray, tolerance: float, connectivity: int = 4) -> tuple[int, int]:
    """Check the simplified shapes of a map against its own; returns the points of these and of those."""
    own = table(values, 0, connectivity=connectivity)
    fewer = table(values, tolerance, connectivity=connectivity)
    assert fewer.drop(columns="geometry").equals(own.drop(columns="geometry"))
    one, other = own.geometry.to_numpy(), fewer.geometry.to_numpy()
    assert shapely.is_valid(other).all()
    assert (shapely.area(other) > 0).all()
    assert [holes(each) for each in one] == [holes(each) for each in other]
    assert shapely.coverage_is_valid(other)
    assert shapely.area(other).sum() == pytest.approx(shapely.union_all(other).area, abs=1e-9)
    assert neighbours(one) == neighbours(other)
    # Pixels without a value are holes as before.
    assert sorted(holes(shapely.union_all(one))) == sorted(holes(shapely.union_all(other)))
    assert {tuple(place) for place in shapely.get_coordinates(other).tolist()} <= vertices_of(values)
    lines = shapely.boundary(one), shapely.boundary(other)
    assert (shapely.hausdorff_distance(*lines, densify=0.1) <= tolerance + 1e-9).all()
    return len(shapely.get_coordinates(one)), len(shapely.get_coordinates(other))


def some_map(seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    height, width, kinds = (int(number) for number in random.integers(1, (30, 30, 6)))
    values = random.integers(0, kinds + 1, (height, width))
    if seed % 4 == 1:
        values = ndimage.gaussian_filter(random.random((height, width)), 1.2)
        values = np.digitize(values, np.quantile(values, [0.3, 0.6]))
    if seed % 4 == 2:
        # Mostly one value: large shapes with holes, and holes that touch at corners.
        values[random.random(values.shape) < 0.8] = 3
    if seed % 4 == 3:
        values = np.kron(values, np.ones((3, 4), dtype=int))[:30, :30]
        values[random.random(values.shape) < 0.05] = 7
    if seed % 3 == 0:
        values[random.random(values.shape) < 0.2] = NOTHING
    return values


def mosaic(maps: list[np.ndarray]) -> np.ndarray:
    """Maps of at most 40 pixels a side beside each other, six in a row, those of the outer rows at the edge."""
    whole = np.full((40 * -(-len(maps) // 6), 240), NOTHING)
    for number, values in enumerate(maps):
        row, col = 40 * (number // 6), 40 * (number % 6)
        whole[row : row + len(values), col : col + values.shape[1]] = values
    return whole


@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("tolerance", [0.6, 1.5, 4, HUGE])
def test_shapes_fit_together_as_before(tolerance: float, connectivity: int) -> None:
    before, after = hold(mosaic([some_map(seed) for seed in range(24)]), tolerance, connectivity)
    # Outlines that go straight on at a node have a point there that they had not.
    assert after < before or tolerance < 1


def spiral(side: int) -> np.ndarray:
    values, (row, col), (down, right) = np.zeros((side, side), dtype=int), (0, 0), (0, 1)
    for length in [side - 1, *(n for n in range(side - 1, 1, -2) for _ in (0, 1))]:
        for _ in range(length):
            values[row, col] = 1
            row, col = row + down, col + right
        down, right = right, -down
    return values


def circles(side: int) -> np.ndarray:
    row, col = np.mgrid[:side, :side]
    return np.round(np.hypot(row - side / 2, col - side / 2)).astype(int) // 2


ODD = {
    "one pixel": np.zeros((1, 1), dtype=int),
    "one row": np.arange(9)[None] // 2,
    "one value": np.zeros((9, 7), dtype=int),
    "nothing": np.full((4, 4), NOTHING),
    "checkerboard": np.indices((12, 12)).sum(axis=0) % 2,
    "checkerboard of holes": np.where(np.indices((12, 12)).sum(axis=0) % 2, NOTHING, 1),
    "stairs": (np.subtract.outer(np.arange(20), np.arange(20)) > 0).astype(int),
    "diagonals": np.subtract.outer(np.arange(20), np.arange(20)) // 2 % 3,
    "spiral": spiral(24),
    "spiral without a value": np.where(spiral(24), NOTHING, 1),
    "circles": circles(40),
    "islands in holes": np.where(circles(40) % 2, circles(40), NOTHING),
    "pixels in a field": (np.indices((21, 21)) % 3 == 1).all(axis=0).astype(int),
    "a lens": np.where(np.abs(np.arange(15)[:, None] - 7) < np.minimum(np.arange(30), 29 - np.arange(30)) // 3, 2,
                       (np.arange(15)[:, None] > 7).astype(int) * np.ones(30, dtype=int)),
    "a lens without a value": np.where(
        np.abs(np.arange(15)[:, None] - 7) < np.minimum(np.arange(30), 29 - np.arange(30)) // 3, NOTHING,
        (np.arange(15)[:, None] > 7).astype(int) * np.ones(30, dtype=int)),
    "comb": ((np.arange(30) % 2 == 0)[None] & (np.arange(12) < 10)[:, None]).astype(int),
    "dots beside a diagonal": np.where(np.subtract.outer(np.arange(30), np.arange(30)) == 2, 5,
                                       (np.subtract.outer(np.arange(30), np.arange(30)) > 0).astype(int)),
}  # fmt: skip


@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("tolerance", [0.75, 2, HUGE])
def test_odd_maps_fit_together_as_before(tolerance: float, connectivity: int) -> None:
    hold(mosaic([*ODD.values(), *(values.T for values in ODD.values())]), tolerance, connectivity)


@pytest.mark.parametrize("name", ["one pixel", "one row", "one value", "nothing", "stairs", "checkerboard"])
def test_the_edge_of_the_grid_is_a_border_too(name: str) -> None:
    hold(ODD[name], HUGE)


@pytest.mark.parametrize("connectivity", [4, 8])
def test_it_is_the_same_file_in_every_cut(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, connectivity: int) -> None:
    values = mosaic([some_map(seed) for seed in range(7)])
    whole = write(tmp_path / "whole.parquet", values, 2.5, connectivity=connectivity).read_bytes()
    for number, cuts in enumerate(([0, 1, 2, 50, 80], [*range(0, 81, 16)], [0, 33, 80])):
        monkeypatch.setattr(shapes, "LEAST_CORNERS", 10 * number)
        monkeypatch.setattr(rings, "CORNERS", 20 * number)
        monkeypatch.setattr(simplify, "PIXELS", 30 * number)
        monkeypatch.setattr(vertices, "LOOKS", 7 * number + 1)
        cut = write(tmp_path / f"{number}.parquet", values, 2.5, connectivity=connectivity, cuts=cuts)
        assert cut.read_bytes() == whole


def test_shapes_inside_do_not_depend_on_what_is_around_them() -> None:
    values = some_map(1)
    values = np.pad(ndimage.zoom(values, 3, order=0), 5, mode="reflect")
    large = table(values, 2)
    small = table(values[9:-8, 6:-11], 2, row=-60 + 9, col=30 + 6)
    inner = small[~small.touches_edge]
    assert len(inner) > 3
    among = set(zip(large.value, large.geometry.to_wkb(), strict=True))
    assert all(each in among for each in zip(inner.value, inner.geometry.to_wkb(), strict=True))


def test_a_least_area_and_classes_leave_rows_out_and_change_none() -> None:
    values = mosaic([some_map(seed) for seed in range(6)])
    every, large = table(values, 2), table(values, 2, least=12)
    assert 0 < len(large) < len(every)
    assert large.geometry.to_wkb().tolist() == every[every.area_m2 >= 12].geometry.to_wkb().tolist()


def test_long_borders_become_lines() -> None:
    """A slope of one pixel in three, 300 pixels long: two pieces of frame and one line."""
    row, col = np.mgrid[:120, :300]
    found = table((row * 3 > col + 10).astype(int), 1)
    assert [len(each.exterior.coords) for each in found.geometry] == [5, 5]


def test_counts_are_those_of_the_lattice(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    is_vertex = random.random((75, 101)) < 0.3
    lattice = Vertices(tmp_path, row=-40, col=7, width=101)
    for strip in np.split(is_vertex, [1, 2, 34, 66]):
        lattice.add(strip)
    lattice.end()
    row, other_row = np.sort(random.integers(0, 75, (2, 300)), axis=0)
    col, other_col = np.sort(random.integers(0, 101, (2, 300)), axis=0)
    in_rows = [is_vertex[r, one : other + 1].sum() for r, one, other in zip(row, col, other_col, strict=True)]
    in_cols = [is_vertex[one : other + 1, c].sum() for c, one, other in zip(col, row, other_row, strict=True)]
    assert lattice.in_rows(row - 40, col + 7, other_col + 7).tolist() == in_rows
    assert lattice.in_cols(col + 7, row - 40, other_row - 40).tolist() == in_cols
    lattice.close()
