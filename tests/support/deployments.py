"""A Prefect server's client, deployments of our flows, and a real process worker that does their runs elsewhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx


@contextmanager
def client_of(api: str) -> Iterator[Any]:
    """A client of the server at ``api``, whatever server this process otherwise talks to."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: api}), get_client(sync_client=True) as client:
        yield client


@contextmanager
def process_worker(client: Any, folder: Path) -> Iterator[str]:
    """Name of a work pool whose runs a worker process does from ``folder``; both are gone afterwards."""
    from prefect.client.schemas.actions import WorkPoolCreate

    pool = f"pool-{uuid4().hex[:8]}"
    client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
    folder.mkdir(parents=True, exist_ok=True)
    env = {
        **os.environ,
        "PREFECT_API_URL": str(client.api_url).rstrip("/"),
        "PREFECT_HOME": str(folder / "home"),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_WORKER_PREFETCH_SECONDS": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    with (folder / "worker.log").open("w") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process"],
            cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            yield pool
        finally:
            _end(worker)
            _removed(client.delete_work_pool, pool)


def deploy(client: Any, flow: Any, *, pool: str, folder: Path, parameters: dict[str, Any], **more: Any) -> Any:
    """Id of a new deployment of a flow by its module, as deploy/prefect.yaml writes them."""
    return client.create_deployment(
        flow_id=client.create_flow(flow),
        name=f"here-{uuid4().hex[:8]}",
        entrypoint=f"tilewright.flows.prefect_flows.{flow.name}",
        work_pool_name=pool,
        pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": str(folder)}}],
        parameters=parameters,
        **more,
    )


def runs_of(client: Any, deployment: Any) -> list[Any]:
    """The deployment's flow runs, the earliest scheduled first."""
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId

    runs = client.read_flow_runs(deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment])))
    return sorted(runs, key=lambda run: run.expected_start_time)


def wait_for(found: Callable[[], Any], *, seconds: float, what: str, log: Path | None = None) -> Any:
    """The first true answer of ``found``. Fails with what was waited for and the log's last words."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = found()
        if answer:
            return answer
        time.sleep(0.5)
    words = log.read_text()[-4000:] if log is not None and log.exists() else ""
    raise AssertionError(f"{what}: not within {seconds:.0f} s\n{words}")


def artifacts_of(api: str, key: str) -> list[dict[str, Any]]:
    """All artifacts of a key, the latest last."""
    query = {"artifacts": {"key": {"any_": [key]}}, "sort": "UPDATED_DESC", "limit": 200}
    return list(reversed(httpx.post(f"{api.rstrip('/')}/artifacts/filter", json=query, timeout=30).json()))


def _end(worker: subprocess.Popen[bytes]) -> None:
    """End the worker and what it started: its own session, nobody else's."""
    for signum in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(worker.pid, signum)
            worker.wait(timeout=15)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _removed(remove: Callable[[Any], Any], name: Any) -> None:
    from prefect.exceptions import ObjectNotFound

    try:
        remove(name)
    except ObjectNotFound:
        return
