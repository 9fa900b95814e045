"""A product's Item as a scene's: which of its assets are bands, with which numbers, and what cannot be one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from shapely.geometry import box

from tests.support.small_catalogs import write
from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.search import search_items
from tilewright.catalogs.sources.product import is_product, is_product_collection, product_item
from tilewright.catalogs.sources.registry import resolve_source

AREA = box(13.0, 48.0, 13.2, 48.2)
COG = "image/tiff; application=geotiff; profile=cloud-optimized"
CLASSES = [{"value": 0, "name": "bare"}, {"value": 1, "name": "crop"}]


def layer(name: str, dtype: str = "float32", nodata: Any = "nan", **more: Any) -> dict[str, Any]:
    unit = {"unit": more.pop("unit")} if "unit" in more else {}
    band = {"name": name, "data_type": dtype, "nodata": nodata, **unit}
    older = {key: value for key, value in band.items() if key != "name"} | more.pop("older", {})
    return {"href": f"./{name}.tif", "type": COG, "roles": ["data"], "bands": [band], "raster:bands": [older], **more}


def product(**assets: Any) -> dict[str, Any]:
    """The Item of a product with these assets beside those that each has."""
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": "cover-2022",
        "collection": "tilewright-cover",
        "geometry": box(13.0, 48.0, 13.1, 48.1).__geo_interface__,
        "bbox": [13.0, 48.0, 13.1, 48.1],
        "properties": {
            "datetime": None,
            "start_datetime": "2022-01-01T00:00:00Z",
            "end_datetime": "2022-12-31T23:59:59Z",
            "created": "2023-01-01T00:00:00Z",
            "platform": "sentinel-2a",
            "processing:software": {"tilewright": "0.1.0"},
            "processing:expression": {"format": "stac-mlm", "expression": {}},
            "proj:code": "EPSG:32633",
            "proj:shape": [10, 10],
            "proj:transform": [10, 0, 0, 0, -10, 0],
        },
        "links": [{"rel": "derived_from", "href": "x.json"}],
        "assets": {
            "data": {"href": "./data.zarr", "type": "application/vnd.zarr; version=3", "roles": ["data"]},
            "plan": {"href": "./.tilewright/plan.json", "type": "application/json", "roles": ["metadata"]},
            "thumbnail": {"href": "./preview.png", "type": "image/png", "roles": ["thumbnail"]},
            **assets,
        },
    }


def found(tmp_path, item, *bands, collection="prior"):
    source = resolve_source(write(tmp_path / "item.json", item))
    period = {"start": datetime(2022, 1, 1, tzinfo=UTC), "end": datetime(2022, 12, 31, tzinfo=UTC)}
    return search_items(source, collection=collection, aoi=AREA, **period, bands=list(bands))


BANDS = {
    "classes": (layer("class", "uint8", 255.0, **{"classification:classes": CLASSES}), ("uint8", 255.0, 1, 0, "class")),
    "a percentage": (layer("class", "uint8", 255.0, unit="%"), ("uint8", 255.0, 1, 0, "1")),
    "reflectance": (layer("class", unit="reflectance"), ("float32", "nan", 1, 0, "reflectance")),
    "metres": (layer("class", unit="m"), ("float32", "nan", 1, 0, "m")),
    "tonnes": (layer("class", unit="t/ha"), ("float32", "nan", 1, 0, "1")),
    "scaled": (
        layer("class", "int16", -1, unit="reflectance", older={"scale": 0.0001, "offset": -0.1}),
        ("int16", -1, 0.0001, -0.1, "reflectance"),
    ),
}


@pytest.mark.parametrize("collection", ["prior", "sentinel-2-l2a", "landsat-c2-l2"])
@pytest.mark.parametrize("case", BANDS)
def test_a_layer_is_a_band_with_the_numbers_of_the_item_whatever_it_stands_for(tmp_path, case, collection):
    given, (dtype, nodata, scale, offset, unit) = BANDS[case]
    name = "class" if collection == "prior" else "red"
    band = {**given, "bands": [{**given["bands"][0], "name": name}]}
    (scene,) = found(tmp_path, product(**{name: band}), name, collection=collection).scenes
    asset = scene.asset(name)
    assert (asset.dtype, str(asset.nodata), asset.scale, asset.offset) == (dtype, str(float(nodata)), scale, offset)
    assert (asset.unit, asset.usual_nodata, asset.more_nodata) == (unit, None, ())
    assert (scene.made, scene.state, scene.platform, scene.collection) == (True, "not-applicable", None, collection)
    assert (scene.id, scene.end) == ("cover-2022", datetime(2022, 12, 31, 23, 59, 59, tzinfo=UTC))
    assert (scene.generated, scene.updated) == (None, None), "another date of the same pixels is no other input"


def test_a_sensors_names_find_the_layer_of_its_band(tmp_path):
    item = product(red=layer("red", unit="reflectance"), B08=layer("B08", unit="reflectance"))
    (scene,) = found(tmp_path, item, "B04", "nir", collection="sentinel-2-l2a").scenes
    assert scene.asset("B04").href.endswith("red.tif")
    assert scene.asset("nir").href.endswith("B08.tif")


def test_an_image_has_a_band_for_each_of_its_layers(tmp_path):
    bands = [{"name": name, "data_type": "float32", "nodata": "nan", "unit": "reflectance"} for name in ("red", "nir")]
    (scene,) = found(tmp_path, product(clear={**layer("clear"), "bands": bands}), "nir", "red").scenes
    assert {asset.band: asset.index for asset in scene.assets} == {"nir": 2, "red": 1}


TABLE = {"href": "./ships.parquet", "type": "application/vnd.apache.parquet", "roles": ["data"]}
NONE = {
    "ids": ({"fields": layer("fields", "int32", -1.0)}, "fields", "it is a layer of ids"),
    "a table": ({"ships": TABLE}, "ships", "it is a table"),
    "counts": ({}, "observations", r"it is kept in data\.zarr alone"),
}


@pytest.mark.parametrize("case", NONE)
def test_what_is_no_band_is_told_where_it_is_asked_for_and_costs_nothing_else(tmp_path, case):
    more, name, words = NONE[case]
    item = product(**{"class": layer("class", "uint8", 255.0), **more})
    (left,) = found(tmp_path, item, name).left_out
    assert left.item == "cover-2022"
    assert words.replace("\\", "") in left.reason
    whole = found(tmp_path, item, "class")
    assert len(whole.scenes) == 1
    assert not whole.left_out


WRONG = {
    "a scale of 0": (layer("red", older={"scale": 0}), "scale"),
    "no address": ({**layer("red"), "href": 5}, "href"),
    "another machine's": ({**layer("red"), "href": "http://127.0.0.1:1/red.tif"}, "127.0.0.1"),
    "too many bands": ({**layer("red"), "bands": [{"name": "red", "data_type": "float32"}] * 5000}, "5,001 bands"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_the_only_layer_is_what_is_said(tmp_path, case):
    asset, words = WRONG[case]
    (left,) = found(tmp_path, product(red=asset), "red").left_out
    assert words in left.reason


REFUSED = {
    "a table of places": ({"places": TABLE, "data": None}, "it is a table of places, not a map"),
    "Zarr alone": ({}, "no layer of it is a COG"),
    "tables alone": ({"ships": TABLE}, "no layer of it is a COG"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_product_without_a_raster_file_is_left_out_by_name(tmp_path, case):
    more, words = REFUSED[case]
    item = product(**more)
    item["assets"] = {key: asset for key, asset in item["assets"].items() if asset is not None}
    assert is_product(item)
    with pytest.raises(CatalogError, match=words):
        product_item(item)
    assert words in found(tmp_path, item, "class").left_out[0].reason


def test_other_items_are_no_products():
    item = product()
    for key in ("processing:software", "processing:expression"):
        changed = {name: value for name, value in item["properties"].items() if name != key}
        assert not is_product({**item, "properties": changed})
    assert not is_product({**item, "type": "Collection"})
    assert not is_product({})
    assert not is_product({"type": "Feature", "properties": [], "assets": 5})
    assert not is_product_collection({"type": "Collection", "item_assets": {"red": {}}})
    assert is_product_collection({"type": "Collection", "item_assets": {"plan": {}, "data": {}}})


def test_of_a_collection_each_product_is_an_item_and_one_that_is_gone_is_said(tmp_path):
    item = product(**{"class": layer("class", "uint8", 255.0)})
    write(tmp_path / "a" / "item.json", item)
    links = [{"rel": "item", "href": "./a/item.json"}, {"rel": "item", "href": "./b/item.json"}]
    document = {"type": "Collection", "id": "tilewright-cover", "item_assets": {"plan": {}, "data": {}}, "links": links}
    source = resolve_source(write(tmp_path / "collection.json", document))
    asked = {"collection": "prior", "aoi": AREA, "start": None, "end": None, "bands": ["class"]}
    with pytest.raises(CatalogError, match="a product's Item is written last, so run its job to the end first"):
        search_items(source, **asked)
    write(tmp_path / "b" / "item.json", {**item, "id": "cover-2023"})
    assert [scene.id for scene in search_items(source, **asked).scenes] == ["cover-2022", "cover-2023"]
    # By the Collection's own name it is a catalog like any other.
    assert len(search_items(source, **{**asked, "collection": "tilewright-cover"}).scenes) == 2
