"""Prefect's server out of reach in the middle of a run: the work goes on, and nothing waits long for the server."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from tilewright.flows.errors import RunnerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


R = TypeVar("R")

CALL_TRIES = 3
"""Retries of one call to the server, 2, 4 and 8 s apart; Prefect's own 5 are a minute for each of a run's calls."""

LOOK_SECONDS = 5.0
"""How long one look at the server may take."""

_lost: list[str] = []


def server_answers() -> bool:
    """True if the server of this flow run answers; where it does not, that is said once."""
    import httpx
    from prefect.settings import PREFECT_API_URL

    api = PREFECT_API_URL.value()
    if api is None:
        # A server of this process's own: Prefect finds it without an address.
        return True
    try:
        answered = httpx.get(f"{api.rstrip('/')}/health", timeout=LOOK_SECONDS).is_success
    except (httpx.HTTPError, OSError):
        answered = False
    if answered:
        _lost.clear()
    elif not _lost:
        _lost.append(api)
        if in_flow_run():
            logging.getLogger(__name__).warning("Prefect's server does not answer: the run goes on without it.")
    return answered


def check_server() -> None:
    """Do nothing where a run can begin. Raises RunnerError where the server it should report to does not answer."""
    from prefect.settings import PREFECT_API_URL

    if not server_answers():
        raise RunnerError(
            f"--prefect: no Prefect server answers at {PREFECT_API_URL.value()}. Start it, or unset PREFECT_API_URL to "
            "have one started for this run, or run without --prefect."
        )


def server_is_lost() -> bool:
    """True if the server did not answer when it was last looked at."""
    return bool(_lost)


@contextmanager
def few_retries(tries: int = 0) -> Iterator[None]:
    """Calls to the server within are tried again ``tries`` times at most: blocks wait for them."""
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: tries}):
        yield


def result_despite_outage(run: Callable[[Callable[[Callable[[], R]], R]], Any]) -> R:
    """What a flow's work gave, also where only the report of it to the server failed.

    ``run`` gets a function through which the flow must call its work. Raises what the work or the flow raises.
    """
    made: list[R] = []

    def keep(work: Callable[[], R]) -> R:
        made.append(work())
        return made[-1]

    try:
        answer: R = run(keep)
    except Exception:
        if made and not server_answers():
            return made[-1]
        raise
    return answer


def leave(code: int) -> NoReturn:
    """End this process now: Prefect would wait some seconds for each of the events that nobody will take."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def in_flow_run() -> bool:
    """True inside a Prefect flow run; never imports Prefect by itself."""
    if "prefect" not in sys.modules:
        return False
    from prefect.context import FlowRunContext

    return FlowRunContext.get() is not None
