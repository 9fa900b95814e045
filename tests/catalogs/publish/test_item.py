from __future__ import annotations

import dataclasses
import json
import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import pystac
import pytest

from tests.support.published import CHECKSUM, CLASS, JUNE, PRODUCT
from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.publish.item import build_item, item_json
from tilewright.catalogs.publish.validate import PUBLISHED, InvalidStacError, validate_item


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
    time = dataclasses.replace(PRODUCT.time, end=JUNE)
    grid = dataclasses.replace(PRODUCT.grid, crs='LOCAL_CS["somewhere"]')
    single = dataclasses.replace(PRODUCT, time=time, grid=grid, layers=(), files=())
    item = item_json(build_item(single))
    dates = [item["properties"][name] for name in ("datetime", "start_datetime", "end_datetime")]
    assert dates == ["2021-06-01T00:00:00Z"] * 3
    assert item["properties"]["proj:code"] is None
    assert item["properties"]["proj:wkt2"] == 'LOCAL_CS["somewhere"]'


@pytest.mark.parametrize(
    ("crs", "fields"),
    [
        ("EPSG:32633", {"proj:code": "EPSG:32633", "proj:epsg": 32633}),
        ("EPSG:3035", {"proj:code": "EPSG:3035", "proj:epsg": 3035}),
        ("EPSG:4326", {"proj:code": "EPSG:4326", "proj:epsg": 4326}),
        ("ESRI:102001", {"proj:code": "ESRI:102001"}),
        ("OGC:CRS84", {"proj:code": "OGC:CRS84"}),
        ('LOCAL_CS["EPSG:4326"]', {"proj:code": None, "proj:wkt2": 'LOCAL_CS["EPSG:4326"]'}),
    ],
)
def test_the_crs_is_said_for_readers_of_every_version(crs: str, fields: dict[str, Any]) -> None:
    item = build_item(dataclasses.replace(PRODUCT, grid=dataclasses.replace(PRODUCT.grid, crs=crs)))
    plain = item_json(item)
    said = {
        name: value for name, value in plain["properties"].items() if name in {"proj:code", "proj:epsg", "proj:wkt2"}
    }
    assert said == fields
    # pystac brings an Item of any version of the extension to its own.
    read = pystac.Item.from_dict(plain).ext.proj
    assert (read.code, read.epsg) == (fields["proj:code"], fields.get("proj:epsg"))


@pytest.mark.parametrize("epsg", ["EPSG:32633", 1.5, {}])
def test_an_epsg_that_is_no_number_is_caught(item: dict[str, Any], epsg: Any) -> None:
    item["properties"]["proj:epsg"] = epsg
    with pytest.raises(InvalidStacError, match="properties/proj:epsg"):
        validate_item(item)


def test_the_same_facts_give_the_same_item() -> None:
    assert json.dumps(item_json(build_item(PRODUCT))) == json.dumps(item_json(build_item(PRODUCT)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "a/b"}, "id 'a/b' is not up to 128 letters"),
        ({"layers": (CLASS, CLASS)}, "assets class are named twice"),
        ({"time": dataclasses.replace(PRODUCT.time, end=JUNE - timedelta(1))}, "ends before"),
    ],
)
def test_facts_that_make_no_item_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        dataclasses.replace(PRODUCT, **change)


@pytest.mark.parametrize(
    ("facts", "change", "message"),
    [
        (CLASS, {"file": dataclasses.replace(CLASS.file, size=None)}, "layer class has no size"),
        (CLASS, {"file": dataclasses.replace(CLASS.file, checksum=None)}, "layer class has no checksum"),
        (PRODUCT.footprint, {"bbox": (13.0, math.nan, 13.1, 48.5)}, "bbox"),
        (PRODUCT.grid, {"transform": (10, 0, 350_000)}, "has not six numbers"),
        (PRODUCT.time, {"created": JUNE.replace(tzinfo=None)}, "a time without zone"),
    ],
)
def test_impossible_facts_are_caught_where_they_are_made(facts: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        dataclasses.replace(facts, **change)


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
    assert set(item["stac_extensions"]) <= set(PUBLISHED)
