"""Processes that outlive the command that started them: each recorded by its number, and ended by it alone."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import psutil

from deploy.services.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

SAME_BIRTH = 2.0
"""Seconds by which a process's start may differ between two looks at it: the clock is set now and then."""
GRACE = 10.0
"""Seconds a process gets to end by itself."""
LOG_LINES = 15


def run(command: Sequence[str], *, timeout: float, failure: str, env: Mapping[str, str] | None = None) -> str:
    """What a command prints.

    Raises ServiceError: it failed or took too long; the message ends in the last lines it said.
    """
    environ = {**os.environ, **(env or {})}
    try:
        done = subprocess.run(  # noqa: S603
            command, env=environ, timeout=timeout, check=True, text=True, cwd="/",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    except subprocess.CalledProcessError as error:
        raise ServiceError(f"{failure}\n{_tail(error.stdout)}") from error
    except subprocess.TimeoutExpired as error:
        raise ServiceError(f"{failure}\nIt took longer than {timeout:.0f} s.") from error
    except OSError as error:
        raise ServiceError(f"{failure}\n{error}") from error
    return done.stdout


def start(
    name: str, command: Sequence[str], *, folder: Path, health: str, env: Mapping[str, str], timeout: float = 120
) -> bool:
    """Start a process unless it runs already, and wait until `health`, a URL, answers; False if it was running.

    Raises ServiceError: it ended or does not answer in time.
    """
    if is_running(name, folder=folder):
        return False
    log = folder / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        process = subprocess.Popen(  # noqa: S603
            command, env={**os.environ, **env}, cwd=folder, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    record = _record(name, folder)
    record.parent.mkdir(exist_ok=True)
    record.write_text(json.dumps({"pid": process.pid, "born": psutil.Process(process.pid).create_time()}))
    _await(process, health, timeout=timeout, failure=f"{name} did not start; its log is {log}", log=log)
    return True


def is_running(name: str, *, folder: Path) -> bool:
    """True if the process recorded under the name is alive; another that got its number does not count."""
    return _recorded(name, folder) is not None


def stop(name: str, *, folder: Path) -> None:
    """End the recorded process and those it started in its session, if it is alive, and forget it."""
    process = _recorded(name, folder)
    if process is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        _, alive = psutil.wait_procs([process], timeout=GRACE)
        if alive:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            psutil.wait_procs(alive, timeout=GRACE)
    _record(name, folder).unlink(missing_ok=True)


def answers(url: str, *, timeout: float = 5) -> bool:
    """True if a GET of the URL is answered with a success."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:  # noqa: S310  our own address
            return 200 <= answer.status < 300
    except (urllib.error.URLError, OSError):
        return False


def _record(name: str, folder: Path) -> Path:
    return folder / "pids" / f"{name}.json"


def _recorded(name: str, folder: Path) -> psutil.Process | None:
    try:
        known = json.loads(_record(name, folder).read_text())
        process = psutil.Process(known["pid"])
        alive = process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - known["born"]) < SAME_BIRTH
    except (OSError, ValueError, KeyError, psutil.Error):
        return None
    return process if alive else None


def _await(process: subprocess.Popen[bytes], url: str, *, timeout: float, failure: str, log: Path) -> None:
    deadline = time.monotonic() + timeout
    while not answers(url):
        if process.poll() is not None:
            raise ServiceError(f"{failure}\n{_tail(log.read_text(errors='replace'))}")
        if time.monotonic() > deadline:
            raise ServiceError(f"{failure}\nIt did not answer within {timeout:.0f} s.")
        time.sleep(0.1)


def _tail(text: str | None) -> str:
    return "\n".join((text or "").strip().splitlines()[-LOG_LINES:])
