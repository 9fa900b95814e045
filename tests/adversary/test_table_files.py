"""Tables that a format would turn into something else, and files that are no tables: kept, told, or refused."""

from __future__ import annotations

import csv
import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pyproj
import pytest
import shapely

from tests.adversary.test_zone_files import FILES
from tilewright.tasks.storage.errors import StorageError
from tilewright.tasks.tables.convert import FORMATS, PARQUET, write_as, write_rows
from tilewright.tasks.tables.gdal_file import zoom_levels
from tilewright.tasks.tables.plain_columns import harmless
from tilewright.tasks.tables.table_rows import rows_in
from tilewright.tasks.tables.vector_file import GeometryTable, VectorFileError

SQUARE = shapely.box(400_000, 5_390_000, 400_100, 5_390_100)
CONVERTED = [suffix for suffix in FORMATS if suffix != PARQUET]


def table(columns: dict[str, object], shapes=(SQUARE,), crs="EPSG:32633") -> GeometryTable:
    return GeometryTable(name="t", geometries=np.array(shapes, dtype=object), columns=pa.table(columns), crs=crs)


def read(path: Path):
    return pd.read_csv(path) if path.suffix == ".csv" else geopandas.read_file(path)


@pytest.mark.parametrize("suffix", CONVERTED)
@pytest.mark.parametrize("attack", [name for name, (file, _, _) in FILES.items() if file.endswith(".parquet")])
def test_a_file_that_is_no_table_is_refused_or_written_as_it_is(tmp_path, attack, suffix):
    source, target = tmp_path / "z.parquet", tmp_path / f"t{suffix}"
    FILES[attack][1](source)
    target.write_text("the old one")
    said = None
    try:
        with rows_in(source, "z") as rows:
            write_rows([rows], target)
    except VectorFileError as error:
        said = str(error)
    if said is not None:
        assert "\n" not in said
        assert target.read_text() == "the old one"
    else:
        assert target.read_bytes() != b"the old one"
    assert {path.name for path in tmp_path.iterdir()} <= {source.name, target.name}


@pytest.mark.parametrize("suffix", CONVERTED)
def test_rows_that_break_in_the_middle_leave_nothing(tmp_path, suffix):
    shapes = [*shapely.to_wkb(np.full(12_000, SQUARE)), b"noise"]
    geo = {"version": "1.1.0", "primary_column": "geometry"}
    stated = {"encoding": "WKB", "geometry_types": [], "crs": pyproj.CRS(32633).to_json_dict()}
    metadata = {"geo": json.dumps({**geo, "columns": {"geometry": stated}})}
    pq.write_table(pa.table({"geometry": shapes}).replace_schema_metadata(metadata), tmp_path / "z.parquet")
    with rows_in(tmp_path / "z.parquet", "z") as rows, pytest.raises(VectorFileError, match="that are no WKB"):
        write_rows([rows], tmp_path / f"t{suffix}")
    assert [path.name for path in tmp_path.iterdir()] == ["z.parquet"]


def test_ctrl_c_while_gdal_takes_rows_is_ctrl_c(tmp_path):
    given = table({"id": pa.array(range(12_000))}, [SQUARE] * 12_000)
    write_as(given, tmp_path / "t.parquet")
    with rows_in(tmp_path / "t.parquet", "t") as rows:
        batches = rows.batches

        def broken():
            yield next(batches())
            raise KeyboardInterrupt

        object.__setattr__(rows, "batches", broken)
        for suffix in CONVERTED:
            with pytest.raises(KeyboardInterrupt):
                write_rows([rows], tmp_path / f"t{suffix}")
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]


@pytest.mark.parametrize(
    ("names", "suffixes"),
    [
        (("name", "Name"), (".gpkg", ".fgb", ".geojson", ".pmtiles")),
        (("straße", "STRASSE"), (".gpkg", ".fgb", ".geojson", ".pmtiles")),
        (("Geometry",), (".gpkg", ".fgb", ".geojson", ".pmtiles")),
        (("geometry",), (".gpkg", ".fgb", ".geojson", ".csv", ".pmtiles")),
    ],
)
def test_names_that_a_format_takes_for_one_are_refused(tmp_path, names, suffixes):
    given = table({name: pa.array([number]) for number, name in enumerate(names)})
    for suffix in suffixes:
        with pytest.raises(VectorFileError, match="which this format cannot tell from it"):
            write_as(given, tmp_path / f"t{suffix}")
    for suffix in {*CONVERTED} - {*suffixes}:
        write_as(given, tmp_path / f"t{suffix}")
        found = read(tmp_path / f"t{suffix}")
        assert [found[name][0] for name in names] == [*range(len(names))]
    assert {path.suffix for path in tmp_path.iterdir()} == {*CONVERTED} - {*suffixes}


