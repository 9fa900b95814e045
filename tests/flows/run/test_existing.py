"""An existing product and a request that has changed: what --update redoes, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.support.products import (
    N_LARGE,
    assert_same_product,
    entries,
    read,
)
from tests.support.worlds import World
from tilewright.flows.maintain.status import product_status
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.ledger import read_entries
from tilewright.tasks.storage.storage import open_storage

pytestmark = pytest.mark.usefixtures("small_pictures")


def test_update_redoes_the_blocks_of_a_new_scene_and_no_others(job, whole, tmp_path):
    output = tmp_path / "out"
    shutil.copytree(whole, output)
    plain = json.loads(job.read_text())
    world = World(tmp_path / "more")
    for entry in plain["source"]["files"][:2]:
        world.files.append(entry)
    with_more = tmp_path / "job.json"
    for band in ("green", "nir"):
        values = np.full((48, 48), 0.5, dtype=np.float32)
        world.add(values, band, scene="second", day="2023-06-20", at=(10, 10), unit="reflectance")
    with_more.write_text(json.dumps({**plain, "source": world.source}))
    with pytest.raises(StoreError, match="begun with another request: source differ"):
        run_job(read(with_more, output))
    before = read_entries(open_storage(str(output)))
    stamps = entries(output)
    outcome = run_job(read(with_more, output), RunOptions(update=True))
    redone = {name for name, stamp in entries(output).items() if stamps.get(name) != stamp}
    after = read_entries(open_storage(str(output)))
    assert redone == {f"{name}.json" for name in after if after[name].key != before[name].key}
    assert 0 < len(redone) < N_LARGE
    anew = run_job(read(with_more, tmp_path / "anew")).output
    assert_same_product(output, Path(anew))
    assert not outcome.already_complete
    assert run_job(read(with_more, output), RunOptions(update=True)).already_complete


def test_what_makes_another_model_of_the_same_files_is_named_and_not_the_model(job, whole, tmp_path):
    output = tmp_path / "out"
    shutil.copytree(whole, output)
    with pytest.raises(StoreError, match="begun with another request: augment differs"):
        run_job(read(job, output, augment="flips"))
    with pytest.raises(StoreError, match="begun with another request: model differs"):
        run_job(read(job, output, model="ndwi-water"))


def test_update_removes_the_files_of_a_layer_no_longer_wanted_and_refuses_another_grid(job, whole, tmp_path):
    output = tmp_path / "out"
    shutil.copytree(whole, output)
    run_job(read(job, output, layers=["class"]), RunOptions(update=True))
    assert not [path for path in output.rglob("*") if path.name.startswith("confidence")]
    assert product_status(str(output))["state"] == "complete"
    with pytest.raises(StoreError, match="--update: .* differs from this job in lattice"):
        run_job(read(job, output, tile={"block": 32, "step": 32}), RunOptions(update=True))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 0}, "finish it with that version"),
        ({"versions": {"tilewright": "0.0.1"}}, "was begun with Tilewright 0.0.1"),
    ],
)
def test_a_plan_of_another_version_is_refused_with_what_to_do(job, whole, tmp_path, change, words):
    output = tmp_path / "out"
    shutil.copytree(whole, output)
    (output / "item.json").unlink()
    plan = output / ".tilewright" / "plan.json"
    plan.write_text(json.dumps({**json.loads(plan.read_text()), **change}))
    with pytest.raises(StoreError, match=words):
        run_job(read(job, output))
    run_job(read(job, output), RunOptions(replace=True))
    assert product_status(str(output))["state"] == "complete"
