"""Products that somebody made to do harm: nothing else is read, the server goes on, and what is shown is text."""

from __future__ import annotations

import contextlib
import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
from affine import Affine

from tests.support.viewed import UTM, page_of, patches, put_layer, put_product
from tilewright.flows.view.files import ViewError
from tilewright.flows.view.serve import served
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.tables.geoparquet import whole_table

SCRIPT = '</script><script>alert(1)</script><img src=x onerror="alert(2)">'


@pytest.fixture
def product(tmp_path):
    """A folder with one good layer, its row, and a secret raster beside the product."""
    folder = tmp_path / "out"
    row = put_layer(folder, "class", patches((64, 64)))
    put_layer(tmp_path / "elsewhere", "secret", np.ones((64, 64), dtype=np.uint8))
    return folder, row


HREFS = [
    *("../elsewhere/secret.tif", "{elsewhere}", "file://{elsewhere}", "./../elsewhere/secret.tif"),
    *("/vsicurl/http://127.0.0.1:9/a.tif", "http://127.0.0.1:9/a.tif", "s3://bucket/a.tif", "class.tif?x"),
    *("link.tif", "folder.tif", "", ".", "..", "a\x00b.tif", "C:\\secret.tif", "%2e%2e/elsewhere/secret.tif"),
    *(None, 7, ["class.tif"], {"href": "class.tif"}),
]


@pytest.mark.parametrize("href", HREFS)
def test_no_href_leads_out_of_the_product(product, href):
    folder, row = product
    elsewhere = folder.parent / "elsewhere" / "secret.tif"
    (folder / "link.tif").symlink_to(elsewhere)
    (folder / "folder.tif").mkdir()
    href = href.format(elsewhere=elsewhere) if isinstance(href, str) else href
    put_product(folder, [row, {**row, "name": "bad", "href": href}, {**row, "name": "cut", "parts": [href]}])
    with page_of(folder) as page:
        told = page.json("products.json")[0]
        assert [layer["name"] for layer in told["layers"]] == ["class"]
        assert len(told["notes"]) == 2
        assert "secret" not in json.dumps([note.replace(repr(href), "") for note in told["notes"]])


def test_names_and_colours_are_texts_and_colours(product):
    folder, row = product
    classes = [
        {"value": 0, "name": SCRIPT, "color": "url(javascript:alert(1))"},
        {"value": 1, "name": "x" * 100_000, "color": "red;background:url(http://evil.example)"},
        {"value": "2", "name": {"a": 1}, "color": 7},
        {"value": 1e400, "name": "\u202egnp.exe\x1b[31m", "color": "#12345G"},
        {"value": -3, "name": "below"},
        {"value": 10**30, "name": "beyond"},
        None,
        "text",
    ]
    put_product(
        folder, [{**row, "name": SCRIPT, "unit": SCRIPT, "classes": classes, "description": SCRIPT * 500}], name=SCRIPT
    )
    with page_of(folder) as page:
        told = page.json("products.json")[0]
        layer = told["layers"][0]
        assert all(len(each["colour"]) == 7 and int(each["colour"][1:], 16) >= 0 for each in layer["classes"])
        assert all(len(each["name"]) <= 60 for each in layer["classes"])
        assert len(layer["description"]) <= 400
        assert "\x1b" not in page.get("products.json").decode()
        assert page.get("") == page.get("")
        assert b"alert" not in page.get("")
        page.tile(0, 0, 12, 2203, 1411)
        page.values(13.6528, 48.7451)


