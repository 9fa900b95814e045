"""Files of zones that are broken, hostile or of another kind, and places to write to: each refused in one sentence."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from typer.testing import CliRunner

from tests.support.layers import write_layers
from tilewright.flows.cli.main import app
from tilewright.tasks.tables import vector_file

UTM = "EPSG:32633"
INSIDE = shapely.box(400_010, 5_399_700, 400_050, 5_399_750)


def geo(column: object = None, **more: object) -> dict[str, str]:
    told = {"encoding": "WKB", "geometry_types": [], **more}
    return {
        "geo": json.dumps(
            {
                "version": "1.1.0",
                "primary_column": "geometry",
                "columns": {"geometry": told if column is None else column},
            }
        )
    }


def parquet(path: Path, geometries: list[bytes | None], metadata: dict[str, str] | None, **columns: object) -> None:
    table = pa.table({**columns, "geometry": pa.array(geometries, type=pa.binary())})
    pq.write_table(table.replace_schema_metadata(metadata), path)


def frame(path: Path, geometries: list[object], crs: str | None = UTM, **columns: object) -> None:
    given = geopandas.GeoDataFrame(columns or {"key": range(len(geometries))}, geometry=geometries, crs=crs)
    given.to_parquet(path) if path.suffix == ".parquet" else given.to_file(path)


def text(words: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(words)


def feature(geometry: object, **more: object) -> str:
    one = {"type": "Feature", "properties": {}, "geometry": geometry}
    return json.dumps({"type": "FeatureCollection", "features": [one], **more})


BOW = shapely.Polygon([(400_000, 5_399_900), (400_100, 5_399_800), (400_100, 5_399_900), (400_000, 5_399_800)])
RING = [[13.6, 48.7], [13.7, 48.7], [13.7, 48.8], [13.6, 48.7]]
WKB = shapely.to_wkb(INSIDE)

WORLD = [[-170, -70], [170, -70], [170, 70], [-170, 70], [-170, -70]]


def twice(path: Path) -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array([WKB])], names=["a", "a", "geometry"])
    pq.write_table(table.replace_schema_metadata(geo()), path)


FILES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "missing": ("z.parquet", lambda path: None, "cannot be read: No such file"),
    "a folder": ("z.parquet", lambda path: path.mkdir(), "cannot be read as a table of shapes"),
    "a pipe": ("z.geojson", os.mkfifo, "cannot be read as a table of shapes"),
    "empty": ("z.geojson", text(""), "is no GeoJSON"),
    "an ending of nothing": ("z.xyz", text("x"), "cannot be read as a table of shapes"),
    "a CSV": ("z.csv", text("id,geometry\n1,POINT(0 0)\n"), "A CSV says neither shapes nor their CRS"),
    "a name with an escape": ("z\x1b[31m.geojson", text("x"), "is no GeoJSON"),
    "garbage of Parquet": ("z.parquet", text("PAR1 and more PAR1"), "cannot be read as GeoParquet"),
    "Parquet without geo": ("z.parquet", lambda path: parquet(path, [WKB], None), "is no GeoParquet"),
    "geo that is a list": ("z.parquet", lambda path: parquet(path, [WKB], {"geo": "[1]"}), "cannot be read"),
    "geo that is no JSON": ("z.parquet", lambda path: parquet(path, [WKB], {"geo": "{"}), "cannot be read"),
    "geo nested deep": ("z.parquet", lambda path: parquet(path, [WKB], {"geo": "[" * 99_999}), "cannot be read"),
    "geo without its column": ("z.parquet", lambda path: parquet(path, [WKB], geo([])), "cannot be read"),
    "geo of GeoArrow": ("z.parquet", lambda path: parquet(path, [WKB], geo(encoding="polygon")), "write them as WKB"),
    "a CRS of null": ("z.parquet", lambda path: parquet(path, [WKB], geo(crs=None)), "does not say its CRS"),
    "a CRS of nothing": ("z.parquet", lambda path: parquet(path, [WKB], geo(crs="EPSG:99")), "CRS that is not known"),
    "a CRS of heights": ("z.parquet", lambda path: parquet(path, [WKB], geo(crs="EPSG:5703")), "no map coordinates"),
    "WKB of noise": ("z.parquet", lambda path: parquet(path, [b"noise"], geo()), "that are no WKB"),
    "WKB cut off": ("z.parquet", lambda path: parquet(path, [WKB[:40]], geo()), "that are no WKB"),
    "WKB that claims a thousand million rings": (
        "z.parquet",
        lambda path: parquet(path, [struct.pack("<BII", 1, 3, 10**9)], geo()),
        "that are no WKB",
    ),
    "no CRS in a Shapefile": ("z.shp", lambda path: frame(path, [INSIDE], None), "does not say its CRS"),
    "no rows": ("z.parquet", lambda path: parquet(path, [], geo()), "holds no zone"),
    "rows without a geometry": ("z.parquet", lambda path: parquet(path, [None, None], geo()), "no zone in its 2 rows"),
    "an empty collection": ("z.geojson", text('{"type":"FeatureCollection","features":[]}'), "z.geojson"),
    "a point": ("z.parquet", lambda path: frame(path, [INSIDE, INSIDE.centroid]), "Row 2 of z.parquet is a Point"),
    "a line": ("z.gpkg", lambda path: frame(path, [shapely.LineString(INSIDE.exterior.coords)]), "zones are polygons"),
    "a collection": (
        "z.parquet",
        lambda path: frame(path, [shapely.GeometryCollection([INSIDE])]),
        "is a GeometryCollection",
    ),
    "a bow tie": ("z.parquet", lambda path: frame(path, [INSIDE, BOW]), "Row 2 of z.parquet is no valid polygon"),
    "parts that overlap": (
        "z.parquet",
        lambda path: frame(path, [shapely.MultiPolygon([INSIDE, INSIDE])]),
        "is no valid polygon",
    ),
    "NaN": (
        "z.parquet",
        lambda path: parquet(path, [shapely.to_wkb(shapely.transform(INSIDE, lambda at: at * [np.inf, 1]))], geo()),
        "Row 1 of z.parquet has coordinates that are no numbers",
    ),
    "too wide to be read one way": (
        "z.geojson",
        text(feature({"type": "Polygon", "coordinates": [WORLD]})),
        "can be read two ways",
    ),
    "GeoJSON that is a raster's list": ("z.geojson", text("<OGRVRTDataSource/>"), "is no GeoJSON"),
    "GeoJSON nested deep": ("z.geojson", text("{" + '"a":[' * 60_000), "z.geojson cannot be read as GeoJSON"),
    "TopoJSON": ("z.json", text('{"type":"Topology","arcs":[],"objects":{}}'), "z.json"),
    "a database of no GeoPackage": (
        "z.gpkg",
        lambda path: sqlite3.connect(path).execute("create table t (x)").connection.commit(),
        "z.gpkg",
    ),
    "several layers": (
        "z.gpkg",
        lambda path: [
            geopandas.GeoDataFrame(geometry=[INSIDE], crs=UTM).to_file(path, layer=name) for name in ("a", "b")
        ],
        "has several layers, a, b: write z.gpkg#a",
    ),
    "FlatGeobuf cut off": ("z.fgb", lambda path: path.write_bytes(b"fgb\x03fgb\x00" + b"\xff" * 40), "z.fgb"),
    "a column of ours": (
        "z.parquet",
        lambda path: frame(path, [INSIDE], observed=[1]),
        "has a column 'observed', which the table of zones has too: rename it",
    ),
    "a column of a class": ("z.parquet", lambda path: frame(path, [INSIDE], **{"class_open water": [1]}), "rename it"),
    "a column twice": ("z.parquet", twice, "several columns called 'a'"),
}  # fmt: skip


@pytest.fixture(scope="module")
def product(tmp_path_factory) -> Path:
    layers = {"class": np.zeros((40, 60), dtype=np.uint8), "height": np.zeros((40, 60), dtype=np.float32)}
    return write_layers(tmp_path_factory.mktemp("made"), layers, classes={"class": ("land", "open water")})


def zones(*words: object):
    return CliRunner().invoke(app, ["zones", *map(str, words)])


def sums(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def refused(answer, words: str) -> None:
    assert answer.exit_code == 2, (answer.output, answer.exception)
    assert words in answer.output.replace("\n", " "), answer.output
    assert answer.output.startswith("tilewright: ")
    assert answer.output.count("\n") == 1, answer.output
    assert "\x1b" not in answer.output
    assert answer.stdout == ""


@pytest.mark.parametrize("attack", FILES)
def test_a_file_that_holds_no_zones_is_refused(product, tmp_path, attack):
    name, make, words = FILES[attack]
    make(tmp_path / name)
    before = sums(product)
    target = tmp_path / "out.parquet"
    refused(zones(product, tmp_path / name, "--to", target), words)
    assert not target.exists()
    assert sums(product) == before


def test_what_is_asked_wrongly_is_refused(product, tmp_path):
    good = tmp_path / "zones.parquet"
    frame(good, [INSIDE])
    (tmp_path / "nothing").mkdir()
    (tmp_path / "taken.csv").mkdir()
    closed = tmp_path / "closed"
    closed.mkdir()
    before = sums(product)
    for words, told in (
        ((product, good, "--layers", "clouds"), "'clouds' is no layer of"),
        ((product, good, "--layers", "class,class"), "name one of them twice"),
        ((product, good, "--layers", ","), "names no layer: give one"),
        ((product, good, "--layers", "../class"), "is no layer of"),
        ((tmp_path / "nothing", good), "holds no finished product"),
        ((tmp_path / "not-there", good), "holds no finished product"),
        (("ftp://example.com/x", good), "has an unknown scheme"),
        ((product, good, "--to", tmp_path / "out.shp"), "names no format of a table"),
        ((product, good, "--to", tmp_path / "out"), "names no format of a table"),
        ((product, good, "--to", tmp_path / "no" / "out.csv"), "is no folder"),
        ((product, good, "--to", tmp_path / "taken.csv"), "is there and is no file"),
        ((product, good, "--to", good), "is the file of zones itself"),
        ((product, good, "--to", product / "zones.parquet"), "lies in the product"),
        ((product, good, "--to", product / "data.zarr" / "x.csv"), "lies in the product"),
    ):
        refused(zones(*words, *(() if "--to" in words else ("--to", tmp_path / "out.csv"))), told)
    assert sums(product) == before
    assert {path.name for path in tmp_path.iterdir()} == {"zones.parquet", "nothing", "taken.csv", "closed"}


@pytest.mark.parametrize(
    "bend",
    [
        lambda folder: (folder / "report.json").write_text("[]"),
        lambda folder: (folder / "report.json").write_text('{"grid": {}, "layers": [{"name": "class"}]}'),
        lambda folder: change(folder, lambda told: told["grid"].update(resolution=0)),
        lambda folder: change(folder, lambda told: told["grid"].update(resolution="x")),
        lambda folder: change(folder, lambda told: told["grid"].update(bounds=[0, 0, 1e300, 1e300])),
        lambda folder: change(folder, lambda told: told["grid"].update(shape=[10**9, 10**9])),
        lambda folder: change(folder, lambda told: told["grid"].update(crs="nowhere")),
        lambda folder: change(folder, lambda told: told["grid"].update(crs=None)),
        lambda folder: change(folder, lambda told: told["layers"][0].update(name="../../x")),
        lambda folder: change(folder, lambda told: told["layers"][0].update(name="height")),
        lambda folder: change(folder, lambda told: told.update(layers={"class": 1})),
        lambda folder: (folder / "item.json").write_text("{}"),
    ],
)  # fmt: skip
def test_a_product_with_bent_documents_is_refused(tmp_path, bend):
    folder = write_layers(tmp_path / "p", {"class": np.zeros((40, 60), np.uint8)}, classes={"class": ("a", "b")})
    bend(folder)
    frame(tmp_path / "zones.parquet", [INSIDE])
    answer = zones(folder, tmp_path / "zones.parquet", "--to", tmp_path / "out.csv")
    assert answer.exit_code in {1, 2}, answer.output
    assert answer.output.count("\n") == 1, answer.output
    assert "not foreseen" not in answer.output
    assert not (tmp_path / "out.csv").exists()


def change(folder: Path, bend: Callable[[dict], object]) -> None:
    told = json.loads((folder / "report.json").read_text())
    bend(told)
    (folder / "report.json").write_text(json.dumps(told))


LIMITS = (
    ("MOST_BYTES", 2**21, "take over 2 MiB"),
    ("MOST_VERTICES", 60_000, "over 60,000 vertices"),
    ("MOST_ROWS", 9, "over 9 rows"),
)


@pytest.mark.parametrize("limited", LIMITS)
def test_a_small_file_that_unpacks_to_much_is_refused(product, tmp_path, monkeypatch, limited):
    limit, value, words = limited
    many = shapely.to_wkb(shapely.Point(400_100, 5_399_800).buffer(50, quad_segs=1500))
    parquet(tmp_path / "z.parquet", [many] * 1000, geo(crs=UTM))
    monkeypatch.setattr(vector_file, limit, value)
    assert (tmp_path / "z.parquet").stat().st_size < 2**20, "its pages repeat one geometry"
    refused(zones(product, tmp_path / "z.parquet", "--to", tmp_path / "out.csv"), words)


def test_columns_that_unpack_to_much_are_refused(product, tmp_path, monkeypatch):
    parquet(tmp_path / "z.parquet", [WKB] * 700, geo(crs=UTM), words=pa.array(["x" * 2**16] * 700))
    monkeypatch.setattr(vector_file, "MOST_BYTES", 2**20)
    refused(zones(product, tmp_path / "z.parquet", "--to", tmp_path / "out.csv"), "unpack to over 1 MiB")


def test_names_that_turn_a_terminal_are_shown_as_their_escapes(tmp_path):
    names = ("a\x1b[31mb", "two\nlines", "=1+1")
    folder = write_layers(tmp_path / "p", {"class": np.zeros((40, 60), np.uint8)}, classes={"class": names})
    frame(tmp_path / "z.parquet", [INSIDE], **{"key\x1b[2J": ["\x1b]0;x\x07"]})
    answer = zones(folder, tmp_path / "z.parquet", "--to", tmp_path / "out.csv")
    assert answer.exit_code == 0, answer.output
    assert "\x1b" not in answer.output
    for suffix in ("geojson", "fgb", "parquet"):
        assert zones(folder, tmp_path / "z.parquet", "--to", tmp_path / f"out.{suffix}").exit_code == 0
    found = geopandas.read_parquet(tmp_path / "out.parquet")
    assert {f"class_{name}" for name in names} <= set(found.columns)
