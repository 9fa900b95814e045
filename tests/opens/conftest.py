"""The product that other people's tools open: classes with and without a colour, their confidence, polygons."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import rasterio

from tests.support.products import read, write_job
from tilewright.flows.run.predict import run_job


@pytest.fixture(scope="session")
def opened_job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    path = write_job(folder, tile={"block": 128, "step": 32}, polygons="class")
    card = json.loads((folder / "card" / "card.json").read_text())
    classes = card["properties"]["mlm:output"][0]["classification:classes"]
    classes[1]["color_hint"] = "2E86DE"
    (folder / "card" / "card.json").write_text(json.dumps(card))
    return path


@pytest.fixture(scope="session")
def product(opened_job, small_pictures, tmp_path_factory):
    return Path(run_job(read(opened_job, tmp_path_factory.mktemp("product") / "out")).output)


@pytest.fixture(scope="session")
def pixels(product):
    with rasterio.open(product / "class.tif") as dataset:
        return dataset.read(1)


@pytest.fixture(scope="session")
def item(product):
    """The Item as JSON."""
    return json.loads((product / "item.json").read_text())
