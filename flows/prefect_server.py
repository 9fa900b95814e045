"""A Prefect server that becomes unreachable during a run: the run continues, and no call waits long for the server."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from tilewright.flows.errors import RunnerError
from tilewright.flows.lifeline import end_with_this_process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


R = TypeVar("R")

CALL_RETRIES = 3
"""Retries of one call to the server, 2, 4 and 8 s apart; Prefect's default of 5 takes a minute for each call."""

HEALTH_TIMEOUT_S = 5.0
"""Seconds that one health check may take."""

_unreachable: list[str] = []
"""The address of the server, while it does not answer."""


def server_answers() -> bool:
    """True if the server of this flow run answers a health check; the first check that fails logs a warning."""
    import httpx
    from prefect.settings import PREFECT_API_URL

    api = PREFECT_API_URL.value()
    if api is None:
        # Prefect runs a temporary server in this process and finds it without an address.
        return True
    try:
        answered = httpx.get(f"{api.rstrip('/')}/health", timeout=HEALTH_TIMEOUT_S).is_success
    except (httpx.HTTPError, OSError):
        answered = False
    if answered:
        _unreachable.clear()
    elif not _unreachable:
        _unreachable.append(api)
        if in_flow_run():
            logging.getLogger(__name__).warning("Prefect's server does not answer: the run goes on without it.")
    return answered


def check_server() -> None:
    """Check that the server a run should report to answers. Raises RunnerError where it does not."""
    from prefect.settings import PREFECT_API_URL

    if not server_answers():
        raise RunnerError(
            f"--prefect: no Prefect server answers at {PREFECT_API_URL.value()}. Start it, or unset PREFECT_API_URL to "
            "have one started for this run, or run without --prefect."
        )


def guard_temporary_servers() -> None:
    """Have each server that Prefect starts for this process end with it, however it ends, and not by Ctrl-C.

    Prefect ends such a server when the interpreter exits, which it does not after SIGKILL; and on Ctrl-C in a terminal
    the server would end first, so that the run waits a minute for it. Does nothing where there is an address of a
    server: none is started then, and the import costs seconds.
    """
    from prefect.settings import PREFECT_API_URL

    if PREFECT_API_URL.value() is not None:
        return
    from prefect.server.api import server

    # Prefect has no setting for how the process is started: the name is that of the module that starts it.
    names: Any = server
    names.subprocess = SimpleNamespace(**{**vars(subprocess), "Popen": _start_guarded})


def _start_guarded(*args: Any, **options: Any) -> Any:
    process: Any = subprocess.Popen(*args, **options, start_new_session=True)  # noqa: S603
    end_with_this_process(process)
    return process


def server_is_unreachable() -> bool:
    """True if the server did not answer the last health check."""
    return bool(_unreachable)


@contextmanager
def limit_retries(tries: int = 0) -> Iterator[None]:
    """Limits retries of Prefect API calls in this context to ``tries``, because blocks wait for each call."""
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: tries}):
        yield


def result_despite_outage(run: Callable[[Callable[[Callable[[], R]], R]], Any]) -> R:
    """The result of a flow's work, even if the server became unreachable before Prefect could record it.

    ``run`` calls the flow; its argument is a function through which the flow must call its work. Raises what the work
    or the flow raises.
    """
    results: list[R] = []

    def record(work: Callable[[], R]) -> R:
        results.append(work())
        return results[-1]

    try:
        answer: R = run(record)
    except Exception:
        if results and not server_answers():
            return results[-1]
        raise
    return answer


def exit_now(code: int) -> NoReturn:
    """End this process at once: Prefect would wait some seconds for each event that the lost server cannot take."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def in_flow_run() -> bool:
    """True inside a Prefect flow run; does not import Prefect."""
    if "prefect" not in sys.modules:
        return False
    from prefect.context import FlowRunContext

    return FlowRunContext.get() is not None
