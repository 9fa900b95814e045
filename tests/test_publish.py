from __future__ import annotations

import copy
import dataclasses
import json
import math
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pystac
import pytest

from catalogs.collection import merge_bbox, update_collection
from catalogs.errors import CatalogError
from catalogs.items_table import LEFT_OUT, add_items, read_items, write_items
from catalogs.manifest import ManifestRow, read_manifest, write_manifest
from catalogs.product import ClassFacts, FileFacts, LayerFacts, ModelFacts, ProductFacts, SceneFacts, StatisticsFacts
from catalogs.publish import build_item, item_json
from catalogs.push import PushError, differences, push_item
from catalogs.scene import BandAsset, Scene
from catalogs.validate import InvalidStacError, validate_collection, validate_item, vendored_extensions

CHECKSUM = "1220" + "ab" * 32
JUNE = datetime(2021, 6, 1, tzinfo=UTC)
BOX = (13.0, 48.4, 13.1, 48.5)


def outline(box: tuple[float, float, float, float]) -> dict[str, Any]:
    west, south, east, north = box
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


CLASS = LayerFacts(
    name="class",
    href="./class.tif",
    size=1234,
    checksum=CHECKSUM,
    dtype="uint8",
    nodata=255,
    classes=(
        ClassFacts(value=0, name="other", color="#bdbdbd", pixels=300),
        ClassFacts(value=1, name="open water", color="2E86DE", pixels=100),
    ),
    statistics=StatisticsFacts(minimum=0, maximum=1, mean=0.25, stddev=0.43, valid_percent=80),
)
VALUE = LayerFacts(
    name="height",
    href="./height.tif",
    size=99,
    checksum=CHECKSUM,
    dtype="float32",
    nodata=math.nan,
    unit="m",
    scale=0.5,
)
PRODUCT = ProductFacts(
    id="danube-water",
    collection="water",
    title="Water on the Danube",
    description="Where there was water in June 2021.",
    geometry=outline(BOX),
    bbox=BOX,
    start=JUNE,
    end=JUNE + timedelta(days=29),
    created=datetime(2026, 11, 1, 12, tzinfo=UTC),
    crs="EPSG:32633",
    shape=(379, 578),
    transform=(10, 0, 350_000, 0, -10, 5_370_000),
    gsd=10,
    layers=(CLASS, VALUE),
    files=(
        FileFacts(key="zarr", href="./data.zarr", media_type="application/vnd.zarr; version=3", roles=("data",)),
        FileFacts(
            key="preview", href="./preview.png", media_type="image/png", roles=("thumbnail",), size=5, checksum=CHECKSUM
        ),
    ),
    model=ModelFacts(
        id="ndwi-water",
        name="ndwi-water",
        href="https://cards.example.com/ndwi/card.json?token=secret",
        sha256="ab" * 32,
        tasks=("semantic-segmentation",),
        framework="ONNX",
    ),
    scenes=(
        SceneFacts(
            id="S2B_33UUP_20210617_1_L2A",
            collection="sentinel-2-l2a",
            href="https://someone:pass@stac.example.com/items/S2B?sig=secret#frag",
            datetime=JUNE + timedelta(days=16),
            platform="sentinel-2b",
        ),
    ),
    software={"tilewright": "0.1.0", "onnxruntime": "1.31.1"},
    expression={"grid": {"resolution": 10}},
)


@pytest.fixture
def item() -> dict[str, Any]:
    return item_json(build_item(PRODUCT))


def test_the_item_is_valid_and_pystac_reads_it(item: dict[str, Any], tmp_path: Path) -> None:
    validate_item(item)
    (tmp_path / "item.json").write_text(json.dumps(item, allow_nan=False))
    read = pystac.Item.from_file(tmp_path / "item.json")
    assert read.id == "danube-water"
    assert read.common_metadata.start_datetime == JUNE
    assert read.assets["class"].get_absolute_href() == str(tmp_path / "class.tif")


