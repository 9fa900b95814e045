"""The states of products, of one and of many."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from tilewright.flows.cli.main import app
from tilewright.flows.maintain.status import products_in
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.storage import open_storage

PLAN = {"format": 1, "name": "p", "request": {}, "versions": {}, "layers": [], "blocks": [[0, 0], [0, 1]]}


def begun(folder, **progress):
    """A folder with a plan, and what a run left in progress.json."""
    storage = open_storage(str(folder), create=True)
    storage.write_json(".tilewright/plan.json", {**PLAN, "name": folder.name})
    if progress:
        storage.write_json("progress.json", progress)
    return str(folder)


def states(*words):
    answer = CliRunner().invoke(app, ["status", *map(str, words), "--json"])
    assert answer.exit_code == 0, answer.output
    return json.loads(answer.stdout)


def test_what_stopped_and_what_failed_are_two_states_in_words_and_json_alike(tmp_path):
    for name, left, state in (
        ("a", {}, "planned"),
        ("b", {"state": "interrupted"}, "stopped"),
        ("c", {"state": "running"}, "stopped"),
        ("d", {"state": "failed"}, "failed"),
    ):
        output = begun(tmp_path / name, **left)
        assert states(output)["state"] == state
        assert f"{name}: {state}, 0 of 2 blocks" in CliRunner().invoke(app, ["status", output]).stdout


def test_many_are_a_row_each_however_they_are_named(tmp_path):
    outputs = [begun(tmp_path / "products" / name, state="interrupted") for name in ("may", "june")]
    (tmp_path / "products" / "notes").mkdir()
    (tmp_path / "products" / "list.txt").write_text("x")
    for words in (outputs, [tmp_path / "products"]):
        told = states(*words)
        assert {each["output"]: each["state"] for each in told} == dict.fromkeys(outputs, "stopped")
    lines = CliRunner().invoke(app, ["status", str(tmp_path / "products")]).stdout.splitlines()
    assert lines[0].split() == ["name", "state", "done", "failed", "output"]
    assert [line.split()[:3] for line in lines[1:3]] == [["june", "stopped", "0/2"], ["may", "stopped", "0/2"]]
    assert lines[-1] == "2 products: 2 stopped"
    assert [each["name"] for each in states(outputs[0], tmp_path / "products")] == ["may", "june", "may"]


def test_the_file_of_a_job_stands_for_its_product(tmp_path):
    output = begun(tmp_path / "lake", state="interrupted")
    job = {"area": [13.1, 48.2, 13.2, 48.3], "period": "2021-06", "source": "earth-search", "model": "ndwi-water"}
    (tmp_path / "job.yaml").write_text(json.dumps({**job, "output": output}))
    assert states(tmp_path / "job.yaml")["name"] == "lake"
    (tmp_path / "elsewhere.yaml").write_text(json.dumps({**job, "output": str(tmp_path / "sea")}))
    assert CliRunner().invoke(app, ["status", str(tmp_path / "elsewhere.yaml")]).exit_code == 2


def test_a_damaged_product_in_a_folder_hides_no_other(tmp_path):
    begun(tmp_path / "a", state="interrupted")
    begun(tmp_path / "b")
    (tmp_path / "b" / ".tilewright" / "plan.json").write_text("{}")
    assert [(each["name"], each["state"]) for each in states(tmp_path)] == [("a", "stopped"), ("b", "damaged")]
    assert CliRunner().invoke(app, ["status", str(tmp_path / "b")]).exit_code == 2


@pytest.mark.parametrize("name", ["nothing", "empty"])
def test_where_there_is_none_it_says_so(tmp_path, name):
    (tmp_path / "empty").mkdir()
    answer = CliRunner().invoke(app, ["status", str(tmp_path / name), "--json"])
    assert answer.exit_code == 2
    assert "holds no product" in json.loads(answer.stdout)["error"]
    with pytest.raises(StoreError):
        products_in(str(tmp_path / "empty"))
