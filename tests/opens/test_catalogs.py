"""What a catalog's tools say of a product: validators, and browsers of catalogs."""

from __future__ import annotations

import json

import geopandas
import pystac
import pytest
import rasterio
from stac_check.lint import Linter
from stac_validator import utilities
from stac_validator.validate import StacValidate

from tilewright.catalogs.schemas import stac_schemas

DOCUMENTS = ("item.json", "collection.json")

OPINIONS = {
    # A product lies where its user wants it: its Item is always item.json, and its links are relative.
    "item.json": {"check_item_id", "bloated_metadata"},
    "collection.json": {"check_links_self"},
}
"""What stac-check would rather have otherwise, and no more."""


@pytest.fixture
def offline(monkeypatch):
    """The validators read schemas from those at hand; any other would need a network and fails."""
    known = stac_schemas().by_address
    monkeypatch.setattr(utilities, "fetch_and_parse_schema", lambda address: known[address.rstrip("#")])


@pytest.mark.parametrize("name", DOCUMENTS)
def test_stac_validator_finds_it_valid(product, offline, name):
    validator = StacValidate(str(product / name))
    validator.run()
    (message,) = validator.message
    assert message["valid_stac"], message
    assert set(json.loads((product / name).read_text()).get("stac_extensions", ())) <= set(message["schema"])


@pytest.mark.parametrize("name", DOCUMENTS)
def test_stac_validator_finds_what_is_wrong(product, offline, tmp_path, name):
    """The schemas at hand are in force: a document with a wrong field is found."""
    plain = json.loads((product / name).read_text())
    assets = plain["assets"] if name == "item.json" else plain["item_assets"]
    assets["class"]["classification:classes"][0]["value"] = "one"
    (tmp_path / name).write_text(json.dumps(plain))
    validator = StacValidate(str(tmp_path / name))
    validator.run()
    assert not validator.message[0]["valid_stac"]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_stac_check_has_nothing_else_to_say(product, offline, name):
    linter = Linter(str(product / name))
    assert linter.valid_stac, linter.error_msg
    assert not linter.geometry_errors_msg
    assert set(linter.create_best_practices_dict()) == OPINIONS[name]


def test_a_browser_of_catalogs_finds_a_picture_a_title_and_what_is_in_it(product):
    collection = pystac.Collection.from_file(str(product / "collection.json"))
    picture = collection.assets["thumbnail"]
    assert (picture.media_type, picture.roles) == ("image/png", ["thumbnail"])
    with rasterio.open(picture.get_absolute_href()) as drawn:
        assert drawn.driver == "PNG"
    assert collection.title
    assert collection.summaries.lists["mlm:tasks"] == ["semantic-segmentation"]
    assert all(link.title for link in collection.links if link.rel != "self")
    described = collection.to_dict()["item_assets"]
    classes = described["class"]["classification:classes"]
    assert [(each["name"], each["color_hint"]) for each in classes] == [("land", "0072B2"), ("water", "2E86DE")]
    assert "statistics" not in json.dumps(described)
    assert "percentage" not in json.dumps(described)


def test_geopandas_reads_the_table_of_items(product, item):
    table = geopandas.read_parquet(product / "items.parquet")
    assert list(table["id"]) == [item["id"]]
    assert table.crs.to_epsg() in {4326, None} or table.crs.to_string() == "OGC:CRS84"
    assert table.total_bounds == pytest.approx(item["bbox"])