def test_the_item_says_grid_model_and_origin(item: dict[str, Any]) -> None:
    properties = item["properties"]
    assert properties["proj:code"] == "EPSG:32633"
    assert properties["proj:shape"] == [379, 578]
    assert properties["proj:bbox"] == [350_000, 5_366_210, 355_780, 5_370_000]
    assert (properties["processing:level"], properties["mlm:name"], properties["gsd"]) == ("L4", "ndwi-water", 10)
    assert properties["processing:software"] == {"onnxruntime": "1.31.1", "tilewright": "0.1.0"}
    assert properties["processing:expression"]["expression"] == {
        "card": "https://cards.example.com/ndwi/card.json",
        "id": "ndwi-water",
        "model": {"sha256": "ab" * 32},
        "grid": {"resolution": 10},
    }
    derived = [link["href"] for link in item["links"] if link["rel"] == "derived_from"]
    assert derived == ["https://cards.example.com/ndwi/card.json", "https://stac.example.com/items/S2B"]
    assert not [link for link in item["links"] if link["rel"] == "self"]


def test_no_signature_or_password_is_published(item: dict[str, Any]) -> None:
    assert "secret" not in json.dumps(item)
    assert "pass@" not in json.dumps(item)


def test_a_class_layer_says_its_classes_and_colours(item: dict[str, Any]) -> None:
    asset = item["assets"]["class"]
    assert asset["classification:classes"][1] == {
        "value": 1,
        "name": "open-water",
        "title": "open water",
        "description": "open water",
        "color_hint": "2E86DE",
        "count": 100,
        "percentage": 25.0,
    }
    assert asset["raster:bands"][0]["nodata"] == 255
    assert asset["bands"][0]["statistics"]["mean"] == 0.25
    assert (asset["file:size"], asset["file:checksum"]) == (1234, CHECKSUM)
    render = item["properties"]["renders"]["class"]
    assert render["colormap"] == {"0": [0xBD, 0xBD, 0xBD, 255], "1": [0x2E, 0x86, 0xDE, 255]}


def test_a_value_layer_says_nan_and_its_scale(item: dict[str, Any]) -> None:
    band = item["assets"]["height"]["raster:bands"][0]
    assert (band["nodata"], band["unit"], band["scale"], band["offset"]) == ("nan", "m", 0.5, 0)
    assert item["assets"]["height"]["bands"][0]["nodata"] == "nan"


def test_one_instant_is_a_datetime_and_a_crs_without_code_is_wkt() -> None:
    single = dataclasses.replace(PRODUCT, end=JUNE, crs='LOCAL_CS["somewhere"]', layers=(), files=())
    item = item_json(build_item(single))
    assert item["properties"]["datetime"] == "2021-06-01T00:00:00Z"
    assert "start_datetime" not in item["properties"]
    assert item["properties"]["proj:code"] is None
    assert item["properties"]["proj:wkt2"] == 'LOCAL_CS["somewhere"]'


def test_the_same_facts_give_the_same_item() -> None:
    assert json.dumps(item_json(build_item(PRODUCT))) == json.dumps(item_json(build_item(PRODUCT)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "a/b"}, "id 'a/b' is not up to 128 letters"),
        ({"layers": (CLASS, CLASS)}, "assets class are named twice"),
        ({"end": JUNE - timedelta(1)}, "ends before"),
    ],
)
def test_facts_that_make_no_item_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        dataclasses.replace(PRODUCT, **change)


