"""Cleaning what broken runs left, and rebuilding a product from its Item."""

from __future__ import annotations

import json
import os
import shutil
import time

import pytest

from tests.support.products import (
    N_LARGE,
    assert_same_product,
    tilewright,
)
from tilewright.flows.maintain import clean
from tilewright.flows.maintain.clean import clean_output, parse_age
from tilewright.flows.maintain.rerun import rerun_item
from tilewright.flows.run.output_lock import lock_output
from tilewright.tasks.storage.errors import LockHeldError, StoreError
from tilewright.tasks.storage.lock import LOCK
from tilewright.tasks.storage.storage import open_storage

pytestmark = pytest.mark.usefixtures("small_pictures")


def test_clean_removes_what_a_broken_run_left_and_nothing_of_the_product(whole, tmp_path):
    output = tmp_path / "out"
    shutil.copytree(whole, output)
    kept = sorted(path for path in output.rglob("*") if path.is_file())
    left = [".tilewright/staging/tmp1/rows.tif", "data.zarr/class/c/0/0#7"]
    for name in left:
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        (output / name).write_text("{}")
    (output / LOCK).write_text(json.dumps({"run": "dead", "host": "gone", "pid": 1, "beat": 5.0, "born": 0.0}))
    with pytest.raises(StoreError, match="process 1 on gone"):
        # Its beats are old by the clock of another machine, which may be wrong; the storage saw one just now.
        clean_output(str(output))
    os.utime(output / LOCK, (5.0, 5.0))
    assert clean_output(str(output), older_than="7d") == [], "all is new"
    assert clean_output(str(output), dry_run=True) == sorted(left)
    assert (output / left[0]).exists()
    answer = tilewright("clean", output, "--json")
    assert sorted(json.loads(answer.stdout)["removed"]) == sorted(left)
    assert sorted(path for path in output.rglob("*") if path.is_file()) == kept
    assert not (output / ".tilewright/staging/tmp1").exists()


def test_clean_refuses_a_running_product_a_strange_folder_and_a_strange_age(tmp_path):
    storage = open_storage(str(tmp_path / "out"), create=True)
    with lock_output(storage):
        with pytest.raises(LockHeldError, match="clean it when that has ended"):
            clean_output(str(tmp_path / "out"))
        assert tilewright("clean", tmp_path / "out").returncode == 75
    (tmp_path / "mine").mkdir()
    with pytest.raises(StoreError, match="holds no product"):
        clean_output(str(tmp_path / "mine"))
    with pytest.raises(StoreError, match="is not an age"):
        parse_age("soon")
    assert parse_age("7d") == 7 * parse_age("24h") == 7 * 86400


def test_what_a_run_stages_that_begins_while_an_output_is_looked_at_is_kept(whole, tmp_path, monkeypatch):
    shutil.copytree(whole, tmp_path / "out")
    staged = tmp_path / "out" / ".tilewright/staging/rows.tif"

    def begun_meanwhile(storage, *_more, **_options):
        with lock_output(storage) as run:
            run.storage.write(".tilewright/staging/rows.tif", b"rows")
            monkeypatch.setattr(clean, "lock_output", lock_output)
            with pytest.raises(LockHeldError):
                clean_output(str(tmp_path / "out"))
        return lock_output(storage)

    monkeypatch.setattr(clean, "lock_output", begun_meanwhile)
    assert clean_output(str(tmp_path / "out")) == []
    assert staged.read_bytes() == b"rows", "it is newer than the call"
    assert clean_output(str(tmp_path / "out")) == [".tilewright/staging/rows.tif"]


def test_a_product_is_rebuilt_from_its_item_and_proven_identical(whole, tmp_path):
    answer = tilewright("rerun", whole / "item.json", "--output", tmp_path / "again", "--json")
    assert answer.returncode == 0, answer.stderr
    said = json.loads(answer.stdout)
    assert said["identical"]
    assert said["blocks"] == {"compared": N_LARGE, "differing": 0}
    assert_same_product(tmp_path / "again", whole)
    begun = time.monotonic()
    assert rerun_item(str(whole / "item.json"), output=str(tmp_path / "again"))["identical"]
    assert time.monotonic() - begun < 10, "what is rebuilt already is only compared"


def test_a_rebuilt_product_that_differs_is_reported_as_different(whole, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(whole, other)
    item = json.loads((other / "item.json").read_text())
    item["assets"]["class"]["file:checksum"] = "1220" + "0" * 64
    item["assets"]["class"]["href"] = "./confidence.tif"
    (other / "item.json").write_text(json.dumps(item))
    answer = tilewright("rerun", other / "item.json", "--output", tmp_path / "again")
    assert answer.returncode == 1
    assert "layer class differs" in answer.stdout


def test_an_item_that_leads_to_no_plan_or_to_another_is_refused(whole, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(whole, other)
    plan = other / ".tilewright" / "plan.json"
    plan.write_text(plan.read_text() + " ")
    with pytest.raises(StoreError, match="is not the one the Item small was made with"):
        rerun_item(str(other / "item.json"))
    plan.unlink()
    with pytest.raises(StoreError, match="is gone"):
        rerun_item(str(other / "item.json"))
    (other / "plain.json").write_text("{}")
    with pytest.raises(StoreError, match="not a STAC Item"):
        rerun_item(str(other / "plain.json"))
