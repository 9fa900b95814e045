"""A second run says that newer scenes exist, where some may; an engine that is not there is refused when planned."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.danube import SCENE, write_water_job
from tilewright.flows.cli.main import app
from tilewright.flows.job.job import read_job
from tilewright.flows.maintain import newer
from tilewright.flows.plan import model_graph

pytestmark = pytest.mark.usefixtures("small_pictures")


def run(job, *words):
    answer = CliRunner().invoke(app, ["run", str(job), *words])
    assert answer.exit_code == 0, answer.output
    return answer.stdout


def test_a_second_run_says_that_newer_scenes_exist_and_rerun_takes_the_folder(real, tmp_path, monkeypatch):
    items = tmp_path / "items"
    items.mkdir()
    item = json.loads((real / "sentinel-2-l2a" / SCENE / f"{SCENE}.json").read_text())
    for asset in item["assets"].values():
        asset["href"] = str(real / "sentinel-2-l2a" / SCENE / Path(asset["href"]).name)
    item["links"] = []

    def write(*shown):
        collection = {"type": "FeatureCollection", "features": [*shown]}
        (tmp_path / "items.json").write_text(json.dumps(collection))

    write(item)
    small = {"area": [13.12, 48.28, 13.13, 48.285], "source": str(tmp_path / "items.json")}
    job = write_water_job(tmp_path, real, period="2021-06-01/..", output=str(tmp_path / "out"), **small)
    run(job)
    assert "newer" not in run(job)
    later = {**item, "id": "later", "properties": {**item["properties"], "datetime": "2021-07-17T10:05:59Z"}}
    write(item, later)
    assert "there is 1 newer scene for this job: --update looks at it" in run(job)
    assert json.loads(run(job, "--json"))["newer_scenes"] == 1
    assert "newer" not in run(job, "--quiet")
    searched = []
    monkeypatch.setattr(newer, "_count", lambda *_: searched.append(1) or 0)
    assert newer.newer_scenes(read_job(job, changes=("period=2021-06",)), str(tmp_path / "out")) == 0
    assert searched == [], "a period that is over for long is not searched"
    again = CliRunner().invoke(app, ["rerun", str(tmp_path / "out")])
    assert again.exit_code == 0, again.output
    assert "is identical" in again.stdout
    shutil.rmtree(tmp_path / "out")
    assert CliRunner().invoke(app, ["rerun", str(tmp_path / "out")]).exit_code == 2


def test_an_engine_that_is_not_there_is_refused_when_planned(real, tmp_path, monkeypatch):
    job = write_water_job(tmp_path, real, engine="stackstac")
    monkeypatch.setattr(model_graph, "find_spec", lambda _: None)
    answer = CliRunner().invoke(app, ["plan", str(job)])
    assert answer.exit_code == 2
    assert "engine: 'stackstac' needs the extra of that name: " in answer.stderr
    assert "pip install -c constraints.txt -e '.[stackstac]'" in answer.stderr
