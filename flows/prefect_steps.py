"""The decorator of a run's steps: a Prefect task inside a flow run, a plain call outside of one."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from tilewright.flows.errors import classify, without_secrets_of
from tilewright.flows.policies import JITTER, POLICIES, RETRIED, Policy
from tilewright.flows.prefect_server import in_flow_run, server_answers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


P = ParamSpec("P")

R = TypeVar("R")


def step(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator that makes a function the step of that name, with its policy from flows/policies.py.

    The step is a plain call outside a flow run, and where the Prefect server does not answer.
    """
    policy = POLICIES[name]

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            if not in_flow_run() or not server_answers():
                return function(*args, **kwargs)
            tags = (*policy.tags, *_source_tags(args))
            return _as_task(function, name, policy, tags)(*args, **kwargs)

        return call

    return decorate


def _source_tags(args: Iterable[object]) -> tuple[str, ...]:
    """The tags ``source:<name>`` of the first argument with a plan or named sources; none for a source by address."""
    for argument in args:
        plan = getattr(argument, "plan", None)
        found = _names(plan.source, "name") if plan is not None else _names(argument, None)
        if named := sorted({name for name in found if isinstance(name, str) and name and "/" not in name}):
            return tuple(f"source:{name}" for name in named)
    return ()


def _names(given: Any, key: str | None) -> list[Any]:
    """The names of the sources of a plan, as JSON (``key``: that of a name), or of a job."""
    if key is not None:
        return [each.get(key) for each in given["sources"].values()] if "sources" in given else [given.get(key)]
    several = getattr(given, "sources", None)
    return [*several.values()] if isinstance(several, dict) and several else [getattr(given, "source", None)]


def _as_task(function: Callable[P, R], name: str, policy: Policy, tags: tuple[str, ...]) -> Callable[P, R]:
    """The function as a Prefect task, retried for the error classes in RETRIED alone; nothing is cached or stored."""
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

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            # The server keeps the words of an error and its trace.
            clean = without_secrets_of(error)
            if clean is error:
                raise
        raise clean

    return decorate(call)