# validation ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "wrong", "where"),
    [
        (("geometry", "type"), "Circle", "geometry"),
        (("properties", "created"), "yesterday", "properties/created"),
        (("properties", "proj:code"), 32633, "properties/proj:code"),
        (("properties", "proj:wrong"), 1, "properties"),
        (("properties", "processing:software"), {"x": 1}, "properties/processing:software/x"),
        (("properties", "renders"), {"class": {}}, "properties/renders/class"),
        (("assets", "class", "file:checksum"), "XYZ", "assets/class/file:checksum"),
        (("assets", "class", "classification:classes", 0, "value"), "one", "assets/class/classification:classes/0"),
        (("assets", "class", "raster:bands", 0, "data_type"), "byte", "assets/class/raster:bands/0/data_type"),
        (("assets", "class", "bands", 0, "data_type"), "byte", "assets/class/bands/0/data_type"),
        (("properties", "gsd"), math.nan, "cannot be written as JSON"),
        (("stac_version",), "1.0.0", "stac_version is '1.0.0', expected '1.1.0'"),
        (("type",), "Collection", "type is 'Collection', expected 'Feature'"),
    ],
)
def test_an_invalid_item_is_caught(item: dict[str, Any], path: tuple[Any, ...], wrong: Any, where: str) -> None:
    spot = item
    for key in path[:-1]:
        spot = spot[key]
    spot[path[-1]] = wrong
    with pytest.raises(InvalidStacError) as caught:
        validate_item(item)
    assert where in str(caught.value)


def test_an_extension_without_a_vendored_schema_is_refused(item: dict[str, Any]) -> None:
    item["stac_extensions"].append("https://stac-extensions.github.io/eo/v9.9.9/schema.json")
    with pytest.raises(InvalidStacError, match=r"no schema at hand for https://stac-extensions.github.io/eo/v9\.9\.9"):
        validate_item(item)


def test_everything_an_item_declares_is_vendored(item: dict[str, Any]) -> None:
    assert len(item["stac_extensions"]) == 6
    assert set(item["stac_extensions"]) <= set(vendored_extensions())


# collection ----------------------------------------------------------------------------------------------------------


def later(days: int, name: str, box: tuple[float, float, float, float] = BOX) -> pystac.Item:
    start = JUNE + timedelta(days=days)
    return build_item(
        dataclasses.replace(
            PRODUCT,
            id=name,
            start=start,
            end=start + timedelta(days=29),
            bbox=box,
            geometry=outline(box),
            crs="EPSG:32632",
        )
    )


def test_a_collection_gathers_items_and_widens() -> None:
    first = update_collection(None, build_item(PRODUCT))
    before = copy.deepcopy(first)
    both = update_collection(first, later(30, "july", (12.5, 48.0, 13.05, 48.45)), item_href="./july/item.json")
    assert first == before
    validate_collection(both)
    assert both["extent"]["spatial"]["bbox"] == [[12.5, 48.0, 13.1, 48.5]]
    assert both["extent"]["temporal"]["interval"] == [["2021-06-01T00:00:00Z", "2021-07-30T00:00:00Z"]]
    assert both["summaries"]["proj:code"] == ["EPSG:32632", "EPSG:32633"]
    hrefs = [link["href"] for link in both["links"] if link["rel"] == "item"]
    assert hrefs == ["./item.json", "./july/item.json"]


def test_an_item_is_in_a_collection_once() -> None:
    once = update_collection(None, build_item(PRODUCT))
    assert update_collection(once, build_item(PRODUCT)) == once
    moved = update_collection(once, build_item(PRODUCT), item_href="./elsewhere/item.json")
    assert [link["href"] for link in moved["links"] if link["rel"] == "item"] == ["./elsewhere/item.json"]


def test_a_collection_keeps_what_others_wrote() -> None:
    once = update_collection(None, build_item(PRODUCT), title="Water")
    once["keywords"] = ["mine"]
    once["extent"]["temporal"]["interval"] = [["2015-01-01T00:00:00Z", None]]
    again = update_collection(once, later(30, "july"), title="ignored")
    assert (again["title"], again["keywords"]) == ("Water", ["mine"])
    assert again["extent"]["temporal"]["interval"] == [["2015-01-01T00:00:00Z", None]]


