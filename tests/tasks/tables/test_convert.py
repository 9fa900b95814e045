"""A table written in each format and read by the libraries people have: the same rows, in their order, whole or not."""

from __future__ import annotations

import gzip
import json
import struct
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely

from tilewright.tasks.tables import convert
from tilewright.tasks.tables.convert import write_as
from tilewright.tasks.tables.csv_points import read_points_csv
from tilewright.tasks.tables.table_rows import rows_in
from tilewright.tasks.tables.vector_file import GeometryTable, VectorFileError, read_geometry_table

HOLED = shapely.Point(400_300, 5_399_700).buffer(200).difference(shapely.Point(400_300, 5_399_700).buffer(50))
SHAPES = [
    shapely.box(410_000, 5_390_000, 410_100, 5_390_100),
    None,
    shapely.MultiPolygon([HOLED, shapely.box(401_000, 5_399_000, 401_010, 5_399_010)]),
]


def made(columns: dict[str, pa.Array], shapes=SHAPES, crs="EPSG:32633") -> GeometryTable:
    return GeometryTable(name="t", geometries=np.array(shapes, dtype=object), columns=pa.table(columns), crs=crs)


@pytest.fixture
def table() -> GeometryTable:
    return made(
        {"id": pa.array([1, 2, 3]), "name": pa.array(["a", None, 'ü, "b"\nc']), "share": pa.array([0.25, None, 1])}
    )


def test_geoparquet_says_what_its_standard_asks(table, tmp_path):
    write_as(table, tmp_path / "t.parquet")
    told = json.loads(pq.read_schema(tmp_path / "t.parquet").metadata[b"geo"])
    column = told["columns"]["geometry"]
    assert (told["version"], column["encoding"], column["crs"]["id"]["code"]) == ("1.1.0", "WKB", 32633)
    assert column["geometry_types"] == ["MultiPolygon", "Polygon"]
    assert column["bbox"] == pytest.approx(shapely.total_bounds(SHAPES))
    boxes = pq.read_table(tmp_path / "t.parquet")["bbox"].to_pylist()
    assert boxes[1] is None
    assert boxes[0] == {"xmin": 410_000, "ymin": 5_390_000, "xmax": 410_100, "ymax": 5_390_100}
    found = geopandas.read_parquet(tmp_path / "t.parquet")
    assert found.crs == "EPSG:32633"
    assert list(found["name"]) == ["a", None, 'ü, "b"\nc']
    assert shapely.is_ccw(shapely.get_exterior_ring(found.geometry[0])), "as the metadata says"


def test_geojson_is_that_of_the_standard(table, tmp_path):
    write_as(table, tmp_path / "t.geojson")
    plain = json.loads((tmp_path / "t.geojson").read_text())
    assert "crs" not in plain, "RFC 7946 knows one alone"
    assert [each["properties"]["name"] for each in plain["features"]] == ["a", None, 'ü, "b"\nc']
    assert plain["features"][1]["geometry"] is None
    for feature in (plain["features"][0], plain["features"][2]):
        parts = shapely.get_parts(shapely.geometry.shape(feature["geometry"]))
        assert all(shapely.is_ccw(shapely.get_exterior_ring(part)) for part in parts), "right-handed"
    back = geopandas.read_file(tmp_path / "t.geojson").to_crs("EPSG:32633").geometry
    assert shapely.hausdorff_distance(back[0], SHAPES[0]) < 0.01


def test_a_shape_across_180_degrees_is_cut_in_geojson(tmp_path):
    across = shapely.box(820_000, 20_000, 850_000, 40_000)
    write_as(made({"id": pa.array([1])}, [across], "EPSG:32660"), tmp_path / "t.geojson")
    found = geopandas.read_file(tmp_path / "t.geojson").geometry[0]
    assert found.geom_type == "MultiPolygon"
    assert max(part.bounds[2] - part.bounds[0] for part in found.geoms) < 1


def test_flatgeobuf_keeps_the_order_and_the_crs(table, tmp_path):
    write_as(table, tmp_path / "t.fgb")
    found = geopandas.read_file(tmp_path / "t.fgb")
    assert found.crs == "EPSG:32633"
    assert list(found["id"]) == [1, 2, 3]
    assert found.geometry[1] is None or found.geometry[1].is_empty
    assert found.geometry[2].equals(SHAPES[2])


