"""README.md keeps its word: its job is done, its commands exist, its links lead somewhere."""

from __future__ import annotations

import re

import pytest
import yaml
from typer.testing import CliRunner

from tests.support.paths import ROOT
from tilewright.flows.cli.main import app

README = (ROOT / "README.md").read_text("utf-8")
JOB, CHANGE = (yaml.safe_load(block.split("```")[0]) for block in README.split("```yaml\n")[1:])
COMMANDS = re.findall(r"^\.venv/bin/tilewright (.+?)(?:\s+#.*)?$", README, re.MULTILINE)


def test_the_job_and_its_commands_do_what_is_said(real, tmp_path, monkeypatch, small_pictures):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.yaml").write_text(yaml.safe_dump({**JOB, "source": str(real / "catalog.json")}))
    for line in COMMANDS:
        if "my-model" not in line:
            said = CliRunner().invoke(app, line.split())
            assert said.exit_code == 0, (line, said.output)
    assert (tmp_path / JOB["output"] / "item.json").exists()
    table = README.split("What you find under `output`:")[1].split("##")[0]
    for name in re.findall(r"`([a-z.]+\.(?:html|json|png|parquet)|data\.zarr/|\.tilewright/)`", table):
        assert (tmp_path / JOB["output"] / name).exists(), name


def test_the_change_job_is_planned(real, tmp_path):
    after = {"before": CHANGE["period"]["before"], "after": "2021-09-01/2021-09-30"}
    wish = {**JOB, **CHANGE, "period": after, "source": str(real / "catalog.json")}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(wish))
    assert CliRunner().invoke(app, ["plan", str(tmp_path / "job.yaml")]).exit_code == 0


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_a_link_leads_to_a_file(link):
    assert (ROOT / link).exists()


@pytest.mark.parametrize("heading", sorted(set(re.findall(r"\]\(#([^)]+)\)", README))))
def test_a_link_within_leads_to_a_heading(heading):
    assert heading in {line[3:].lower().replace(" ", "-") for line in README.splitlines() if line.startswith("## ")}
