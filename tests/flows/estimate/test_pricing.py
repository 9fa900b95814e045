"""A plan's price from a table anyone can replace, worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from tests.support.danube import write_water_job
from tilewright.flows.cli.main import app
from tilewright.flows.estimate.estimate import Estimate
from tilewright.flows.estimate.pricing import PriceError, price, read_prices

TABLE = {
    "currency": "EUR", "cpu_core_hour": 0.05, "gpu_hour": 2.0, "read_gb": 0.1, "requests_1000": 0.0,
    "storage_gb_month": 0.02, "machine_hour": 0.5,
}  # fmt: skip


def an_estimate(**changes):
    plain = {
        "n_scenes": 3, "n_blocks": 8, "n_windows": 8, "passes": 1.0, "bytes_read": 100_000_000_000,
        "bytes_stored": 50_000_000_000, "memory_bytes": 1, "seconds": 7200.0, "n_cores": 4, "provider": "cpu",
    }  # fmt: skip
    return Estimate(**{**plain, **changes})


def table(tmp_path, **changes):
    path = tmp_path / "prices.yaml"
    path.write_text(yaml.safe_dump({**TABLE, **changes}))
    return path


def test_the_price_is_the_sum_a_person_would_make(tmp_path):
    cost = price(an_estimate(), read_prices(table(tmp_path)))
    assert cost.cpu_core_hours == 8.0
    assert cost.compute == pytest.approx(8 * 0.05 + 2 * 0.5)
    assert cost.reading == pytest.approx(100 * 0.1)
    assert cost.storage == pytest.approx(1.0)
    assert cost.total == pytest.approx(cost.compute + cost.reading + cost.storage)
    assert "EUR" in dict(cost.lines())["cost"]


def test_a_gpu_is_paid_by_its_hours_and_cores_are_not(tmp_path):
    cost = price(an_estimate(provider="cuda"), read_prices(table(tmp_path, machine_hour=0.0)))
    assert (cost.cpu_core_hours, cost.gpu_hours, cost.compute) == (0.0, 2.0, 4.0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gpu_hour": "two"}, "gpu_hour must be numbers"),
        ({"gpu_hour": -1}, "gpu_hour must be numbers"),
        ({"gpu_hours": 1}, "unknown gpu_hours"),
    ],
)
def test_a_table_that_is_wrong_is_refused_by_its_key(tmp_path, changes, words):
    with pytest.raises(PriceError, match=words):
        read_prices(table(tmp_path, **changes))
    with pytest.raises(PriceError, match="cannot be read"):
        read_prices(tmp_path / "none.yaml")


def test_the_plan_says_cost_and_shards(real, tmp_path):
    write_water_job(tmp_path, real, tile={"block": 128, "step": 128})
    arguments = ["plan", str(tmp_path / "job.json"), "--shards", "4", "--prices", str(table(tmp_path))]
    said = CliRunner().invoke(app, arguments)
    assert said.exit_code == 0, said.output
    assert "EUR" in said.stdout
    assert "shards" in said.stdout
    plain = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert plain["cost"]["currency"] == "EUR"
    assert sum(shard["blocks"] for shard in plain["shards"]) == plain["n_blocks"]
    assert len(plain["shards"]) == 4
    refused = CliRunner().invoke(app, ["plan", str(tmp_path / "job.json"), "--prices", str(Path(tmp_path, "no"))])
    assert refused.exit_code == 2
    assert "Traceback" not in refused.stderr
