"""`tilewright watch` and `backfill` as people and machines call them."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from tests.support.danube import write_water_job
from tilewright.flows.cli.main import app

pytestmark = pytest.mark.usefixtures("small_pictures")


def tilewright(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def job(real, tmp_path):
    return write_water_job(tmp_path, real, name="{name}", output=f"{tmp_path}/{{name}}")


def test_watch_makes_a_product_and_then_finds_nothing_new(job, tmp_path):
    job.write_text(job.read_text().replace("{name}", "kept"))
    first, second = (tilewright("watch", job, "--json") for _ in range(2))
    assert (first.exit_code, second.exit_code) == (0, 0), first.output + second.output
    assert [json.loads(answer.stdout)[0]["state"] for answer in (first, second)] == ["made", "unchanged"]
    assert (tmp_path / "kept" / "item.json").exists()
    refused = tilewright("watch", job, "--every", "month")
    assert refused.exit_code == 2
    assert "{period}" in refused.output


def test_backfill_makes_the_rows_and_says_which_failed(job, tmp_path):
    (tmp_path / "table.csv").write_text("name,period\njune,2021-06\nnever,1999-06\n")
    answer = tilewright("backfill", tmp_path / "table.csv", "--job", job, "--home", tmp_path / "home")
    assert answer.exit_code == 1
    assert "1 of 2 products failed; the first: never (bad-request)" in answer.output
    assert (tmp_path / "june" / "item.json").exists()
    (tmp_path / "table.csv").write_text("name,period\njune,2021-06\n")
    again = tilewright("backfill", tmp_path / "table.csv", "--job", job, "--home", tmp_path / "home", "--json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout) == [{"name": "june", "state": "done"}]
    empty = tilewright("backfill", tmp_path / "none.csv", "--job", job, "--home", tmp_path / "home")
    assert empty.exit_code == 2