@pytest.mark.parametrize(
    ("one", "other", "merged"),
    [
        ([10, 0, 20, 5], [15, -5, 30, 3], [10, -5, 30, 5]),
        ([170, 0, 180, 1], [-180, 0, -170, 1], [170, 0, -170, 1]),
        ([170, 0, -170, 1], [-175, 0, -160, 1], [170, 0, -160, 1]),
        ([-180, -90, 180, 90], [170, 0, -170, 1], [-180, -90, 180, 90]),
        ([170, 0, 180, 1], [160, 0, 175, 1], [160, 0, 180, 1]),
        ([-180, 0, -170, 1], [-175, 0, -160, 1], [-180, 0, -160, 1]),
        ([0, 0, 10, 1], [0, 0, 10, 1], [0, 0, 10, 1]),
    ],
)
def test_boxes_merge_the_short_way_round(one: list[float], other: list[float], merged: list[float]) -> None:
    assert merge_bbox(one, other) == merged
    assert merge_bbox(other, one) == merged


# tables --------------------------------------------------------------------------------------------------------------


def test_items_gather_in_a_geoparquet_table(tmp_path: Path, item: dict[str, Any]) -> None:
    table = tmp_path / "items.parquet"
    july = item_json(later(30, "july"))
    add_items(table, [july])
    add_items(table, [item])
    add_items(table, [july])
    found = read_items(table)
    assert [entry["id"] for entry in found] == ["danube-water", "july"]
    for entry, sent in zip(found, (item, july), strict=True):
        assert differences(sent, entry) == [f"properties/{LEFT_OUT}"]
    for entry in found:
        validate_item(entry)
    assert b"geo" in pq.read_schema(table).metadata


def test_items_of_different_shape_share_a_table(tmp_path: Path, item: dict[str, Any]) -> None:
    bare = item_json(build_item(dataclasses.replace(PRODUCT, id="bare", layers=(VALUE,), files=(), end=JUNE)))
    write_items(tmp_path / "items.parquet", [item, bare])
    found = {entry["id"]: entry for entry in read_items(tmp_path / "items.parquet")}
    assert differences(item, found["danube-water"]) == [f"properties/{LEFT_OUT}"]
    assert differences(bare, found["bare"]) == [f"properties/{LEFT_OUT}"]
    assert "class" not in found["bare"]["assets"]


def test_jobs_of_any_shape_share_a_table(tmp_path: Path) -> None:
    one = {"job": {"area": {"coordinates": [[[0.0, 1.0]]]}, "source": {"collections": {}}}}
    other = {"job": {"area": {"coordinates": [[[[0.0, 1.0]]]]}, "source": "earth-search"}}
    for name, expression in (("one", one), ("other", other)):
        made = build_item(dataclasses.replace(PRODUCT, id=name, expression=expression))
        add_items(tmp_path / "items.parquet", [item_json(made)])
    assert [entry["id"] for entry in read_items(tmp_path / "items.parquet")] == ["one", "other"]


def test_a_table_that_is_not_one_is_refused(tmp_path: Path, item: dict[str, Any]) -> None:
    (tmp_path / "items.parquet").write_bytes(b"not parquet")
    with pytest.raises(CatalogError, match=r"items\.parquet is not a stac-geoparquet table"):
        add_items(tmp_path / "items.parquet", [item])
    with pytest.raises(CatalogError, match="no item to write"):
        write_items(tmp_path / "none.parquet", [])


def scene(number: int) -> Scene:
    asset = BandAsset(
        band="red",
        key="B04",
        href=f"https://files.example.com/{number}/B04.tif?sig=secret",
        index=1,
        dtype="uint16",
        nodata=0,
        scale=1e-4,
        offset=-0.1,
        unit="reflectance",
        crs="EPSG:32633",
        shape=(10980, 10980),
        transform=(10, 0, 300000, 0, -10, 5400000),
        checksum=CHECKSUM,
    )
    return Scene(
        id=f"S2_{number}",
        collection="sentinel-2-l2a",
        source="somewhere",
        datetime=JUNE + timedelta(days=number),
        solar_day=f"2021-06-{number + 1:02}",
        geometry=outline(BOX),
        bbox=BOX,
        platform="sentinel-2b",
        granule="33UUP",
        orbit_state=None,
        relative_orbit=22,
        cloud_cover=1.5,
        baseline="05.00",
        state="offset-in-dn",
        state_reason="baseline 05.00",
        assets=(asset, dataclasses.replace(asset, band="nodata", nodata=math.nan, checksum=None)),
    )


