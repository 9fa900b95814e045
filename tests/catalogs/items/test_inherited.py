"""What only a collection says of its items' assets, and what only a source or an asset's roles say of a band."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.file_server import serve
from tests.support.small_catalogs import BOTH, item, links, search, write
from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.items.inherited import Collections, with_item_assets
from tilewright.catalogs.search import search_items
from tilewright.catalogs.sources.registry import resolve_source
from tilewright.catalogs.sources.source import RawItem, Source

BAND = {"scale": 0.01, "offset": -5.0, "nodata": -32768, "data_type": "int16", "unit": "m"}

FORMS: dict[str, dict[str, Any]] = {
    "raster:bands": {"raster:bands": [BAND]},
    "bands": {"bands": [{"name": "red", "raster:scale": 0.01, "raster:offset": -5.0, **BAND}]},
    "asset": {"raster:scale": 0.01, "raster:offset": -5.0, "nodata": -32768, "data_type": "int16", "unit": "m"},
}


def catalog(folder: Path, described: dict[str, Any], asset: dict[str, Any], *, to: str = "collection.json") -> Path:
    """A catalog of one collection with one item, which leads to the collection."""
    record = {**item("one", collection="heights"), "links": links(to, rel="collection")}
    record["assets"] = {"red": {"href": "red.tif", **asset}}
    write(folder / "one.json", record)
    extent = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}}
    collection = {"type": "Collection", "id": "heights", "extent": extent, "links": links("one.json")}
    write(folder / "collection.json", {**collection, "item_assets": described})
    return folder / "collection.json"


def red(source: object) -> Any:
    (scene,) = search(str(source), collection="heights")
    return scene.asset("red")


@pytest.mark.parametrize("form", FORMS)
def test_scale_and_nodata_of_the_collection_are_those_of_an_item_that_states_none(tmp_path, form):
    asset = red(catalog(tmp_path, {"red": FORMS[form]}, {}))
    assert (asset.scale, asset.offset, asset.nodata, asset.dtype, asset.unit) == (0.01, -5.0, -32768, "int16", "m")
    assert asset.calibration == "item"


def test_what_the_item_states_is_not_the_collections_to_say(tmp_path):
    asset = red(catalog(tmp_path, {"red": FORMS["raster:bands"]}, {"raster:bands": [{"scale": 2.0}]}))
    assert (asset.scale, asset.nodata) == (2.0, -32768)
    two = {"raster:bands": [{"scale": 2.0}, {"scale": 3.0}]}
    assert red(catalog(tmp_path, {"red": FORMS["raster:bands"]}, two | {"eo:bands": [{"name": "red"}]})).scale == 2.0


def test_an_asset_that_the_item_lacks_is_not_made_up():
    made = with_item_assets({"assets": {"red": {"href": "r"}}}, {"item_assets": {"nir": {"href": "n"}, "red": {}}})
    assert made["assets"] == {"red": {"href": "r"}}


def test_the_href_and_the_title_of_a_description_are_of_no_file():
    described = {"item_assets": {"red": {"href": "no", "title": "no", "alternate": {}, "roles": ["data"]}}}
    made = with_item_assets({"assets": {"red": {"href": "r"}}}, described)
    assert made["assets"]["red"] == {"href": "r", "roles": ["data"]}


@pytest.mark.parametrize("described", [None, [], {"red": 5}, {"red": {"raster:bands": 3}}, {"red": {"bands": [4]}}])
def test_a_description_that_is_none_changes_nothing(tmp_path, described):
    assert red(catalog(tmp_path, described, {})).scale == 1.0


def test_a_list_of_items_beside_its_collection_and_a_catalog_on_a_server_are_completed_alike(tmp_path):
    catalog(tmp_path, {"red": FORMS["raster:bands"]}, {})
    document = {"type": "FeatureCollection", "features": [json.loads((tmp_path / "one.json").read_text())]}
    assert red(write(tmp_path / "items.json", document)).scale == 0.01
    with serve(tmp_path) as server:
        assert red(server.href("collection.json")).scale == 0.01
        assert server.requests.count("/collection.json") == 2


def test_the_items_of_a_disk_ask_no_network(tmp_path):
    with serve(tmp_path) as server:
        path = catalog(tmp_path, {"red": FORMS["asset"]}, {}, to=server.href("collection.json"))
        found = search_items(
            resolve_source(str(path)), collection="heights", aoi=BOTH, start=None, end=None, bands=["red"]
        )
        assert found.scenes[0].asset("red").scale == 1.0
        assert not server.requests
    assert [entry.item for entry in found.left_out] == ["heights"]
    assert "collection.json is not asked for a source on a disk: save it beside the items" in found.left_out[0].reason


@pytest.mark.parametrize(
    ("name", "path"), [("heights", "heights"), ("mine/heights", "mine%2Fheights"), ("a b", "a%20b")]
)
def test_an_item_of_an_api_without_a_link_is_of_its_own_collection(tmp_path, name, path):
    (tmp_path / "collections").mkdir()
    write(tmp_path / "collections" / "c", {"item_assets": {"red": FORMS["asset"]}})
    raws = [RawItem(item={"collection": name, "assets": {"red": {"href": str(n)}}}, location=None) for n in range(3)]
    with serve(tmp_path) as server:
        collections = Collections(source=Source(name="api", kind="api", href=server.href("")))
        for raw in raws:
            collections.complete(raw)
        assert server.requests.count(f"/collections/{path}") == 1
        assert len(server.requests) == 1
        assert list(collections.unread) == [name]
        (tmp_path / "collections" / "c").rename(tmp_path / "collections" / "heights")
        collections = Collections(source=Source(name="api", kind="api", href=server.href("")))
        made = collections.complete(RawItem(item={**raws[0].item, "collection": "heights"}, location=None))
        assert made["assets"]["red"]["href"] == "0"
        assert made["assets"]["red"].keys() > {"href"}


def test_a_collection_that_cannot_be_read_is_said(tmp_path):
    source = resolve_source(str(catalog(tmp_path, {}, {}, to="gone.json")))
    found = search_items(source, collection="heights", aoi=BOTH, start=None, end=None, bands=["red"])
    assert len(found.scenes) == 1
    assert [entry.item for entry in found.left_out] == ["heights"]
    assert "gone.json" in found.left_out[0].reason


@pytest.mark.parametrize("unit", ["percent", "%", "Percent"])
def test_percent_of_a_source_of_ones_own_is_asked_about(tmp_path, unit):
    path = catalog(tmp_path, {}, {})
    own = {"href": str(path), "bands": {"heights": {"red": {"asset": "red", "unit": unit}}}}
    with pytest.raises(CatalogError, match=r"write scale: 0\.01"):
        search(own, collection="heights")


@pytest.mark.parametrize(
    ("roles", "found"),
    [(["data"], True), (["data", "overview"], True), (["overview"], False), (["thumbnail"], False), ([], True)],
)
def test_data_with_overviews_is_data(tmp_path, roles, found):
    path = catalog(tmp_path, {}, {"roles": roles, "type": "image/tiff"})
    assert bool(search(str(path), collection="heights")) == found