@pytest.mark.parametrize(
    "report",
    [
        '{"layers": NaN}',
        '{"layers": [{"name": "class", "kind": "class", "href": "class.tif", "display": [NaN, Infinity]}]}',
        '{"layers": [{"name": "class", "kind": "value", "href": "class.tif", "display": [-1e308, 1e308]}]}',
        '{"layers": [{"kind": ["id"], "href": "class.tif", "band": 1e99}, {"href": "class.tif", "band": true}]}',
        '{"layers": [null, 1, "x", [], {"name": null, "href": "class.tif", "classes": {"a": 1}}]}',
        '{"layers": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"layers": [' + ",".join(['{"name": "n", "href": "class.tif"}'] * 5000) + "]}",
        "no json",
    ],
)
def test_a_report_of_any_kind_ends_in_a_sentence_or_a_page(product, report):
    folder, row = product
    put_product(folder, [row])
    (folder / "report.json").write_text(report)
    pytest.importorskip("js_lib_leaflet", reason="the extra `view` is not installed")
    with contextlib.suppress(StoreError), page_of(folder) as page:
        told = page.json("products.json")[0]
        assert len(told["layers"]) <= 200
        for number in range(min(len(told["layers"]), 3)):
            assert page.status(f"tiles/0/{number}/12/2203/1411.png") == 200
        assert page.status("values.json?lon=13.6528&lat=48.7451") == 200
        assert page.status("scenes/0.json") == 200


def bad_files(folder):
    """Files that call themselves GeoTIFFs."""
    plain = {"driver": "GTiff", "count": 1, "dtype": "uint8", "crs": "EPSG:32633", "transform": UTM}
    yield "text.tif", lambda path: path.write_text("no raster")
    yield "empty.tif", lambda path: path.write_bytes(b"")

    def large_tiles(path):
        tiles = {"tiled": True, "blockxsize": 8192, "blockysize": 8192, "compress": "deflate", "sparse_ok": True}
        with rasterio.open(path, "w", width=9000, height=9000, **tiles, **plain):
            pass

    yield "tiles.tif", large_tiles

    def nowhere(path):
        with rasterio.open(path, "w", width=64, height=64, **{**plain, "transform": Affine(0, 0, 0, 0, 0, 0)}):
            pass

    yield "nowhere.tif", nowhere

    def far(path):
        with rasterio.open(path, "w", width=64, height=64, **{**plain, "transform": Affine(1e300, 0, 0, 0, -1e300, 0)}):
            pass

    yield "far.tif", far

    def no_crs(path):
        with rasterio.open(path, "w", width=64, height=64, **{**plain, "crs": None}):
            pass

    yield "no_crs.tif", no_crs

    def complex_numbers(path):
        with rasterio.open(path, "w", width=64, height=64, **{**plain, "dtype": "complex64"}):
            pass

    yield "complex.tif", complex_numbers

    def other(path):
        with rasterio.open(path, "w", width=64, height=64, **plain) as dataset:
            dataset.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=str(folder.parent / "elsewhere" / "secret.tif"))

    yield "other.tif", other

    def vrt(path):
        path.write_text(
            '<VRTDataset rasterXSize="64" rasterYSize="64"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
            f"<SourceFilename>{folder.parent}/elsewhere/secret.tif</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
        )

    yield "vrt.tif", vrt

    def cut_off(path):
        path.write_bytes((folder / "class.tif").read_bytes()[:900])

    yield "cut.tif", cut_off


def test_files_that_are_no_rasters_of_ours_are_said_and_not_shown(product):
    folder, row = product
    names = []
    for name, write in bad_files(folder):
        write(folder / name)
        names.append(name)
    put_product(folder, [row, *({**row, "name": name, "href": name} for name in names)])
    with page_of(folder) as page:
        told = page.json("products.json")[0]
        shown = [layer["name"] for layer in told["layers"]]
        assert set(shown) <= {"class", "cut.tif", "far.tif"}, shown
        for number in range(len(shown)):
            assert page.status(f"tiles/0/{number}/12/2203/1411.png") in {200, 422}
        states = {each["name"]: each["state"] for each in page.values(13.6528, 48.7451)[0]}
        assert states["class"] in {"value", "nodata"}