def test_the_manifest_holds_every_scene_unsigned_and_gives_them_back(tmp_path: Path) -> None:
    rows = [
        ManifestRow(scene=scene(n), href=f"https://stac.example.com/S2_{n}?sig=secret", used_in_blocks=n)
        for n in (3, 1)
    ]
    write_manifest(tmp_path / "inputs.parquet", rows)
    table = pq.read_table(tmp_path / "inputs.parquet").to_pylist()
    assert "secret" not in str(table)
    assert [row["id"] for row in table] == ["S2_1", "S2_3"]
    assert {
        name: table[1][name] for name in ("href", "checksum", "state", "baseline", "cloud_cover", "used_in_blocks")
    } == {
        "href": "https://stac.example.com/S2_3",
        "checksum": CHECKSUM,
        "state": "offset-in-dn",
        "baseline": "05.00",
        "cloud_cover": 1.5,
        "used_in_blocks": 3,
    }
    read = read_manifest(tmp_path / "inputs.parquet")
    assert read[0].scene.asset("red") == dataclasses.replace(
        scene(1).assets[0], href="https://files.example.com/1/B04.tif"
    )
    assert math.isnan(read[0].scene.assets[1].nodata or 0)
    assert dataclasses.replace(read[0].scene, assets=()) == dataclasses.replace(scene(1), assets=())


def test_the_same_manifest_is_the_same_bytes_and_an_empty_one_is_one(tmp_path: Path) -> None:
    rows = [
        ManifestRow(scene=scene(1), href="h", used_in_blocks=1),
        ManifestRow(scene=scene(2), href="h", used_in_blocks=0),
    ]
    write_manifest(tmp_path / "a", rows)
    write_manifest(tmp_path / "b", reversed(rows))
    write_manifest(tmp_path / "none", [])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert read_manifest(tmp_path / "none") == ()
    (tmp_path / "wrong").write_bytes(b"PAR1")
    with pytest.raises(CatalogError, match="wrong is not an input manifest"):
        read_manifest(tmp_path / "wrong")


# transaction ---------------------------------------------------------------------------------------------------------


class Api:
    """A STAC API with the transaction extension: POST refuses what exists (409), PUT what does not (404)."""

    def __init__(self) -> None:
        self.documents: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[str, str]] = []
        self.lose_answer_to: str | None = None
        self.alter: dict[str, Any] = {}

    def answer(self, method: str, path: str, sent: dict[str, Any] | None) -> tuple[int, Any]:
        self.calls.append((method, path))
        if method == "GET":
            found = self.documents.get(path)
            return (200, self.served(path, found)) if found else (404, {"code": "NotFound"})
        assert sent is not None
        place = f"{path}/{sent['id']}" if method == "POST" else path
        if method == "POST" and place in self.documents:
            return 409, {"code": "ConflictError"}
        if method == "PUT" and place not in self.documents:
            return 404, {"code": "NotFound"}
        if place.rpartition("/items/")[0] and place.rpartition("/items/")[0] not in self.documents:
            return 404, {"code": "NotFound", "description": "no such collection"}
        self.documents[place] = sent
        if self.lose_answer_to == method:
            self.lose_answer_to = None
            return 503, {"code": "lost"}
        return (201 if method == "POST" else 200), self.served(place, sent)

    def served(self, place: str, document: dict[str, Any]) -> dict[str, Any]:
        """As pgstac does: own links in front, microseconds in instants, floats for whole numbers."""
        served = json.loads(json.dumps(document).replace('T00:00:00Z"', 'T00:00:00.000000+00:00"'))
        served["links"] = [{"rel": "self", "href": place}, *served["links"]]
        return served | self.alter


