"""Products of a folder joined by STAC: all of a kind in one Collection, several kinds in a Catalog."""

from __future__ import annotations

import json
import shutil

import pystac
import pytest
from typer.testing import CliRunner

from tests.support.danube import water_job
from tilewright.catalogs.publish.validate import validate_collection
from tilewright.flows.cli.main import app
from tilewright.flows.run.predict import run_job

pytestmark = pytest.mark.usefixtures("small_pictures")


@pytest.fixture(scope="module")
def product(real, tmp_path_factory):
    output = tmp_path_factory.mktemp("one") / "june"
    run_job(water_job(real, output, area=[13.12, 48.28, 13.13, 48.285]))
    return output


def another(product, folder, name, **changes):
    """A copy of the product under another name, with some properties changed and all of its Item's ids its own."""
    shutil.copytree(product, folder / name)
    path = folder / name / "item.json"
    item = json.loads(path.read_text())
    item["id"] = name
    item["collection"] = changes.pop("collection", item["collection"])
    item["properties"] |= changes
    path.write_text(json.dumps(item))


def catalog(folder):
    return CliRunner().invoke(app, ["catalog", str(folder)])


def test_months_of_one_model_are_one_collection_and_a_second_call_takes_new_ones_in(product, tmp_path):
    another(product, tmp_path, "june")
    july = {"start_datetime": "2021-07-01T00:00:00Z", "end_datetime": "2021-07-31T23:59:59Z"}
    another(product, tmp_path, "july-2", **july)
    assert catalog(tmp_path).exit_code == 0
    collection = pystac.Collection.from_file(str(tmp_path / "collection.json"))
    assert collection.id == "tilewright-ndwi-water"
    assert sorted(item.id for item in collection.get_items()) == ["july-2", "june"]
    ((start, end),) = collection.extent.temporal.intervals
    assert (start.month, end.month) == (6, 7)
    another(product, tmp_path, "august")
    (tmp_path / "begun" / ".tilewright").mkdir(parents=True)
    shutil.copy(product / ".tilewright" / "plan.json", tmp_path / "begun" / ".tilewright" / "plan.json")
    said = catalog(tmp_path)
    assert "tilewright-ndwi-water: 3 products, august, july-2, june" in said.stdout
    assert "begun: left out, it is not finished" in said.stdout
    plain = json.loads((tmp_path / "collection.json").read_text())
    validate_collection(plain)
    assert len([link for link in plain["links"] if link["rel"] == "item"]) == 3


def test_products_of_several_models_are_a_catalog(product, tmp_path):
    another(product, tmp_path, "a")
    another(product, tmp_path, "b", collection="tilewright-other")
    assert catalog(tmp_path).exit_code == 0
    whole = pystac.Catalog.from_file(str(tmp_path / "catalog.json"))
    assert {child.id for child in whole.get_children()} == {"tilewright-ndwi-water", "tilewright-other"}
    assert sorted(item.id for item in whole.get_items(recursive=True)) == ["a", "b"]


def test_files_of_others_stay_and_a_product_is_no_folder_of_them(product, tmp_path):
    another(product, tmp_path, "a")
    (tmp_path / "collection.json").write_text('{"type": "Collection", "id": "mine"}')
    refused = catalog(tmp_path)
    assert refused.exit_code == 2
    assert "is none of these products': move it elsewhere" in refused.stderr
    assert json.loads((tmp_path / "collection.json").read_text())["id"] == "mine"
    assert "is no folder of products" in catalog(tmp_path / "a").stderr
    assert catalog(tmp_path / "nothing").exit_code == 2
