"""The summaries of a product's Collection say what its Items say, after each of them came, changed or went."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest

from tests.support.graphs import echo
from tests.support.worlds import World, pixel_job, write_card
from tilewright.catalogs.publish.collection import SUMMARISED, update_collection
from tilewright.catalogs.publish.geoparquet import add_items
from tilewright.catalogs.publish.validate import validate_collection
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.inventory.record import read_product_record
from tilewright.tasks.publish.unlist import unlist
from tilewright.tasks.storage.storage import open_storage

pytestmark = pytest.mark.usefixtures("small_pictures")


def make(folder: Path, *, resolution: float, options: RunOptions) -> Path:
    """A product of one pixel size in `out`."""
    world = World(folder / "world")
    world.add(np.ones((64, 64), np.float32), "red", unit="reflectance")
    card = write_card(
        folder / "card",
        echo(),
        inputs=[{"name": "x", "bands": ["red"]}],
        outputs=[{"name": "y", "tw:layers": ["value"]}],
    )
    job = pixel_job(world, card, folder / "out", rows=(0, 64), cols=(0, 64), grid={"resolution": resolution})
    run_job(job, options)
    return folder / "out"


def read(output: Path, name: str) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads((output / name).read_text())
    return plain


def add_other(output: Path, **properties: Any) -> None:
    """List another product's Item beside the product's own, as a second product in one output is."""
    other = read(output, "item.json") | {"id": "other"}
    other["properties"] |= properties
    (output / "other.json").write_text(json.dumps(other))
    collection = update_collection(
        read(output, "collection.json"), pystac.Item.from_dict(other), item_href="./other.json"
    )
    (output / "collection.json").write_text(json.dumps(collection))
    add_items(output / "items.parquet", [other])


def assert_true(output: Path, *names: str) -> None:
    """The summaries are of these Items, no value more or less."""
    items = [read(output, name)["properties"] for name in names]
    summaries = read(output, "collection.json")["summaries"]
    for key in SUMMARISED:
        values = [item[key] for item in items if key in item]
        flat = {each for value in values for each in (value if isinstance(value, list) else [value])}
        assert set(summaries.get(key, [])) == flat


def test_summaries_stay_true_as_items_change(tmp_path):
    output = make(tmp_path, resolution=10, options=RunOptions())
    assert_true(output, "item.json")
    assert read(output, "collection.json")["summaries"]["gsd"] == [10]
    add_other(output, gsd=30, platform="other-1")
    assert_true(output, "item.json", "other.json")
    # Another pixel size in its place: 10 m are gone.
    make(tmp_path, resolution=20, options=RunOptions(replace=True))
    assert_true(output, "item.json", "other.json")
    assert read(output, "collection.json")["summaries"]["gsd"] == [20, 30]
    # What the table does not hold may have said anything: nothing is taken away then.
    (output / "items.parquet").unlink()
    make(tmp_path, resolution=40, options=RunOptions(replace=True))
    assert {30, 40} <= set(read(output, "collection.json")["summaries"]["gsd"])


def test_a_collection_keeps_no_picture_of_a_product_that_is_gone(tmp_path):
    output = make(tmp_path, resolution=10, options=RunOptions())
    assert read(output, "collection.json")["assets"]["thumbnail"]["href"] == "./preview.png"
    add_other(output)
    storage = open_storage(str(output), options={})
    record = read_product_record(storage)
    assert record is not None
    for kept in ({}, {"mine": {"href": "./mine.png"}}):
        collection = read(output, "collection.json")
        (output / "collection.json").write_text(json.dumps({**collection, "assets": {**collection["assets"], **kept}}))
        before = (output / "item.json").read_bytes()
        unlist(storage, record)
        left = read(output, "collection.json")
        validate_collection(left)
        assert left.get("assets", {}) == kept
        assert [link["title"] for link in left["links"] if link["rel"] == "item"] == ["other"]
        (output / "item.json").write_bytes(before)
        (output / "collection.json").write_text(json.dumps(collection))
