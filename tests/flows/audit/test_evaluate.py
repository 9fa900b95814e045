"""`tilewright evaluate` into a real product, which stays finished: published, left by runs, cut off at any step."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import tilewright as tw
from tests.support.products import read
from tilewright.catalogs.publish.validate import validate_collection, validate_item
from tilewright.flows.ask import added_files
from tilewright.flows.cli.main import app
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.inventory.finished import unfinished
from tilewright.tasks.storage.errors import StorageError
from tilewright.tasks.storage.storage import open_storage

pytestmark = pytest.mark.usefixtures("small_pictures")

FILES = {"evaluation": "evaluation.json", "evaluation-page": "evaluation.html", "evaluation-pairs": "pairs.csv"}
LOCK = ("lock.json", "generation.json")
"""What a second owner of a product writes though it changes nothing."""

STEPS = ("write_product_record", "file_multihash", "publish_item", "table_with", "collection_with", "check_written")


def command(*words: object) -> Any:
    return CliRunner().invoke(app, [*map(str, words)])


def sums(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in LOCK)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def product(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "product"))


@pytest.fixture
def points(product, tmp_path) -> Path:
    layer = tw.open(product)["class"].rio.reproject("EPSG:4326")
    rng = np.random.default_rng(2)
    x, y = rng.choice(layer.x.values, 80), rng.choice(layer.y.values, 80)
    rows = "".join(f"{a},{b},{rng.choice(['land', 'water'])}\n" for a, b in zip(x, y, strict=True))
    path = tmp_path / "points.csv"
    path.write_text(f"lon,lat,class\n{rows}")
    return path


def test_scores_are_published_with_the_product(product, points):
    before = sums(product)
    answer = command("evaluate", product, points)
    assert answer.exit_code == 0, answer.output
    item = json.loads((product / "item.json").read_text())
    validate_item(item)
    validate_collection(json.loads((product / "collection.json").read_text()))
    for key, name in FILES.items():
        content = (product / name).read_bytes()
        assert item["assets"][key]["file:size"] == len(content)
        assert item["assets"][key]["file:checksum"] == "1220" + hashlib.sha256(content).hexdigest()
    changed = {name for name, digest in sums(product).items() if before.get(name) != digest}
    assert changed == {*FILES.values(), "item.json", "items.parquet", "collection.json", ".tilewright/files.json"}
    assert unfinished(open_storage(str(product))) == ()
    assert "Nothing to clean" in command("clean", product).output
    again = sums(product)
    assert command("evaluate", product, points).exit_code == 0
    assert sums(product) == again, "the same scores are left"


def test_a_run_leaves_the_scores_and_a_replaced_product_has_none(job, product, points):
    assert command("evaluate", product, points).exit_code == 0
    kept = sums(product)
    run_job(read(job, product))
    assert sums(product) == kept
    run_job(read(job, product), RunOptions(replace=True))
    assert not any((product / name).exists() for name in FILES.values()), "they would tell of pixels that are gone"
    assert not FILES.keys() & json.loads((product / "item.json").read_text())["assets"].keys()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("standing", [False, True])
def test_a_product_is_finished_wherever_adding_is_cut_off(product, points, monkeypatch, step, standing):
    if standing:
        assert command("evaluate", product, points, "--map", "all=land,water").exit_code == 0

    def fail(*_: object, **__: object) -> None:
        raise StorageError(f"Cannot go on with {step}.")

    with monkeypatch.context() as patch:
        patch.setattr(added_files, step, fail)
        answer = command("evaluate", product, points)
    assert answer.exit_code == 1
    assert answer.output.count("tilewright:") == 1
    assert unfinished(open_storage(str(product))) == ()
    assert command("evaluate", product, points).exit_code == 0
    assert json.loads((product / "evaluation.json").read_text())["maps"] == {}
    assert unfinished(open_storage(str(product))) == ()
