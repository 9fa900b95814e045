"""Prefect servers in processes of their own: a home whose database is made once, a server until it is stopped."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.support.http_servers import free_port

SILENT = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}


def make_home(folder: Path) -> Path:
    """The folder as a PREFECT_HOME with an empty database, whose migrations cost 5 s: make it once and copy it."""
    if not (folder / "prefect.db").exists():
        env = {**os.environ, **SILENT, "PREFECT_HOME": str(folder)}
        command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"]
        subprocess.run(command, env=env, check=True, capture_output=True)
    return folder


@contextmanager
def prefect_server(home: Path, folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The address and the process of a server in ``folder``, with a copy of ``home``."""
    port = free_port()
    shutil.copytree(home, folder)
    env = {**os.environ, **SILENT, "PREFECT_HOME": str(folder)}
    env.pop("PREFECT_API_URL", None)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--no-ui"], env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield _healthy(f"http://127.0.0.1:{port}/api", process, seconds=180), process
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Kill the server and what it started: its own session, nobody else's."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=20)


def _healthy(api: str, process: subprocess.Popen[bytes], *, seconds: float) -> str:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended"
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{api}/health", timeout=2).status_code == 200:
                return api
        time.sleep(0.1)
    raise AssertionError("the server did not become healthy")