@pytest.mark.parametrize(
    ("shapes", "kind"),
    [
        ([SHAPES[0], None], "Polygon"),
        ([SHAPES[2]], "MultiPolygon"),
        ([shapely.Point(410_000, 5_390_000)], "Point"),
        (SHAPES, "Unknown"),
        ([None], "Unknown"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_geopackage_says_what_its_shapes_are(tmp_path, shapes, kind, streamed):
    given = made({"id": pa.array(range(len(shapes)))}, shapes)
    write_as(given, tmp_path / "t.parquet")
    if streamed:
        with rows_in(tmp_path / "t.parquet", "t") as rows:
            convert.write_rows([rows], tmp_path / "t.gpkg")
    else:
        write_as(given, tmp_path / "t.gpkg")
    assert pyogrio.read_info(tmp_path / "t.gpkg")["geometry_type"] == kind
    assert [each and each.geom_type for each in geopandas.read_file(tmp_path / "t.gpkg").geometry] == [
        each and each.geom_type for each in shapes
    ]


def test_a_geopackage_of_a_file_that_states_other_shapes_holds_them_all(tmp_path):
    write_as(made({"id": pa.array([1, 2, 3])}), tmp_path / "t.parquet")
    whole = pq.read_table(tmp_path / "t.parquet")
    for stated in (["Point"], "Polygon", [1], ["x"], [{}], None):
        told = json.loads(whole.schema.metadata[b"geo"])
        told["columns"]["geometry"]["geometry_types"] = stated
        pq.write_table(whole.replace_schema_metadata({"geo": json.dumps(told)}), tmp_path / "bent.parquet")
        with rows_in(tmp_path / "bent.parquet", "t") as rows:
            convert.write_rows([rows], tmp_path / "t.gpkg")
        assert len(geopandas.read_file(tmp_path / "t.gpkg").geometry.dropna()) == 2


def test_tiles_are_called_as_their_table(table, tmp_path):
    write_as(table, tmp_path / "mine.pmtiles")
    content = (tmp_path / "mine.pmtiles").read_bytes()
    start, size = struct.unpack_from("<2Q", content, 24)
    assert json.loads(gzip.decompress(content[start : start + size]))["name"] == "mine"


def test_a_csv_begins_with_the_mark_of_utf_8_and_is_read_again_as_points(tmp_path):
    columns = {"größe": pa.array(["ü", "0123"]), "n": pa.array([1, 2])}
    write_as(made(columns, [SHAPES[0], SHAPES[2]]), tmp_path / "t.csv")
    content = (tmp_path / "t.csv").read_bytes()
    assert content.startswith(b"\xef\xbb\xbf")
    assert content.count(b"\xef\xbb\xbf") == 1
    assert pd.read_csv(tmp_path / "t.csv").columns[0] == "größe"
    again = read_points_csv(tmp_path / "t.csv")
    assert again.columns.column_names == ["größe", "n", "lon", "lat", "geometry"]
    assert again.columns["größe"].to_pylist() == ["ü", "0123"]
    for name in ("lon", "n"):
        (tmp_path / "m.csv").write_text(f"{name},lat,{'n' if name == 'lon' else 'lon'}\n01,1,2\n", "utf-8-sig")
        assert read_points_csv(tmp_path / "m.csv").columns.column_names[0] == name


def test_csv_holds_wkt_in_degrees(table, tmp_path):
    write_as(table, tmp_path / "t.csv")
    found = pd.read_csv(tmp_path / "t.csv")
    assert list(found.columns) == ["id", "name", "share", "lon", "lat", "geometry"]
    assert found["name"][2] == 'ü, "b"\nc'
    shapes = geopandas.GeoSeries.from_wkt(found["geometry"].where(found["geometry"].notna(), None), crs=4326)
    assert shapely.hausdorff_distance(shapes.to_crs(32633)[0], SHAPES[0]) < 0.01
    assert pd.isna(found["geometry"][1])
    assert pd.isna(found["lon"][1])
    for number in (0, 2):
        inside = shapely.Point(found["lon"][number], found["lat"][number])
        assert shapes[number].contains(inside), "a point on the surface, also of a shape with a hole"


@pytest.mark.parametrize("suffix", convert.FORMATS)
def test_columns_of_any_type_are_written(tmp_path, suffix):
    columns = {
        "list": pa.array([[1, 2], None, []]),
        "struct": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": "ü"}]),
        "word": pa.array(["x", "y", "x"]).dictionary_encode(),
        "money": pa.array([Decimal("1.50"), None, Decimal("2.25")]),
        "day": pa.array([date(2021, 6, 1), None, date(1900, 1, 1)]),
        "moment": pa.array([datetime(2021, 6, 1, 12, tzinfo=UTC), None, None]),
        "bytes": pa.array([b"\x00\xff", None, b""]),
        "half": pa.array(np.array([1, 2, np.nan], dtype=np.float16)),
        "nothing": pa.nulls(3),
        "flag": pa.array([True, None, False]),
        "large": pa.array(["a", "b", "c"], type=pa.large_string()),
        "view": pa.array(["a", "b", "c"], type=pa.string_view()),
        "unsigned": pa.array([0, 2**63, 1], type=pa.uint64()),
    }
    write_as(made(columns), tmp_path / f"t{suffix}")
    if suffix == ".csv":
        found = pd.read_csv(tmp_path / "t.csv")
    elif suffix == ".parquet":
        found = geopandas.read_parquet(tmp_path / "t.parquet")
    else:
        found = pyogrio.read_dataframe(tmp_path / f"t{suffix}")
    assert len(found) == 3 or suffix == ".pmtiles", "tiles cut shapes"
    if suffix not in {".parquet", ".csv"}:
        assert str(2**63 if suffix != ".pmtiles" else 1) in [*found["unsigned"]], "all of its digits"
    assert set(columns) <= set(found.columns) or suffix in {".geojson", ".pmtiles"}
    if suffix == ".pmtiles":
        assert set(found["word"]) == {"x"}, "the second row has no shape"
    else:
        assert list(found["word"]) == ["x", "y", "x"]
    assert bool(found["flag"][0]) is True


@pytest.mark.parametrize("suffix", convert.FORMATS)
def test_no_rows_are_written_too(tmp_path, suffix):
    if suffix == ".pmtiles":
        for shapes in ([], [None]):
            ids = pa.array(range(len(shapes)), type=pa.int64())
            with pytest.raises(VectorFileError, match="has no shape, and PMTiles cannot hold nothing"):
                write_as(made({"id": ids}, shapes), tmp_path / f"t{suffix}")
        assert list(tmp_path.iterdir()) == []
        return
    write_as(made({"id": pa.array([], type=pa.int64())}, []), tmp_path / f"t{suffix}")
    assert (tmp_path / f"t{suffix}").stat().st_size > 0


@pytest.mark.parametrize("suffix", convert.FORMATS)
def test_a_write_that_breaks_leaves_the_file_that_was_there(table, tmp_path, suffix, monkeypatch):
    target = tmp_path / f"t{suffix}"
    target.write_text("the old one")

    def fail(path: Path, *_: object, **__: object) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    for name in ("write_whole_table", "write_csv", "write_gdal"):
        monkeypatch.setattr(convert, name, fail)
    with pytest.raises(OSError, match="No space"):
        write_as(table, target)
    assert target.read_text() == "the old one"
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


@pytest.mark.parametrize("suffix", [".parquet", ".geojson", ".fgb"])
def test_what_is_written_is_read_again(table, tmp_path, suffix):
    write_as(table, tmp_path / f"t{suffix}")
    back = read_geometry_table(tmp_path / f"t{suffix}")
    assert back.columns.column_names == ["id", "name", "share"]
    assert back.columns["share"].to_pylist() == [0.25, None, 1.0]
    assert shapely.is_missing(back.geometries).tolist() == [False, True, False]


def test_another_ending_is_refused(table, tmp_path):
    with pytest.raises(VectorFileError, match=r"names no format of a table: end it in .parquet, .geojson"):
        write_as(table, tmp_path / "t.kml")
