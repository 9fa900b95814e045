"""Windows of places: the centroid's pixel has index size // 2, and rows are read along a curve, each once."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.places.matches import Match
from tilewright.tasks.places.patches import SIDE, cut_patches
from tilewright.tasks.places.rows import place_rows
from tilewright.tasks.tables.vector_file import GeometryTable

CRS = "EPSG:32633"
LEFT, TOP = 400_000.0, 5_400_000.0


def rows_of(geometries, *, window=16, align=1, crs=CRS, resolution=10.0):
    table = GeometryTable(name="t", geometries=np.array(geometries, dtype=object), columns=None, crs=CRS)
    of_row = np.zeros(len(geometries), dtype=np.int64)
    return place_rows(table, crs=crs, resolution=resolution, window=window, align=align, periods=((),), of_row=of_row)


def at(row, col):
    return shapely.Point(LEFT + (col + 0.5) * 10, TOP - (row + 0.5) * 10)


@pytest.mark.parametrize(("window", "align", "index"), [(16, 1, 8), (15, 1, 7), (1, 1, 0), (16, 2, 8), (12, 4, 4)])
def test_the_pixel_of_the_centroid_has_index_size_by_2_in_pixels_of_the_coarsest_input(window, align, index):
    rows = rows_of([at(3, 5)], window=window, align=align)
    inside = rows.centres[0] // align * align - [rows.tops[0], rows.lefts[0]]
    assert inside.tolist() == [index, index]
    assert (rows.tops[0] % align, rows.lefts[0] % align) == (0, 0)


def test_the_centroid_is_that_on_the_grid_and_a_point_on_an_edge_is_of_the_pixel_right_and_below():
    corner = shapely.Point(LEFT, TOP)
    square = shapely.box(LEFT, TOP - 40, LEFT + 20, TOP)
    rows = rows_of([corner, square])
    assert (rows.centres - rows.centres[0]).tolist() == [[0, 0], [2, 1]]


def test_rows_without_a_place_have_no_window_and_keep_their_number():
    rows = rows_of([None, at(0, 0), shapely.Point(), at(1, 1)])
    assert sorted(rows.order.tolist()) == [1, 3]
    assert len(rows) == 4
    assert [place is None for place in rows.places] == [True, False, True, False]


def test_a_row_beyond_what_the_crs_can_show_has_no_window():
    world = GeometryTable(
        name="t",
        geometries=np.array([shapely.Point(15, 48), shapely.Point(-165, 0)], dtype=object),
        columns=None,
        crs="EPSG:4326",
    )
    rows = place_rows(
        world, crs=CRS, resolution=10.0, window=16, align=1, periods=((),), of_row=np.zeros(2, dtype=np.int64)
    )
    assert rows.order.tolist() == [0]


@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 5000)), min_size=1, max_size=60), st.integers(1, 7))
def test_units_and_patches_hold_each_row_once_and_its_window(places, size):
    rows = rows_of([at(*place) for place in places])
    units = rows.units(size)
    assert sorted(number for unit in units for number in unit.tolist()) == list(range(len(places)))
    one, other = Match(plan=None, digest="a"), Match(plan=None, digest="b")
    for unit in units:
        matches = [one if number % 3 else other for number in unit.tolist()]
        patches = list(cut_patches(rows, unit.tolist(), matches))
        assert [number for patch in patches for number in patch.rows] == unit.tolist()
        for patch in patches:
            assert max(patch.box.shape) <= SIDE
            assert {number % 3 == 0 for number in patch.rows} == {patch.match is other}
            assert all(patch.box.around(rows.box(number)) == patch.box for number in patch.rows)


def test_the_extent_is_the_box_around_all_windows():
    rows = rows_of([at(0, 0), at(100, 30)])
    top, left = rows.tops[0], rows.lefts[0]
    assert rows.extent == PixelBox(row_start=top, row_stop=top + 116, col_start=left, col_stop=left + 46)
