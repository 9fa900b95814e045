"""Prefect's server stopped in the middle of a run: the run ends within a bound, and the next one goes on."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

pytest.importorskip("prefect")

pytestmark = pytest.mark.slow

LONGEST = 150.0
"""Seconds a run may take to end after its server has gone."""

WATER = {
    "name": "outage", "area": [13.10, 48.27, 13.17, 48.30], "period": "2021-06-01/2021-06-30", "model": "ndwi-water",
    "tile": {"block": 32, "step": 32},
}  # fmt: skip


@pytest.fixture
def server(tmp_path):
    """A Prefect server of this test alone: its address and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {
        **os.environ, "PREFECT_HOME": str(tmp_path / "server"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }  # fmt: skip
    env.pop("PREFECT_API_URL", None)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--no-ui"], env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield healthy(f"http://127.0.0.1:{port}/api", process, seconds=180), process
        finally:
            stop(process)


def healthy(api, process, *, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended"
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{api}/health", timeout=2).status_code == 200:
                return api
        time.sleep(0.5)
    raise AssertionError("the server did not become healthy")


def stop(process):
    """End the server and what it started: its own session, nobody else's."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=20)


def entries(output):
    return {path.name: path.stat().st_mtime_ns for path in (output / ".tilewright" / "ledger").glob("[!.]*.json")}


def tilewright(*arguments, cwd, api=None):
    env = {**os.environ, "PREFECT_HOME": str(cwd / "home")} | ({"PREFECT_API_URL": api} if api else {})
    command = [str(Path(sys.executable).parent / "tilewright"), *arguments]
    return subprocess.Popen(command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def blocks_of(run, output, n_blocks):
    """The ledger's entries once a run that still goes on has done so many blocks."""
    deadline = time.monotonic() + 120
    while len(found := entries(output)) < n_blocks:
        assert run.poll() is None, run.communicate()[1]
        assert time.monotonic() < deadline, f"{len(found)} of {n_blocks} blocks were done"
        time.sleep(0.05)
    return found


def test_a_run_whose_server_goes_away_ends_and_the_next_one_goes_on(server, real, tmp_path):
    api, process = server
    (tmp_path / "job.json").write_text(json.dumps({**WATER, "source": str(real / "catalog.json")}))
    output = tmp_path / "out"
    run = tilewright("run", "job.json", "--output", "out", "--prefect", "--workers", "1", cwd=tmp_path, api=api)
    deadline = time.monotonic() + 120
    while len(entries(output)) < 5:
        assert run.poll() is None, run.communicate()[1]
        assert time.monotonic() < deadline, "no block was done"
        time.sleep(0.05)
    stop(process)
    n_before, began = len(entries(output)), time.monotonic()
    try:
        said = run.communicate(timeout=LONGEST)
    except subprocess.TimeoutExpired:
        run.kill()
        raise AssertionError(f"the run still hung {LONGEST:.0f} s after its server went: {run.communicate()}") from None
    seconds, kept = time.monotonic() - began, entries(output)
    print(f"the run ended with {run.returncode} {seconds:.1f} s after the server, {n_before} -> {len(kept)} blocks")
    assert len(kept) > n_before, "the blocks do not wait for the server"
    assert len([line for line in said[1].splitlines() if "does not answer: the run goes on" in line]) == 1
    assert run.returncode == 0, said[1][-3000:]
    assert (output / "item.json").exists(), "the product does not need the server"
    again = tilewright("run", "job.json", "--output", "out", "--json", cwd=tmp_path)
    _, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    after = entries(output)
    assert after == kept, "nothing is done twice"


def test_a_run_killed_while_its_server_is_away_goes_on_without_it(server, real, tmp_path):
    api, process = server
    (tmp_path / "job.json").write_text(json.dumps({**WATER, "source": str(real / "catalog.json")}))
    output = tmp_path / "out"
    run = tilewright("run", "job.json", "--output", "out", "--prefect", "--workers", "1", cwd=tmp_path, api=api)
    blocks_of(run, output, 5)
    stop(process)
    blocks_of(run, output, len(entries(output)) + 3)
    run.kill()
    run.communicate(timeout=20)
    assert not (output / "item.json").exists(), "killed in the middle"
    kept = entries(output)
    again = tilewright("run", "job.json", "--output", "out", "--json", cwd=tmp_path)
    _, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    after = entries(output)
    print(f"{len(kept)} of {len(after)} blocks were kept")
    assert len(kept) < len(after)
    assert {name: after[name] for name in kept} == kept, "nothing is done twice"
    assert (output / "item.json").exists()


def test_a_server_that_is_not_there_is_refused_at_once(real, tmp_path):
    (tmp_path / "job.json").write_text(json.dumps({**WATER, "source": str(real / "catalog.json")}))
    run = tilewright("run", "job.json", "--output", "out", "--prefect", cwd=tmp_path, api="http://127.0.0.1:9/api")
    out, err = run.communicate(timeout=60)
    assert run.returncode == 2, err
    assert "no Prefect server answers at http://127.0.0.1:9/api" in err
    assert "Traceback" not in out + err
    assert not (tmp_path / "out").exists()
