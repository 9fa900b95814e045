"""A region whose shards are deployment runs: a Prefect server on PostgreSQL, and a worker that does them elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.danube import region_fields, region_job
from tests.support.deployments import client_of, deploy, process_worker, runs_of
from tests.support.paths import ROOT
from tests.support.products import same_layers
from tilewright.flows.run.predict import run_job

pytestmark = [
    pytest.mark.services,
    pytest.mark.slow(reason="a worker of Prefect and a process for each of its runs: a minute"),
    pytest.mark.usefixtures("small_pictures"),
]

pytest.importorskip("prefect", reason="the extra `flows` is not installed")

SHARDS = 3


def test_shards_as_deployment_runs_give_the_threads_pixels(services, real, tmp_path):
    from tilewright.flows.prefect_flows.flows import shard

    plain = Path(run_job(region_job(real, tmp_path / "plain")).output)
    output, path = tmp_path / "region", tmp_path / "job.json"
    path.write_text(json.dumps(region_fields(real, output=str(output))))
    with client_of(services["PREFECT_API"]) as client, process_worker(client, tmp_path / "worker") as pool:
        deployment = deploy(client, shard, pool=pool, folder=tmp_path / "worker", parameters={})
        name = f"shard/{client.read_deployment(deployment).name}"
        env = {
            **os.environ, "PREFECT_API_URL": services["PREFECT_API"], "PREFECT_HOME": str(tmp_path / "home"),
            "PYTHONPATH": str(ROOT),
        }  # fmt: skip
        began = time.perf_counter()
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tilewright.flows.cli", "run", str(path)),
                *("--shards", str(SHARDS), "--deployment", name),
            ],
            capture_output=True, text=True, env=env, cwd=tmp_path, timeout=240, check=False,
        )  # fmt: skip
        seconds = time.perf_counter() - began
        assert done.returncode == 0, f"{done.stderr}\n{(tmp_path / 'worker' / 'worker.log').read_text()[-3000:]}"
        runs = runs_of(client, deployment)
        assert [run.state_name for run in runs] == ["Completed"] * SHARDS
        client.delete_deployment(deployment)
    print(f"{SHARDS} shards as deployment runs: {seconds:.1f} s")
    assert same_layers(output, plain)
