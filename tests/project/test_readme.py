"""README.md keeps its word: its job is done, its commands exist, its links lead somewhere."""

from __future__ import annotations

import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import geopandas
import pytest
import shapely
import yaml
from typer.testing import CliRunner

from tests.support.paths import ROOT
from tests.support.viewed import looked_at
from tilewright.catalogs.sample.build import SAMPLE_AREA, SAMPLE_WATER_PERIOD
from tilewright.flows.chain.chain import make_chain
from tilewright.flows.cli.main import app
from tilewright.flows.job.job import make_job
from tilewright.flows.plan.model_card import job_card
from tilewright.flows.start.demo import demo_jobs

README = (ROOT / "README.md").read_text("utf-8")
JOB, CHANGE, CHAIN = (yaml.safe_load(block.split("```")[0]) for block in README.split("```yaml\n")[1:])
COMMANDS = re.findall(r"^\.venv/bin/tilewright (.+?)(?:\s+#.*)?$", README, re.MULTILINE)


def test_the_job_and_its_commands_do_what_is_said(real, tmp_path, monkeypatch, small_pictures):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.yaml").write_text(yaml.safe_dump({**JOB, "source": str(real / "catalog.json")}))
    # The job on the sample, which takes longest to build, is looked at below.
    (tmp_path / "first.yaml").write_text((tmp_path / "job.yaml").read_text())
    west, south, east, north = JOB["area"]
    middle = shapely.box(west, south, east, north).centroid.buffer(0.005)
    geopandas.GeoDataFrame(geometry=[middle], crs="EPSG:4326").to_file(tmp_path / "parcels.gpkg")
    places = "".join(f"{west + (east - west) * n / 9},{(south + north) / 2},water,2021-06-0{n}\n" for n in range(1, 9))
    (tmp_path / "labels.csv").write_text(f"lon,lat,class,date\n{places}")
    for line in COMMANDS:
        if line.startswith("compare "):
            # Products of other months take as long again to make; what the command says of them is tested elsewhere.
            for month in ("june", "september"):
                shutil.copytree(tmp_path / JOB["output"], tmp_path / "out" / month)
        if line.startswith("view "):
            if find_spec("js_lib_leaflet") is not None:
                assert looked_at(*(tmp_path / word for word in line.split()[1:])) == [JOB["name"]]
        elif "my-model" not in line:
            said = CliRunner().invoke(app, line.split())
            assert said.exit_code == 0, (line, said.output)
    assert (tmp_path / JOB["output"] / "item.json").exists()
    table = README.split("What you find under `output`:")[1].split("##")[0]
    for name in re.findall(r"`([a-z.]+\.(?:html|json|png|parquet)|data\.zarr/|\.tilewright/)`", table):
        # What a job over places gives in place of a map is looked at in tests/system/test_places.py.
        assert (tmp_path / JOB["output"] / name).exists() or name == "places.parquet", name


def test_the_change_job_is_planned(real, tmp_path):
    after = {"before": CHANGE["period"]["before"], "after": "2021-09-01/2021-09-30"}
    wish = {**JOB, **CHANGE, "period": after, "source": str(real / "catalog.json")}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(wish))
    assert CliRunner().invoke(app, ["plan", str(tmp_path / "job.yaml")]).exit_code == 0


def test_the_chain_is_one_whose_jobs_read_earlier_ones(tmp_path):
    chain = make_chain(CHAIN, base=tmp_path)
    assert dict(chain.reads) == {"clear": (), "cover": ("clear",), "change": ("cover",)}


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_a_link_leads_to_a_file(link):
    assert (ROOT / link).exists()


@pytest.mark.parametrize("heading", sorted(set(re.findall(r"\]\(#([^)]+)\)", README))))
def test_a_link_within_leads_to_a_heading(heading):
    assert heading in {line[3:].lower().replace(" ", "-") for line in README.splitlines() if line.startswith("## ")}


def test_the_first_job_lies_in_the_sample_that_the_demo_builds(tmp_path):
    """Its area and period are those of the sample's scenes, and its source is where the demo puts them."""
    words = README.split("<<END\n")[1].split("END\n")[0]
    job = yaml.safe_load(words.replace("${TILEWRIGHT_CACHE:-$HOME/.cache/tilewright}", "CACHE"))
    west, south, east, north = job["area"]
    assert SAMPLE_AREA[0] < west < east < SAMPLE_AREA[2]
    assert SAMPLE_AREA[1] < south < north < SAMPLE_AREA[3]
    assert job["period"] == SAMPLE_WATER_PERIOD
    demo = demo_jobs(Path("CACHE/demo/sample/catalog.json"), Path("CACHE/demo"))
    assert job["source"] == demo[0]["source"]
    checked = make_job({**job, "source": str(tmp_path / "catalog.json")}, base=tmp_path)
    assert job_card(checked).name == job["model"]