def test_a_file_that_is_broken_later_leaves_the_others(product):
    folder, row = product
    other = put_layer(folder, "later", patches((64, 64)))
    put_product(folder, [row, other])
    with page_of(folder) as page:
        (folder / "later.tif").write_bytes(b"broken")
        assert page.status("tiles/0/1/12/2203/1411.png") == 422
        assert page.status("tiles/0/0/12/2203/1411.png") == 200
        assert [each["state"] for each in page.values(13.6528, 48.7451)[0]][1] == "unreadable"
        (folder / "later.tif").unlink()
        (folder / "later.tif").symlink_to(folder.parent / "elsewhere" / "secret.tif")
        assert page.status("tiles/0/1/12/2203/1411.png") == 422
        assert [each["state"] for each in page.values(13.6528, 48.7451)[0]][1] == "unreadable"
        (folder / "later.tif").unlink()
        assert page.status("tiles/0/1/12/2203/1411.png") == 422


def squares(n, *, crs="EPSG:32633", **columns):
    west = 400_640 + 40.0 * (np.arange(n) % 500)
    south = 5_400_000 - 40.0 * (np.arange(n) // 500)
    shapes = shapely.box(west, south, west + 30, south + 30)
    told = {"id": np.arange(1, n + 1), "area_m2": np.full(n, 900.0) + np.arange(n), **columns}
    return whole_table(pa.table(told), shapes, crs=crs)


def test_a_huge_table_is_bounded_to_its_largest_shapes(product):
    folder, row = product
    n = 60_000
    pq.write_table(squares(n, name=[SCRIPT] * n), folder / "things.parquet")
    put_product(folder, [row], tables=[{"name": "things", "file": "things.parquet"}])
    with page_of(folder) as page:
        told = page.json("tables/0/0.json")
        few = page.json("tables/0/0.json?west=13.65&south=48.74&east=13.66&north=48.75")
        for query in ("west=2&south=1&east=1&north=2", "west=nan&south=1&east=2&north=2", "west=1", "lon=1&lat=2"):
            assert page.status(f"tables/0/0.json?{query}") == 404
    assert 0 < few["n_drawn"] < 4000
    seen = [each["geometry"]["coordinates"][0] for each in few["features"]]
    corners = np.array(seen)
    assert (corners[..., 0].max(axis=1) >= 13.6495).all()
    assert (corners[..., 0].min(axis=1) <= 13.6605).all()
    assert (corners[..., 1].max(axis=1) >= 48.7395).all()
    assert (told["n_rows"], told["n_drawn"]) == (n, 4000)
    assert min(each["properties"]["id"] for each in told["features"]) == n - 4000 + 1
    assert len(told["features"][0]["properties"]["name"]) <= 60


def corrupt(table):
    return table.set_column(
        table.column_names.index("geometry"), "geometry", pa.array([b"\x01\x02nonsense"] * table.num_rows)
    )


TABLES = {
    "no parquet": lambda path: path.write_bytes(b"PAR1 nonsense PAR1"),
    "no geometry": lambda path: pq.write_table(pa.table({"a": [1]}), path),
    "bad wkb": lambda path: pq.write_table(corrupt(squares(3)), path),
    "bad geo": lambda path: pq.write_table(squares(3).replace_schema_metadata({"geo": "[1]"}), path),
    "no crs": lambda path: pq.write_table(
        squares(3).replace_schema_metadata(
            {"geo": json.dumps({"columns": {"geometry": {"encoding": "WKB", "crs": "+proj=nonsense"}}})}
        ),
        path,
    ),
    "link": lambda path: path.symlink_to("/etc/passwd"),
    "odd numbers": lambda path: pq.write_table(
        squares(4, score=[math.nan, math.inf, -math.inf, 1e308], name=["a", None, SCRIPT, "\x00"]), path
    ),
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_of_any_kind_is_shown_or_said(product, kind):
    folder, row = product
    TABLES[kind](folder / "things.parquet")
    put_product(
        folder, [row], tables=[{"name": "things", "file": "things.parquet"}, {"name": "out", "file": "../x.parquet"}]
    )
    with page_of(folder) as page:
        assert page.json("products.json")[0]["tables"] == ["things"]
        assert page.status("tables/0/0.json") == (200 if kind == "odd numbers" else 422)
        if kind == "odd numbers":
            scores = [each["properties"]["score"] for each in page.json("tables/0/0.json")["features"]]
            assert scores == [None, None, None, 1e308]
        assert page.status("tables/0/1.json") == 404
        assert page.status("products.json") == 200


def test_one_enormous_shape_is_its_box_and_shapes_that_jump_180_degrees_are_one_piece(product):
    folder, row = product
    turns = np.linspace(0, 2 * np.pi, 500_000)
    star = shapely.Polygon(np.column_stack([400_700 + 30 * np.cos(turns), 5_400_000 + 30 * np.sin(turns)]))
    pq.write_table(whole_table(pa.table({"id": [1]}), np.array([star]), crs="EPSG:32633"), folder / "star.parquet")
    across = np.array([shapely.box(690_000, 5_990_000, 700_000, 6_000_000)])
    pq.write_table(whole_table(pa.table({"id": [1]}), across, crs="EPSG:32660"), folder / "across.parquet")
    put_product(folder, [row], tables=[{"name": name, "file": f"{name}.parquet"} for name in ("star", "across")])
    with page_of(folder) as page:
        (star_drawn,), (across_drawn,) = (page.json(f"tables/0/{number}.json")["features"] for number in (0, 1))
    assert len(star_drawn["geometry"]["coordinates"][0]) == 5
    lons = [lon for lon, _ in across_drawn["geometry"]["coordinates"][0]]
    assert max(lons) - min(lons) < 1


def manifest(folder, scenes):
    table = {"id": [str(number) for number in range(len(scenes))], "scene": scenes}
    pq.write_table(pa.table(table), folder / "manifest.parquet")


def test_scenes_of_any_kind_are_shown_as_far_as_they_can_be(product):
    folder, row = product
    ring = [[[179, 10], [181, 10], [181, 12], [179, 12], [179, 10]]]
    scenes = [json.dumps({"geometry": {"type": "Polygon", "coordinates": ring}}), "no json"]
    manifest(folder, scenes)
    told = [
        {"id": "0", "datetime": "2021-06-01", "cloud_cover": 1e9},
        {"id": "1", "datetime": SCRIPT},
        {"id": SCRIPT, "datetime": "2021-06-02", "cloud_cover": "nan"},
        None,
    ]
    put_product(folder, [row], scenes=told)
    with page_of(folder) as page:
        found = page.json("scenes/0.json")["scenes"]
    assert [each["cloud"] for each in found] == [100.0, None]
    assert [each["time"][:10] for each in found] == ["2021-06-01", "2021-06-02"]


def test_what_is_no_product_is_refused_in_a_sentence(tmp_path):
    pytest.importorskip("js_lib_leaflet", reason="the extra `view` is not installed")
    (tmp_path / "empty").mkdir()
    (tmp_path / "large").mkdir()
    with (tmp_path / "large" / "item.json").open("wb") as file:
        file.truncate(100 * 2**20)
    for place, words in (
        (tmp_path / "empty", "no finished product"),
        (tmp_path / "missing", "no finished product"),
        (tmp_path / "large", "no document"),
        ("gs://bucket/product", "viewed in a folder"),
        ("ftp://host/product", "viewed in a folder"),
    ):
        with pytest.raises(StoreError, match=words), served([str(place)]):
            pass
    folder = tmp_path / "out"
    put_product(folder, [put_layer(folder, "class", patches((64, 64)))])
    with pytest.raises(StoreError, match="too many"), served([str(folder)] * 25):
        pass
    with (
        served([str(folder)]) as server,
        pytest.raises(ViewError, match="cannot be used"),
        served([str(folder)], port=server.server_port),
    ):
        pass
