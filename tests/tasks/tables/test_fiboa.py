"""Tables of polygons in the words of fiboa: as its specification asks, and nothing of a shape is lost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import geopandas
import numpy as np
import pytest
import shapely

from tests.support.table_standards import assert_fiboa, assert_geoparquet
from tilewright.tasks.tables.fiboa import table_writer
from tilewright.tasks.tables.geoparquet import Rows

LAST = datetime(2023, 6, 30, 12, 1, 2, 345678, tzinfo=timezone(timedelta(hours=2)))
COLUMNS = {"id": "int64", "name": "string", "area_m2": "double", "perimeter_m": "double"}


def write(path, shapes, *, columns="fiboa", last=LAST, **changed):
    bounds = shapely.bounds(shapes).reshape(-1, 4)
    told = {
        "id": np.arange(1, len(shapes) + 1),
        "name": ["field"] * len(shapes),
        "area_m2": shapely.area(shapes),
        "perimeter_m": shapely.length(shapes),
        **changed,
    }
    rows = Rows(geometry=shapely.to_wkb(shapely.orient_polygons(shapes)).tolist(), bounds=bounds, columns=told)
    whole = np.full(4, np.nan) if not len(shapes) else shapely.total_bounds(shapes)
    kinds = tuple(sorted({each.geom_type for each in shapes}))
    table_writer(columns, last)(path, [rows], columns=COLUMNS, crs="EPSG:32633", kinds=kinds, bounds=whole)


def squares(*sides):
    return np.array([shapely.box(400_000, 5_390_000, 400_000 + side, 5_390_000 + side) for side in sides], dtype=object)


def test_a_table_is_what_fiboa_asks_for(tmp_path):
    write(tmp_path / "t.parquet", squares(100, 250))
    table = assert_fiboa(tmp_path / "t.parquet")
    assert table.column_names == [
        *("id", "name", "area", "perimeter", "determination_datetime", "determination_method", "geometry", "bbox")
    ]
    assert table["id"].to_pylist() == ["1", "2"]
    assert table["area"].to_pylist() == [1.0, 6.25]
    assert table["perimeter"].to_pylist() == [400.0, 1000.0]
    assert table["determination_datetime"].to_pylist()[0] == datetime(2023, 6, 30, 10, 1, 2, 345000, tzinfo=UTC)
    found = geopandas.read_parquet(tmp_path / "t.parquet")
    assert found.crs == "EPSG:32633"


def test_what_is_no_field_has_no_area(tmp_path):
    write(tmp_path / "t.parquet", squares(1, 31_622, 31_624), area_m2=np.array([0.0, 1e9, 1.0001e9]))
    table = assert_fiboa(tmp_path / "t.parquet")
    assert table["area"].to_pylist() == [None, 100_000.0, None]
    assert table["perimeter"].to_pylist()[2] is None


@pytest.mark.parametrize("shapes", [squares(), squares(10)])
def test_no_rows_and_no_images_are_valid_too(tmp_path, shapes):
    write(tmp_path / "t.parquet", shapes, last=None)
    table = assert_fiboa(tmp_path / "t.parquet")
    assert table["determination_datetime"].to_pylist() == [None] * len(shapes)


def test_our_own_columns_stay_without_it(tmp_path):
    write(tmp_path / "t.parquet", squares(100), columns="tilewright")
    table = assert_geoparquet(tmp_path / "t.parquet")
    assert table.column_names == ["id", "name", "area_m2", "perimeter_m", "geometry", "bbox"]
    assert b"fiboa" not in table.schema.metadata