@pytest.fixture
def api() -> Iterator[tuple[str, Api]]:
    state = Api()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def exchange(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            sent = json.loads(self.rfile.read(length)) if length else None
            if self.headers.get("Authorization") != "Bearer sesame":
                status, document = 401, {"code": "Unauthorized"}
            else:
                status, document = state.answer(self.command, self.path, sent)
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = exchange  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", state
    server.shutdown()
    server.server_close()


BASE = "https://maps.example.com/danube/item.json"
AUTHORIZED = {"Authorization": "Bearer sesame"}


def push(address: str, item: dict[str, Any], **options: Any) -> Any:
    collection = update_collection(None, pystac.Item.from_dict(item))
    return push_item(address, collection, item, **({"base": BASE, "headers": AUTHORIZED} | options))


def test_a_push_creates_then_does_nothing_then_updates(api: tuple[str, Api], item: dict[str, Any]) -> None:
    address, state = api
    pushed = push(address, item)
    assert (pushed.action, pushed.href) == ("created", f"{address}/collections/water/items/danube-water")
    stored = state.documents["/collections/water/items/danube-water"]
    assert stored["assets"]["class"]["href"] == "https://maps.example.com/danube/class.tif"
    validate_item(stored)
    state.calls.clear()
    assert push(address, item).action == "unchanged"
    assert {method for method, _ in state.calls} == {"GET"}
    item["properties"]["title"] = "Another"
    assert push(address, item).action == "updated"
    assert state.documents["/collections/water/items/danube-water"]["properties"]["title"] == "Another"


def test_a_push_widens_the_collection_of_the_api(api: tuple[str, Api], item: dict[str, Any]) -> None:
    address, state = api
    push(address, item)
    state.documents["/collections/water"]["title"] = "Theirs"
    push(address, item_json(later(30, "july", (12.5, 48.0, 13.05, 48.45))))
    collection = state.documents["/collections/water"]
    assert collection["extent"]["spatial"]["bbox"] == [[12.5, 48.0, 13.1, 48.5]]
    assert collection["title"] == "Theirs"


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_an_answer_lost_on_the_way_does_no_harm(api: tuple[str, Api], item: dict[str, Any], method: str) -> None:
    address, state = api
    push(address, item)
    if method == "POST":
        del state.documents["/collections/water/items/danube-water"]
    item["properties"]["title"] = "Another"
    state.lose_answer_to = method
    assert push(address, item).action == ("created" if method == "POST" else "updated")
    assert state.documents["/collections/water/items/danube-water"]["properties"]["title"] == "Another"


def test_what_reads_back_differently_is_an_error(api: tuple[str, Api], item: dict[str, Any]) -> None:
    address, state = api
    push(address, item)
    state.alter = {"bbox": [0, 0, 1, 1]}
    with pytest.raises(PushError, match="reads back differently in bbox/0"):
        push(address, item)


def test_a_refusal_is_told_without_the_credentials(api: tuple[str, Api], item: dict[str, Any]) -> None:
    address, _ = api
    with pytest.raises(PushError, match="was answered with HTTP 401") as caught:
        push(address, item, headers={"Authorization": "Bearer wrong"})
    assert "wrong" not in str(caught.value)


def test_an_api_that_is_not_there_is_told(item: dict[str, Any]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(PushError, match=r"GET failed: .* cannot be reached"):
            push(address, item)


def test_a_product_without_a_public_address_is_not_pushed(api: tuple[str, Api], item: dict[str, Any]) -> None:
    with pytest.raises(CatalogError, match=r"/maps/item\.json is a local path"):
        push(api[0], item, base="/maps/item.json")


def test_differences_see_what_changed_and_forgive_how_it_is_written() -> None:
    sent = {"a": "2021-06-01T00:00:00Z", "b": 1, "links": [{"rel": "x", "href": "y"}], "c": None}
    same = {"a": "2021-06-01T00:00:00.000+00:00", "b": 1.0, "links": [{"rel": "x", "href": "y", "z": 1}], "more": 1}
    assert differences(sent, same) == []
    assert differences(sent, same | {"a": "2021-06-02T00:00:00Z", "b": True, "links": []}) == ["a", "b", "links/x"]
    assert differences({"d": [1, {"e": "f"}]}, {"d": [1, {"e": "g"}]}) == ["d/1/e"]
    assert differences({"d": [1]}, {"d": [1, 2]}) == ["d"]
