"""Transitions are those that numpy counts, whatever the strips; areas are on the ground, cells and places absolute."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import pytest
from scipy import ndimage

from tests.support.finished import some_map
from tilewright.tasks.compare.cells import CELL
from tilewright.tasks.compare.compare import most_different
from tilewright.tasks.compare.places import COLUMNS, PlaceTable
from tilewright.tasks.compare.transitions import Transitions, count_transitions
from tilewright.tasks.grid.grid import Grid
from tilewright.tasks.grid.ground import pixel_km2
from tilewright.tasks.grid.pixel_box import PixelBox

GRIDS = {
    "utm": ("EPSG:32633", 10.0, (-540_013, 40_007)),
    "mercator": ("EPSG:3857", 500.0, (-20_000, 3_000)),
    "degrees": ("EPSG:4326", 0.01, (-6_100, 1_300)),
    "polar": ("EPSG:3995", 1000.0, (-900, 300)),
    "south": ("EPSG:32733", 10.0, (-940_013, 40_007)),
}
NAMES = {value: f"class {value}" for value in range(256)}


def grid_of(name: str, shape: tuple[int, int], *, at: tuple[int, int] = (0, 0)) -> Grid:
    crs, resolution, (row, col) = GRIDS[name]
    return Grid(crs=crs, resolution=resolution, extent=PixelBox.at(row + at[0], col + at[1], shape=shape))


def count(a: np.ndarray, b: np.ndarray, grid: Grid, table: PlaceTable | None = None, *, rows: int = 40) -> Transitions:
    take = (lambda shapes: None) if table is None else table.add
    strip = rows * a.shape[1]
    return count_transitions(
        grid, lambda i, j: a[i:j], lambda i, j: b[i:j], nodata=(255, 254), take=take, strip_pixels=strip
    )


def pair(shape: tuple[int, int] = (150, 210)) -> tuple[np.ndarray, np.ndarray]:
    a, b = some_map(1, shape), some_map(2, shape)
    b[40:120, 30:100] = a[40:120, 30:100]
    b[b == 255] = 254
    a[5, 5], b[5, 6] = 77, 200
    return a, b


@pytest.mark.parametrize("name", GRIDS)
def test_counts_and_areas_are_those_of_each_pixel(name: str) -> None:
    a, b = pair()
    grid = grid_of(name, a.shape)
    found = count(a, b, grid)
    both = (a != 255) & (b != 254)
    counts, km2 = np.zeros((256, 256), dtype=int), np.zeros((256, 256))
    areas = np.broadcast_to(pixel_km2(grid, grid.extent), a.shape)
    np.add.at(counts, (a[both], b[both]), 1)
    np.add.at(km2, (a[both], b[both]), areas[both])
    assert np.array_equal(found.counts, counts)
    assert np.allclose(found.km2, km2, rtol=2e-3 if name in {"utm", "south"} else 1e-12, atol=0)
    assert (found.n, found.n_equal) == (both.sum(), (both & (a == b)).sum())
    assert found.n_only_a == ((a != 255) & (b == 254)).sum()
    assert found.n_only_b == ((a == 255) & (b != 254)).sum()


def test_mercator_far_north_counts_the_ground_and_not_the_plane() -> None:
    values = np.zeros((4, 4), dtype=np.uint8)
    grid = Grid(crs="EPSG:3857", resolution=100.0, extent=PixelBox.at(-83_998, 0, shape=(4, 4)))  # 60 degrees north
    assert count(values, values, grid).km2.sum() == pytest.approx(16 * 0.01 * 0.25, rel=0.01)


@pytest.mark.parametrize("name", ["utm", "degrees"])
def test_strips_change_nothing(name: str, tmp_path: Path) -> None:
    a, b = pair()
    grid = grid_of(name, a.shape)
    results, files = [], set()
    for rows in (1, 7, 64, 150):
        with PlaceTable(tmp_path, grid) as table:
            results.append(count(a, b, grid, table, rows=rows))
            places = table.write(tmp_path / "changes.parquet", NAMES)
        files.add(((tmp_path / "changes.parquet").read_bytes(), str(places)))
    first = results[0]
    for other in results[1:]:
        for key in ("counts", "cell_both", "cell_differ", "picture", "base"):
            assert np.array_equal(getattr(first, key), getattr(other, key)), key
        assert np.allclose(first.km2, other.km2, rtol=1e-12, atol=0)
    assert len(files) == 1


@pytest.mark.parametrize("name", GRIDS)
def test_places_are_the_parts_of_one_transition(name: str, tmp_path: Path) -> None:
    a, b = pair()
    grid = grid_of(name, a.shape)
    with PlaceTable(tmp_path, grid) as table:
        found = count(a, b, grid, table)
        places = table.write(tmp_path / "changes.parquet", NAMES)
    frame = geopandas.read_parquet(tmp_path / "changes.parquet")
    both = (a != 255) & (b != 254)
    n_parts = 0
    for before, after in zip(*np.nonzero(found.counts), strict=True):
        if before != after:
            n_parts += ndimage.label(both & (a == before) & (b == after))[1]
    assert places.n == len(frame) == n_parts
    assert frame.id.tolist() == list(range(1, n_parts + 1))
    assert [name for name in frame.columns if name != "geometry"] == list(COLUMNS)
    assert frame.is_valid.all()
    of_move = frame.groupby(["from_value", "to_value"])["area_m2"].sum() / 1e6
    for (before, after), km2 in of_move.items():
        assert km2 == pytest.approx(found.km2[before, after], rel=1e-3)
    largest = frame.sort_values(["area_m2", "id"], ascending=[False, True]).head(len(places.largest))
    assert [place.id for place in places.largest] == largest.id.tolist()
    outer = grid.bounds_of(grid.extent)
    touching = frame.bounds.apply(lambda row: any(abs(x - y) < 1e-9 for x, y in zip(row, outer, strict=True)), axis=1)
    assert frame.touches_edge.tolist() == touching.tolist()
    inside = frame.set_index("id").to_crs("EPSG:4326").geometry
    for place in places.largest:
        assert inside[place.id].buffer(1e-9).covers(geopandas.points_from_xy([place.lon], [place.lat])[0])


def test_cells_lie_at_multiples_from_the_origin_in_every_cut() -> None:
    a, b = pair((400, 500))
    whole = count(a, b, grid_of("utm", a.shape))
    top, left = 37, 81
    part = count(a[top:, left:], b[top:, left:], grid_of("utm", (400 - top, 500 - left), at=(top, left)))
    cells = {}
    for found in (whole, part):
        for (row, col), n in np.ndenumerate(found.cell_both):
            place = (row + found.first_cell[0], col + found.first_cell[1])
            cells.setdefault(place, []).append((n, found.cell_differ[row, col]))
    assert whole.cell_both.sum() == whole.n
    assert whole.cell_differ.sum() == whole.n - whole.n_equal
    # Cells inside both cuts are the same: all but those at the rims of the part.
    row, col = (-540_013 + top) // CELL + 1, (40_007 + left) // CELL + 1
    inner = [told for place, told in cells.items() if place[0] >= row and place[1] >= col]
    assert len(inner) > 20
    assert all(len(told) == 2 and told[0] == told[1] for told in inner)


def test_the_cells_that_differ_most_come_first_and_thinly_seen_ones_are_left_out() -> None:
    a = np.zeros((256, 256), dtype=np.uint8)
    b = a.copy()
    grid = Grid(crs="EPSG:32633", resolution=10.0, extent=PixelBox.at(-64 * 8000, 64 * 600, shape=a.shape))
    b[70:80, 70:80] = 1
    b[130:190, 10:60] = 1
    a[200:250, :64], b[200:202, :64] = 255, 1
    a[200, :64] = 0
    cells = most_different(count(a, b, grid), grid)
    assert cells[0]["share"] == 3000 / 4096
    assert cells[1]["share"] == 100 / 4096
    assert len(cells) == 2
    west, south, east, north = cells[0]["bbox"]
    assert 0 < east - west < 0.02
    assert 0 < north - south < 0.01


def test_nothing_seen_in_both_counts_nothing() -> None:
    a, b = np.zeros((3, 5), dtype=np.uint8), np.full((3, 5), 254, dtype=np.uint8)
    grid = grid_of("utm", a.shape)
    found = count(a, b, grid)
    assert (found.n, found.n_only_a, found.n_only_b, found.km2.sum()) == (0, 15, 0, 0)
    assert most_different(found, grid) == []
    assert not found.picture.any()
