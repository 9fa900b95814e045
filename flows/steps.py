"""Each step's policy on one screen; a step is a Prefect task inside a flow run and a plain call outside."""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How a step is tried again: ``delays`` in seconds before each retry, ``timeout`` in seconds for one try."""

    delays: tuple[float, ...] = ()
    timeout: float | None = None
    tags: tuple[str, ...] = ()


POLICIES = {
    "plan": Policy(delays=(5, 20, 60), timeout=1800, tags=("catalog",)),
    "prepare": Policy(delays=(2, 10, 30), timeout=600, tags=("storage",)),
    # Blocks are retried one by one below; the ledger makes a retry of the whole step do only what is missing.
    "blocks": Policy(delays=(10, 60), timeout=None, tags=("compute",)),
    "cogs": Policy(delays=(5, 30), timeout=None, tags=("storage",)),
    "publish": Policy(delays=(5, 20, 60), timeout=600, tags=("storage",)),
}
"""Refusals (ValueError) are never retried: the same request gets the same answer."""


def step(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator that makes a function the step of that name, with the policy above."""
    policy = POLICIES[name]

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            if not in_flow_run():
                return function(*args, **kwargs)
            return _as_task(function, name, policy)(*args, **kwargs)

        return call

    return decorate


def in_flow_run() -> bool:
    """True inside a Prefect flow run; never imports Prefect by itself."""
    if "prefect" not in sys.modules:
        return False
    from prefect.context import FlowRunContext

    return FlowRunContext.get() is not None


def _as_task(function: Callable[P, R], name: str, policy: Policy) -> Callable[P, R]:
    from prefect import task
    from prefect.cache_policies import NO_CACHE

    def retry(_task: object, _run: object, state: Any) -> bool:
        error = state.result(raise_on_failure=False)
        return not isinstance(error, ValueError)

    decorate: Any = task(
        name=name,
        retries=len(policy.delays),
        retry_delay_seconds=list(policy.delays),
        retry_jitter_factor=0.5,
        retry_condition_fn=retry,
        timeout_seconds=policy.timeout,
        tags=list(policy.tags),
        cache_policy=NO_CACHE,
        persist_result=False,
        log_prints=False,
    )
    return decorate(function)
