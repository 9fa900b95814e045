"""A finished product pushed into a real STAC API with transactions: created, unchanged, updated, found by a search."""

from __future__ import annotations

import json
import shutil

import pytest
import requests

from tilewright.flows.maintain.push import push_product

pytestmark = [pytest.mark.services, pytest.mark.usefixtures("small_pictures")]
PUBLIC = "https://maps.example.com/small"


@pytest.fixture
def product(services, whole, tmp_path):
    """A product of this test alone, which leaves nothing in the API."""
    folder = tmp_path / "product"
    shutil.copytree(whole, folder)
    item = json.loads((folder / "item.json").read_text())
    yield folder, item
    collection = f"{services['STAC_API']}/collections/{item['collection']}"
    requests.delete(f"{collection}/items/{item['id']}", timeout=30)
    requests.delete(collection, timeout=30)


def test_a_product_is_pushed_found_and_updated(services, product):
    api, (folder, item) = services["STAC_API"], product

    def push():
        return push_product(str(folder), api, address=PUBLIC)["items"][0]["action"]

    assert [push(), push()] == ["created", "unchanged"]
    search = {"collections": [item["collection"]], "ids": [item["id"]]}
    (found,) = requests.post(f"{api}/search", json=search, timeout=30).json()["features"]
    assert found["assets"]["class"]["href"] == f"{PUBLIC}/class.tif"
    item["properties"]["title"] = "Another"
    (folder / "item.json").write_text(json.dumps(item))
    assert push() == "updated"
    (found,) = requests.post(f"{api}/search", json=search, timeout=30).json()["features"]
    assert found["properties"]["title"] == "Another"
