"""Prefect's server stopped in the middle of a run: the run ends within a bound, and the next one goes on."""

from __future__ import annotations

import subprocess
import time

import pytest

from tests.support.danube import write_water_job
from tests.support.products import command, entries, wait_for_blocks

pytest.importorskip("prefect", reason="the extra `flows` is not installed")

from tests.support.prefect_servers import prefect_server, stop

LONGEST = 150.0
"""Seconds a run may take to end after its server has gone."""

ONE_RETRY = "import tilewright.flows.prefect_server as server; assert server.CALL_RETRIES; server.CALL_RETRIES = 1"
"""Each call that finds no server waits 2 s for its one retry, not 14 s for three."""


@pytest.fixture
def server(prefect_home, tmp_path):
    """A Prefect server of this test alone: its address and its process."""
    with prefect_server(prefect_home, tmp_path / "server") as made:
        yield made


def start(tmp_path, real, api):
    """A run of the water job in many blocks that reports to a server, and its output."""
    job, output = write_water_job(tmp_path, real, tile={"block": 32, "step": 32}), tmp_path / "out"
    env = {"PREFECT_HOME": str(tmp_path / "home"), "PREFECT_API_URL": api}
    words = ("run", job, "--output", output, "--prefect", "--workers", "1")
    return command(*words, env=env, before=ONE_RETRY), output


def go_on(tmp_path, output):
    """Run the job again without a server; its ledger then."""
    again = command("run", tmp_path / "job.json", "--output", output, "--json")
    _, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    return entries(output)


@pytest.mark.slow(reason="a server of its own, and calls to it that wait: half a minute")
def test_a_run_whose_server_goes_away_ends_and_the_next_one_goes_on(server, real, tmp_path):
    api, process = server
    run, output = start(tmp_path, real, api)
    wait_for_blocks(output, 5, run)
    stop(process)
    n_before, began = len(entries(output)), time.monotonic()
    try:
        _, said = run.communicate(timeout=LONGEST)
    except subprocess.TimeoutExpired:
        run.kill()
        raise AssertionError(f"the run still hung {LONGEST:.0f} s after its server went: {run.communicate()}") from None
    seconds, kept = time.monotonic() - began, entries(output)
    print(f"the run ended with {run.returncode} {seconds:.1f} s after the server, {n_before} -> {len(kept)} blocks")
    assert len(kept) > n_before, "the blocks do not wait for the server"
    assert len([line for line in said.splitlines() if "does not answer: the run goes on" in line]) == 1
    assert run.returncode == 0, said[-3000:]
    assert (output / "item.json").exists(), "the product does not need the server"
    assert go_on(tmp_path, output) == kept, "nothing is done twice"


@pytest.mark.slow(reason="a server of its own, and calls to it that wait: half a minute")
def test_a_run_killed_while_its_server_is_away_goes_on_without_it(server, real, tmp_path):
    api, process = server
    run, output = start(tmp_path, real, api)
    wait_for_blocks(output, 5, run)
    stop(process)
    wait_for_blocks(output, len(entries(output)) + 3, run)
    run.kill()
    run.communicate(timeout=20)
    assert not (output / "item.json").exists(), "killed in the middle"
    kept = entries(output)
    after = go_on(tmp_path, output)
    print(f"{len(kept)} of {len(after)} blocks were kept")
    assert len(kept) < len(after)
    assert {name: after[name] for name in kept} == kept, "nothing is done twice"
    assert (output / "item.json").exists()


def test_a_server_that_is_not_there_is_refused_at_once(real, tmp_path):
    run, output = start(tmp_path, real, "http://127.0.0.1:9/api")
    out, err = run.communicate(timeout=60)
    assert run.returncode == 2, err
    assert "no Prefect server answers at http://127.0.0.1:9/api" in err
    assert "Traceback" not in out + err
    assert not output.exists()