HARD_NAMES = ["fid", "FID", "fid_0", "ogc_fid", "rowid", "id", "type", "properties", 'a"b', "a'b", "a,b", "ä b", "=1+1",
              "x" * 200, "select", "lon", "mvt_id"]  # fmt: skip


@pytest.mark.parametrize("suffix", CONVERTED)
@pytest.mark.parametrize("name", HARD_NAMES)
def test_columns_of_hard_names_keep_their_values(tmp_path, suffix, name):
    if (name, suffix) == ("mvt_id", ".pmtiles"):
        pytest.skip("a column that GDAL's reader of tiles adds, so that it cannot be read by that")
    write_as(table({name: pa.array([7, 7])}, [SQUARE, SQUARE]), tmp_path / f"t{suffix}")
    found = read(tmp_path / f"t{suffix}")
    assert list(found[harmless(name) if suffix == ".csv" else name]) == [7, 7]


def test_no_text_is_a_formula_in_a_spreadsheet(tmp_path):
    texts = ["=1+1", "+1 a", "-1 a", "@SUM(A1)", "\t=1", "-5", "+49", "1e5", "water", "", None, "-inf"]
    write_as(table({"=cmd": pa.array(texts)}, [SQUARE] * len(texts)), tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8-sig") as file:
        head, *rows = csv.reader(file)
    assert head[0] == "'=cmd"
    shown = ["'=1+1", "'+1 a", "'-1 a", "'@SUM(A1)", "'\t=1", "-5", "+49", "1e5", "water", "", "", "'-inf"]
    assert [row[0] for row in rows] == shown
    for suffix in (".fgb", ".gpkg", ".geojson"):
        write_as(table({"=cmd": pa.array(texts)}, [SQUARE] * len(texts)), tmp_path / f"t{suffix}")
        found = read(tmp_path / f"t{suffix}")["=cmd"]
        assert [None if pd.isna(each) else each for each in found] == texts, "elsewhere as it is"


def test_numbers_are_kept_with_all_digits_and_nan_is_no_number(tmp_path):
    whole = [2**53 + 1, -(2**63), 2**63 - 1, None]
    floats = pa.array([np.nan, np.inf, -np.inf, 0.1], from_pandas=False)
    given = table({"whole": pa.array(whole), "unsigned": pa.array([2**64 - 1, 0, None, 1], pa.uint64()),
                   "float": floats}, [SQUARE] * 4)  # fmt: skip
    write_as(given, tmp_path / "t.geojson")
    rows = [each["properties"] for each in json.loads((tmp_path / "t.geojson").read_text())["features"]]
    assert [row["whole"] for row in rows] == whole
    assert [row["unsigned"] for row in rows] == [str(2**64 - 1), "0", None, "1"]
    assert [row["float"] for row in rows] == [None, None, None, 0.1]
    for suffix in (".fgb", ".gpkg"):
        write_as(given, tmp_path / f"t{suffix}")
        found = pyogrio.read_arrow(tmp_path / f"t{suffix}")[1]
        assert found["whole"].to_pylist() == whole
        assert found["unsigned"].to_pylist() == [str(2**64 - 1), "0", None, "1"]
        assert found["float"].to_pylist()[3] == 0.1
    write_as(given, tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8-sig") as file:
        assert [row["whole"] for row in csv.DictReader(file)] == ["" if each is None else str(each) for each in whole]


@pytest.mark.parametrize("suffix", [".fgb", ".gpkg", ".geojson", ".csv"])
def test_moments_stay_what_they_are_to_the_millisecond(tmp_path, suffix):
    moment = datetime(2021, 6, 1, 23, 59, 59, 123000, tzinfo=UTC)
    write_as(table({"at": pa.array([moment, None])}, [SQUARE] * 2), tmp_path / f"t{suffix}")
    found = pd.to_datetime(read(tmp_path / f"t{suffix}")["at"], utc=True)
    assert abs(found[0] - moment).total_seconds() < 0.001
    assert pd.isna(found[1])


OWN = "+proj=laea +lat_0=47 +lon_0=13 +x_0=1000 +y_0=2000 +ellps=GRS80 +units=m"


@pytest.mark.parametrize("suffix", [".fgb", ".gpkg", ".geojson", ".csv"])
def test_a_crs_without_a_code_is_kept_or_left_for_degrees(tmp_path, suffix):
    shape = shapely.box(0, 0, 5000, 7000)
    write_as(table({"id": pa.array([1])}, [shape], pyproj.CRS(OWN).to_wkt()), tmp_path / f"t{suffix}")
    found = read(tmp_path / f"t{suffix}")
    if suffix == ".csv":
        found = geopandas.GeoDataFrame(geometry=geopandas.GeoSeries.from_wkt(found["geometry"]), crs=4326)
    assert shapely.hausdorff_distance(found.to_crs(OWN).geometry[0], shape) < 0.02


@pytest.mark.parametrize("suffix", [".fgb", ".gpkg", ".geojson", ".csv"])
def test_shapes_of_several_parts_and_empty_ones_stay(tmp_path, suffix):
    holed = SQUARE.buffer(10).difference(SQUARE.buffer(-10))
    shapes = [shapely.MultiPolygon([holed, shapely.box(400_400, 5_390_000, 400_410, 5_390_010)]), None, SQUARE]
    write_as(table({"id": pa.array([1, 2, 3])}, shapes), tmp_path / f"t{suffix}")
    found = read(tmp_path / f"t{suffix}")
    assert list(found["id"]) == [1, 2, 3]
    if suffix == ".csv":
        found = geopandas.GeoDataFrame(
            geometry=geopandas.GeoSeries.from_wkt(found["geometry"].where(found["geometry"].notna(), None)), crs=4326
        )
    places = found.to_crs(32633).geometry
    assert places[0].geom_type == "MultiPolygon"
    assert places[0].area == pytest.approx(shapes[0].area, rel=1e-3)
    assert places[1] is None or places[1].is_empty


def test_shapes_where_degrees_end_are_refused(tmp_path):
    beyond = shapely.box(1e12, 1e12, 2e12, 2e12)
    for suffix in (".csv", ".geojson", ".pmtiles"):
        with pytest.raises((VectorFileError, StorageError)) as error:
            write_as(table({"id": pa.array([1])}, [beyond]), tmp_path / f"t{suffix}")
        assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_geopackage_has_its_index_and_opens_as_one(tmp_path):
    write_as(table({"fid": pa.array(["a", "b"])}, [SQUARE] * 2), tmp_path / "t.gpkg")
    opened = sqlite3.connect(tmp_path / "t.gpkg")
    assert opened.execute("SELECT count(*) FROM rtree_t_geometry").fetchone() == (2,)
    opened.close()
    assert len(pyogrio.read_dataframe(tmp_path / "t.gpkg", bbox=SQUARE.bounds)) == 2
    assert pyogrio.read_info(tmp_path / "t.gpkg")["fid_column"] == "fid_0"


@pytest.mark.parametrize(
    ("bounds", "crs", "pixel_m", "levels"),
    [
        ((400_000, 5_390_000, 500_000, 5_490_000), "EPSG:32633", 10, (5, 13)),
        ((400_000, 5_390_000, 400_010, 5_390_010), "EPSG:32633", 10, (13, 13)),
        ((-180, -90, 180, 90), "EPSG:4326", 1000, (0, 7)),
        ((np.nan,) * 4, "EPSG:32633", 10, (13, 13)),
        ((0, 0, 1e300, 1e300), "EPSG:32633", 10, (0, 13)),
        ((400_000, 5_390_000, 500_000, 5_490_000), "EPSG:32633", None, (5, 14)),
        ((400_000, 5_390_000, 500_000, 5_490_000), "EPSG:32633", 1e-9, (5, 20)),
        ((400_000, 5_390_000, 500_000, 5_490_000), "EPSG:32633", 1e9, (0, 0)),
    ],
)
def test_levels_of_tiles_are_few_whatever_is_said(bounds, crs, pixel_m, levels):
    assert zoom_levels(bounds, crs, pixel_m) == levels
