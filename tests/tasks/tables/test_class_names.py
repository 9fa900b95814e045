"""Names of classes that a table keeps beside the column of their values, in formats other than Parquet."""

from __future__ import annotations

import csv
import json

import geopandas
import numpy as np
import pyarrow as pa
import pytest
import shapely

from tilewright.tasks.tables.convert import write_as
from tilewright.tasks.tables.geoparquet import whole_table, write_whole_table
from tilewright.tasks.tables.plain_columns import CLASSES, plain_columns, with_class_names
from tilewright.tasks.tables.vector_file import GeometryTable, read_geometry_table

NAMES = {0: "land", 1: "=wasser", 7: "neve à nu"}


def table(**columns):
    plain = pa.table({"class": pa.array([1, None, 7, 3], type=pa.int64()), **columns})
    return with_class_names(plain, "class", NAMES)


def geometry_table(columns):
    places = np.array([shapely.Point(8 + n / 10, 50) for n in range(columns.num_rows)])
    return GeometryTable(name="t", geometries=places, columns=columns, crs="EPSG:4326")


@pytest.mark.parametrize("ending", [".csv", ".geojson", ".gpkg", ".fgb"])
def test_a_format_for_people_has_the_names_beside_the_values(tmp_path, ending):
    path = tmp_path / f"t{ending}"
    write_as(geometry_table(table(n=pa.array(range(4)))), path)
    if ending == ".csv":
        with path.open(encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        assert [row["class_name"] for row in rows] == ["'=wasser", "", "neve à nu", ""]
        assert list(rows[0])[:3] == ["class", "class_name", "n"]
        return
    found = geopandas.read_file(path)
    assert [None if not isinstance(name, str) else name for name in found["class_name"]] == [
        "=wasser", None, "neve à nu", None,
    ]  # fmt: skip
    assert found["class"].fillna(-1).astype(int).tolist() == [1, -1, 7, 3]


def test_parquet_has_the_values_alone_and_keeps_the_names_in_its_schema(tmp_path):
    path = tmp_path / "t.parquet"
    given = geometry_table(table())
    write_whole_table(path, whole_table(given.columns, given.geometries, crs=given.crs))
    again = read_geometry_table(path)
    assert again.columns.column_names == ["class"]
    assert plain_columns(again.columns)["class_name"].to_pylist() == ["=wasser", None, "neve à nu", None]


@pytest.mark.parametrize("name", ["class_name", "CLASS_NAME"])
def test_a_column_of_that_name_stays_what_it_was(name):
    own = table(**{name: pa.array(list("abcd"))})
    assert plain_columns(own).column_names == ["class", name]
    assert plain_columns(own)[name].to_pylist() == list("abcd")


@pytest.mark.parametrize(
    "kept", [b"", b"\xff", b"[1]", b'"a"', b'{"1": 3}', b"[" * 100_000, json.dumps({"1": None}).encode()], ids=len
)
def test_names_that_are_none_are_left_out(kept):
    plain = pa.table({"class": pa.array([1, 2])})
    field = plain.schema.field(0).with_metadata({CLASSES: kept})
    assert plain_columns(plain.cast(pa.schema([field]))).column_names == ["class"]
