"""Each step's policy on one screen; a step is a Prefect task inside a flow run and a plain call outside."""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from flows.errors import ErrorClass, classify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How a step is tried again: ``delays`` in seconds before each retry, ``timeout`` in seconds for one try."""

    delays: tuple[float, ...] = ()
    timeout: float | None = None
    tags: tuple[str, ...] = ()


JITTER = 0.5
"""Delays vary by half of themselves, so that many runs do not come back in the same second."""

POLICIES = {
    "plan": Policy(delays=(5, 20, 60), timeout=1800, tags=("catalog",)),
    "prepare": Policy(delays=(2, 10, 30), timeout=600, tags=("storage",)),
    # Blocks are retried one by one below; the ledger makes a retry of the whole step do only what is missing.
    "blocks": Policy(delays=(10, 60), timeout=None, tags=("compute",)),
    "cogs": Policy(delays=(5, 30), timeout=None, tags=("storage",)),
    "publish": Policy(delays=(5, 20, 60), timeout=600, tags=("storage",)),
    # Sub-flows: a shard's own tries, on another machine where it is a deployment run.
    "shard": Policy(delays=(30, 120), timeout=None, tags=("compute",)),
}
"""A step that reads a source carries the tag ``source:<name>`` too: the handle for Prefect's concurrency limits."""

RETRIED = frozenset({ErrorClass.THROTTLED, ErrorClass.TRANSIENT, ErrorClass.LOST_WORKER})
"""Steps are tried again for these alone: the same bad request gets the same answer, and a fault stays one."""

BLOCK_TRIES = {
    ErrorClass.THROTTLED: 4,  # ... after the whole source has been left alone for a while (SOURCE_PAUSES)
    ErrorClass.TRANSIENT: 2,  # ... each read in it has been tried six times (tasks/retry.py)
    ErrorClass.LOST_WORKER: 2,  # ... each of which Dask has moved to three other workers by itself
    ErrorClass.OUT_OF_MEMORY: 5,  # ... whole, then in 2, 4, 8 and 16 parts per side
}
"""Tries of one block by what failed, 1 where a class is not named; what fails for good is set aside by name."""

SMALLER = frozenset({ErrorClass.OUT_OF_MEMORY, ErrorClass.LOST_WORKER})
"""A block is tried again in smaller parts for these: a worker that is killed may have taken too much memory."""

BLOCK_DELAYS = (1.0, 5.0, 20.0)
SOURCE_PAUSES = (10.0, 30.0, 120.0, 300.0)
"""Seconds in which no block is begun after a source said it is asked too much; each time longer."""

MOST_SET_ASIDE = 20
"""Blocks set aside before a run stops: more is the source or the machine, not the blocks."""


def tries_of(error_class: ErrorClass) -> int:
    """How often a block is tried where this is what fails."""
    return BLOCK_TRIES.get(error_class, 1)


def step(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator that makes a function the step of that name, with the policy above."""
    policy = POLICIES[name]

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            if not in_flow_run() or not _server_answers():
                return function(*args, **kwargs)
            tags = (*policy.tags, *_source_tags(args))
            return _as_task(function, name, policy, tags)(*args, **kwargs)

        return call

    return decorate


def in_flow_run() -> bool:
    """True inside a Prefect flow run; never imports Prefect by itself."""
    if "prefect" not in sys.modules:
        return False
    from prefect.context import FlowRunContext

    return FlowRunContext.get() is not None


def _server_answers() -> bool:
    """Whether a step can be reported at all; it is done in any case."""
    from flows.outage import server_answers

    return server_answers()


def _source_tags(args: Iterable[object]) -> tuple[str, ...]:
    """``source:<name>`` of the first argument that has a plan, or a job that names its source."""
    for argument in args:
        plan = getattr(argument, "plan", None)
        source = plan.source["name"] if plan is not None else getattr(argument, "source", None)
        if isinstance(source, str) and "/" not in source:
            return (f"source:{source}",)
    return ()


def _as_task(function: Callable[P, R], name: str, policy: Policy, tags: tuple[str, ...]) -> Callable[P, R]:
    from prefect import task
    from prefect.cache_policies import NO_CACHE

    def retry(_task: object, _run: object, state: Any) -> bool:
        error = state.result(raise_on_failure=False)
        return isinstance(error, Exception) and classify(error) in RETRIED

    decorate: Any = task(
        name=name,
        retries=len(policy.delays),
        retry_delay_seconds=list(policy.delays),
        retry_jitter_factor=JITTER,
        retry_condition_fn=retry,
        timeout_seconds=policy.timeout,
        tags=list(tags),
        cache_policy=NO_CACHE,
        persist_result=False,
        log_prints=False,
    )
    return decorate(function)
