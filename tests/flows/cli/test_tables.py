"""What plan, search and models print: aligned, within 80 columns, nothing of a catalog taken as markup."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from tests.support.danube import write_water_job
from tilewright.flows.cli.main import app


@pytest.fixture
def said(real, tmp_path, monkeypatch):
    """What a command prints for the job with some of its keys changed, on 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    def say(command, **changes):
        return CliRunner().invoke(app, [command, str(write_water_job(tmp_path, real, **changes))])

    return say


def test_scenes_are_in_columns_and_their_reason_is_below(said):
    period = {"before": "2021-06", "after": "2021-09"}
    assert said("search", period=period, model="cva-change").stdout.splitlines() == [
        "2 scenes on 2 days, 2021-06-17 to 2021-09-25",
        "platform sentinel-2b, granule 33UUP",
        "date        cloud    area  baseline  radiometry  scene",
        "2021-06-17    0 %  82.1 %  03.00     no-offset   S2B_33UUP_20210617_1_L2A",
        "2021-09-25    0 %  82.1 %  03.01     no-offset   S2B_33UUP_20210925_1_L2A",
        "Why this radiometry:",
        "no-offset  baseline 03.00 < 04.00 (1 scene)",
        "no-offset  baseline 03.01 < 04.00 (1 scene)",
    ]


def test_a_search_that_finds_nothing_says_what_to_change(said):
    answer = said("search", period="2001-06")
    assert answer.exit_code == 0
    assert answer.stdout.startswith("No scenes for input image")
    assert "Widen the period or the area, or choose another source." in answer.stdout
    assert "loosen filter" in said("search", period="2001-06", filter={"max_cloud": 1}).stdout


@pytest.mark.parametrize("command", ["search", "plan"])
def test_latitude_before_longitude_is_recognised(said, command):
    assert "written longitude first" in said(command, area=[48.27, 13.10, 48.30, 13.17]).output
    assert "longitude first" not in said(command, area=[48.27, -13.10, 48.30, -13.07]).output
    assert "longitude first" not in said(command, area=[113.10, 48.27, 113.17, 48.30]).output


def test_a_plan_is_read_at_80_columns(said):
    lines = said("plan").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert all(line == line.rstrip() for line in lines)
    facts = {line[:13].strip(): line[13:] for line in lines[1:]}
    assert facts["area"].replace("\u00a0", " ") == "17.3 km² around 48.285° N, 13.135° E"
    assert facts["grid"] == "528 x 347 px of 10 m in EPSG:32633"
    assert facts["input image"].startswith("1 scene on 1 day (2021-06-17), median of green nir")


def test_a_place_in_the_card_or_the_job_is_no_markup(said):
    refused = said("plan", model="[red]none[/red]")
    assert "[red]none[/red]" in refused.stderr


def test_models_are_listed_with_what_they_read_and_give(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = CliRunner().invoke(app, ["models", "list"]).stdout.splitlines()
    place = lines.index("ndwi-water  semantic-segmentation")
    told = ["  is     Open water by NDWI", "  reads  sentinel-2-l2a green nir", "  gives  class, confidence"]
    assert lines[place + 1 : place + 4] == told


def test_a_search_says_what_a_plan_of_the_job_would_refuse(said):
    answer = said("search", model="cva-change", period={"before": "2021-06", "after": "2021-07"})
    assert answer.exit_code == 0
    assert "A plan of this job is refused: No scenes for after of input pair" in " ".join(answer.output.split())
    assert "refused" not in said("search").output
